/** The pods module's door: what main may import of it. */
export type { PodsConfig, PodsDeps, RangeSource } from './deps.ts';
export type { PodsSnapshot } from './overlay-pods.ts';
export { createPods, type Pods } from './pods.ts';
