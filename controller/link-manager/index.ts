/** The link-manager module's door: what main may import of it. */
export { createLinkManager, type LinkManager, type LinkManagerDeps } from './link-manager.ts';
export type { Credentials, LinksConfig, ProcessSnapshot } from './overlay-links.ts';
