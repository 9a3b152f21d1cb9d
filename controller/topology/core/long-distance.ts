/**
 * Long-distance links of a Symphony ring (Manku, Bawa, Raghavan, USITS 2003): how many, how far, and
 * when one is to be drawn anew. The law is harmonic with the natural logarithm; the original's log10
 * never draws a near one and costs a third more hops.
 */
import type { NodeId } from '../../../base/ids.ts';
import { clockwiseMember, placesClockwise, type Ring } from './ring.ts';

/** Randomness of a core: in [0, 1). */
export type Random = () => number;

/** ⌊log2(n + 1)⌋ for n peers, at least one. */
export const defaultLongDistance = (peers: number): number =>
  Math.max(1, Math.floor(Math.log2(peers + 1)));

/**
 * Incoming ones that a node carries: twice what it opens. With as many as it opens, the last ones
 * to draw would be refused nearly everywhere.
 */
export const defaultIncomingCap = (outgoing: number): number => 2 * outgoing;

/**
 * How many places clockwise a link leads, of a ring of `nodes` (this one included): n^u, whose
 * logarithm is uniform. 1…nodes − 1.
 */
export const drawPlaces = (nodes: number, random: Random): number =>
  Math.min(nodes - 1, Math.floor(nodes ** random()));

/** Draws a member that passes, or null after a bounded number of tries. */
export function drawMember(
  ring: Ring,
  self: NodeId,
  random: Random,
  passes: (id: NodeId) => boolean,
): NodeId | null {
  for (let tries = 0; tries < maxDraws && ring.length > 0; tries += 1) {
    const id = clockwiseMember(ring, self, drawPlaces(ring.length + 1, random));
    if (id !== null && passes(id)) return id;
  }
  return null;
}
/** Where all else is taken, it is better to go without than to search. */
const maxDraws = 32;

/** A link that a ring link does as well: nearer than the successors reach, either way round. */
export function isTooClose(ring: Ring, self: NodeId, id: NodeId, minSuccessors: number): boolean {
  const places = placesClockwise(ring, self, id);
  return places <= minSuccessors || places > ring.length - minSuccessors;
}
