/** The signal module: XMPP signalling of all overlays. What main needs of it. */
export type { Authority, OverlaySignalConfig, SignalDeps, SignalPolicy } from './deps.ts';
export { defaultPolicy } from './deps.ts';
export type { SignalCounters } from './members.ts';
export type { OverlaySnapshot } from './overlay-signal.ts';
export { createSignal, type Signal } from './signal.ts';
