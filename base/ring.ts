/**
 * Arithmetic on the ring of 2^128 node ids: what is clockwise of what, and how far. Ids of 32
 * lower-case hex digits sort as the numbers they are, so that order needs no big numbers; distances
 * do. Owns no list of nodes.
 */
import { NodeId } from './ids.ts';

const bits = 128;
const size = 1n << 128n;

/** Where the id stands, 0…2^128 − 1. */
export const positionOf = (id: NodeId): bigint => BigInt(`0x${id}`);

/** How far `to` is clockwise of `from`; 0 for the same id. */
export const clockwise = (from: NodeId, to: NodeId): bigint =>
  BigInt.asUintN(bits, positionOf(to) - positionOf(from));

/** The shorter way between two ids, either way round. */
export function distance(a: NodeId, b: NodeId): bigint {
  const way = clockwise(a, b);
  return way > size / 2n ? size - way : way;
}

/**
 * Whether going clockwise from `after` one meets `id` strictly before `before`. With both the same,
 * that is the whole ring without that one id.
 */
export const isBetween = (id: NodeId, after: NodeId, before: NodeId): boolean =>
  after < before ? after < id && id < before : id > after || id < before;

/** The very next id clockwise: an interval up to it holds `id` alone. */
export const following = (id: NodeId): NodeId =>
  NodeId.parse(
    BigInt.asUintN(bits, positionOf(id) + 1n)
      .toString(16)
      .padStart(32, '0'),
  );

/** Index of the first id of a sorted list that is not before `id`; the list's length if none is. */
export function lowerBound(sorted: readonly NodeId[], id: NodeId): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const at = sorted[middle];
    if (at !== undefined && at < id) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The members of a sorted list strictly between two ids, clockwise from `after`, at most `limit`. */
export function membersBetween(
  sorted: readonly NodeId[],
  after: NodeId,
  before: NodeId,
  limit: number,
): readonly NodeId[] {
  const found: NodeId[] = [];
  const start = lowerBound(sorted, after);
  for (let n = 0; n <= sorted.length && found.length < limit; n += 1) {
    const id = sorted[(start + n) % sorted.length];
    if (id === undefined || id === after) continue;
    if (!isBetween(id, after, before)) break;
    if (found[0] === id) break;
    found.push(id);
  }
  return found;
}
