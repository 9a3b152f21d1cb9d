/**
 * Bytes per second with each peer, from two readings of counters that only grow. Pure. A counter
 * that is smaller than before is that of a new session.
 */
import type { NodeId } from '../../../base/ids.ts';

export interface Reading {
  readonly atMs: number;
  readonly bytes: ReadonlyMap<NodeId, number>;
}

export type Rates = readonly { readonly peer: NodeId; readonly bytesPerSecond: number }[];

/** Rates since the earlier reading, those above zero; none without an earlier one. */
export function ratesBetween(earlier: Reading | null, later: Reading): Rates {
  if (earlier === null || later.atMs <= earlier.atMs) return [];
  const seconds = (later.atMs - earlier.atMs) / 1_000;
  return [...later.bytes].flatMap(([peer, bytes]) => {
    const before = earlier.bytes.get(peer) ?? 0;
    const grown = bytes >= before ? bytes - before : bytes;
    return grown > 0 ? [{ peer, bytesPerSecond: Math.round(grown / seconds) }] : [];
  });
}
