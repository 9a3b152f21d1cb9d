/**
 * A node's ranges out of the pool of the overlay, without a coordinator: where to look first follows
 * from the node id, so that nodes that start together rarely meet; what others hold is skipped; and
 * when two claim the same, the lower id keeps it. Owns that choice; announces nothing.
 */
import { type Family, overlaps, parseRange, type Range, rangeOf } from '../../../base/cidr.ts';
import type { NodeId } from '../../../base/ids.ts';

export interface Pool {
  readonly ranges: readonly Range[];
  /** Length of one node's range. */
  readonly nodeLength: Readonly<Record<Family, number>>;
}

/** Candidates that are looked at; an overlay has fewer members. */
const maxTries = 65_536n;

/** One free range of each range of the pool; null when one of them is exhausted. */
export function chooseClaim(
  pool: Pool,
  self: NodeId,
  taken: readonly Range[],
): readonly Range[] | null {
  const chosen: Range[] = [];
  for (const whole of pool.ranges) {
    const free = firstFree(whole, pool.nodeLength[whole.family], self, taken);
    if (free === null) return null;
    chosen.push(free);
  }
  return chosen;
}

function firstFree(
  whole: Range,
  length: number,
  self: NodeId,
  taken: readonly Range[],
): Range | null {
  if (length < whole.length) return null;
  const count = 1n << BigInt(length - whole.length);
  const size = (whole.last - whole.first + 1n) / count;
  const start = BigInt(`0x${self.slice(0, 16)}`) % count;
  const hiding = taken.filter((each) => overlaps(each, whole));
  const tries = count < maxTries ? count : maxTries;
  let index = start;
  for (let step = 0n; step < tries; step += 1n) {
    const bits = whole.first + index * size;
    const range = rangeOf({ family: whole.family, bits }, length);
    if (!hiding.some((each) => overlaps(each, range))) return range;
    index = (index + 1n) % count;
  }
  return null;
}

/** Whether ranges of before are still a claim in this pool: the operator may have changed it. */
export function isClaimOf(pool: Pool, ranges: readonly Range[]): boolean {
  if (ranges.length !== pool.ranges.length) return false;
  return pool.ranges.every((whole, index) => {
    const own = ranges[index];
    return (
      own !== undefined && overlaps(whole, own) && own.length === pool.nodeLength[whole.family]
    );
  });
}

/** Whether this node gives way to another that claims what overlaps its ranges. */
export const yieldsTo = (self: NodeId, other: NodeId): boolean => other < self;

/** Texts as ranges; what is none is left out. */
export const parseRanges = (texts: readonly string[]): readonly Range[] =>
  texts.map(parseRange).filter((range) => range !== null);
