/**
 * The local API as `controller/main.ts` sees it.
 */
export type { Deps } from './routes.ts';
export type {
  DeviceStatus,
  LinkStatus,
  LinksReply,
  OverlayStatus,
  PeerStatus,
  PingReply,
  PingRequest,
  PodsReply,
  RouteStatus,
  RoutesReply,
  Status,
} from './schema.ts';
export { createLocalApi, type LocalApi, type LocalApiOptions } from './server.ts';
