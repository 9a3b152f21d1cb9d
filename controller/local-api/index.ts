/**
 * The local API as `controller/main.ts` sees it.
 */
export type { Deps } from './routes.ts';
export type { DeviceStatus, OverlayStatus, PeerStatus, PodsReply, Status } from './schema.ts';
export { createLocalApi, type LocalApi, type LocalApiOptions } from './server.ts';
