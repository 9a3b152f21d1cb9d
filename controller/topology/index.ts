/** The topology module's door: what main may import of it. */
export { createTopology, type Topology, type TopologyDeps } from './topology.ts';
