/** The link-manager module's door: what main may import of it. */
export {
  type BridgePing,
  type BridgeRoutes,
  type BridgeStatus,
  createLinkManager,
  type LinkManager,
  type LinkManagerDeps,
  type SessionStatus,
} from './link-manager.ts';
export type { Credentials, LinksConfig } from './overlay-links.ts';
export type { ProcessSnapshot } from './tunnel-process.ts';
