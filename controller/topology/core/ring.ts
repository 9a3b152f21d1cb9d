/**
 * The members of an overlay as a ring: a sorted list without this node, kept up to date, and who
 * stands where on it. Owns no reachability (that is the machine's); arithmetic is `base/ring.ts`.
 */
import type { NodeId } from '../../../base/ids.ts';
import { lowerBound } from '../../../base/ring.ts';

/** Members that are kept; signal bounds them likewise. */
export const maxMembers = 4096;

/** Sorted, each once, never this node itself. */
export type Ring = readonly NodeId[];

/** Adds some; what is beyond the bound is left out. */
export function withMembers(ring: Ring, self: NodeId, added: readonly NodeId[]): Ring {
  if (added.length === 1) {
    const [id] = added;
    if (id === undefined || id === self || ring.length >= maxMembers) return ring;
    const at = lowerBound(ring, id);
    return ring[at] === id ? ring : ring.toSpliced(at, 0, id);
  }
  const all = new Set([...ring, ...added]);
  all.delete(self);
  return [...all].slice(0, maxMembers).sort();
}

export function withoutMember(ring: Ring, id: NodeId): Ring {
  const at = lowerBound(ring, id);
  return ring[at] === id ? ring.toSpliced(at, 1) : ring;
}

export const isMember = (ring: Ring, id: NodeId): boolean => ring[lowerBound(ring, id)] === id;

/** The member that stands `steps` (1…length) places clockwise of `self`. */
export function clockwiseMember(ring: Ring, self: NodeId, steps: number): NodeId | null {
  if (ring.length === 0) return null;
  return ring[(lowerBound(ring, self) + steps - 1) % ring.length] ?? null;
}

/** How many places clockwise of `self` the member stands: 1 is the next one. */
export function placesClockwise(ring: Ring, self: NodeId, id: NodeId): number {
  const steps = lowerBound(ring, id) - lowerBound(ring, self);
  return (steps < 0 ? steps + ring.length : steps) + 1;
}

/** The first `count` members clockwise of `self` that pass. */
export function successors(
  ring: Ring,
  self: NodeId,
  count: number,
  passes: (id: NodeId) => boolean,
): readonly NodeId[] {
  const found: NodeId[] = [];
  for (let steps = 1; steps <= ring.length && found.length < count; steps += 1) {
    const id = clockwiseMember(ring, self, steps);
    if (id !== null && passes(id)) found.push(id);
  }
  return found;
}
