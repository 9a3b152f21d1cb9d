/** The topology module's door: what main may import of it. */
export { defaultTopology, type TopologyConfig } from './core/config.ts';
export type { LinkView } from './overlay-topology.ts';
export {
  createTopology,
  type OverlayTopologyConfig,
  type Topology,
  type TopologyDeps,
} from './topology.ts';
