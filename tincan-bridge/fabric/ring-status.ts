/**
 * What the operator is told of the ring: neighbours, ways, figures. Owns the choice; changes nothing.
 */
import type { NodeId } from '../../base/ids.ts';
import type { Frame } from '../datapath/datapath.ts';
import type { Result } from '../protocol/schema.ts';
import type { RingFabric } from './core/ring-fabric.ts';

export function ringRoutes(
  fabric: RingFabric<Frame>,
  members: readonly NodeId[],
  nowMs: number,
): Result<'routes'> {
  const { near, router } = fabric;
  return {
    neighbours: near
      .sorted()
      .slice(0, 1_024)
      .map((node) => ({
        node,
        leaf: near.isLeaf(node),
        neighbours: [...near.neighboursOf(node)],
      })),
    ways: members
      .filter((destination) => !near.has(destination))
      .slice(0, 4_096)
      .map((destination) => ({ destination, ...router.explain(destination, nowMs) })),
  };
}

export function fabricCounters(fabric: RingFabric<Frame>): Readonly<Record<string, number>> {
  const { flooder, router, near } = fabric;
  return {
    neighbours: near.size,
    floodsOriginated: flooder.counts.originated,
    floodsDelivered: flooder.counts.delivered,
    floodDuplicates: flooder.counts.duplicates,
    floodStormDropped: flooder.counts.stormDropped,
    floodStrangers: flooder.counts.strangers,
    floodTtlExpired: flooder.counts.ttlExpired,
    floodUnreachable: flooder.counts.unreachable,
    floodsRepeated: flooder.counts.repeated,
    floodWaitingFull: flooder.counts.waitingFull,
    deadEnds: router.counts.deadEnds,
    searches: router.counts.searches,
    searchesDropped: router.counts.searchesDropped,
    waysLeft: router.counts.avoided,
    neighboursDistrusted: near.distrusted,
  };
}
