/**
 * Links to the nodes that this node exchanges much with: when one is wanted, and when no longer.
 * Owns the threshold, the cap, the minimum age and the hysteresis; measures nothing.
 */
import type { NodeId } from '../../../base/ids.ts';

export interface OnDemandConfig {
  /** 0 turns them off. */
  readonly max: number;
  /** Both directions together, averaged over a sample. */
  readonly thresholdBytesPerSecond: number;
  /** A link stands at least this long, whatever the traffic does. */
  readonly minAgeMs: number;
}

/** Wanted since; and since when the traffic is below what keeps it, or null. */
export interface Demand {
  readonly sinceMs: number;
  readonly quietSinceMs: number | null;
}
export type Demands = ReadonlyMap<NodeId, Demand>;

/** A tenth of what opens it keeps a link: what comes in bursts must not open it again and again. */
const keepShare = 0.1;
/** And it must have been quiet for so long. */
export const quietMs = 30_000;

/** Rates of one sample: to whom, and how much. Peers that are not in it exchanged nothing. */
export type TrafficSample = ReadonlyMap<NodeId, number>;

/**
 * The demands after a sample. `adjacent` says which peers have a link for another reason: they need
 * none. With the cap reached, who is there stays: the busiest of the others waits for its end.
 */
export function nextDemands(
  demands: Demands,
  sample: TrafficSample,
  adjacent: (peer: NodeId) => boolean,
  config: OnDemandConfig,
  nowMs: number,
): Demands {
  const next = new Map<NodeId, Demand>();
  for (const [peer, demand] of demands) {
    const kept = keep(demand, sample.get(peer) ?? 0, config, nowMs);
    if (kept !== null && !adjacent(peer) && next.size < config.max) next.set(peer, kept);
  }
  const busy = [...sample]
    .filter(([peer, rate]) => rate >= config.thresholdBytesPerSecond && !next.has(peer))
    .filter(([peer]) => !adjacent(peer))
    .sort(([a, rateA], [b, rateB]) => rateB - rateA || (a < b ? -1 : 1));
  for (const [peer] of busy) {
    if (next.size >= config.max) break;
    next.set(peer, { sinceMs: nowMs, quietSinceMs: null });
  }
  return next;
}

function keep(demand: Demand, rate: number, config: OnDemandConfig, nowMs: number): Demand | null {
  if (rate >= config.thresholdBytesPerSecond * keepShare) return { ...demand, quietSinceMs: null };
  const quietSinceMs = demand.quietSinceMs ?? nowMs;
  const old = nowMs - demand.sinceMs >= config.minAgeMs;
  return old && nowMs - quietSinceMs >= quietMs ? null : { ...demand, quietSinceMs };
}
