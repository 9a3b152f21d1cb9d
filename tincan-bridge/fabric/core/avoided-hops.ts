/**
 * Neighbours over which nothing came through to a destination, so that another one is taken. Owns for how
 * long each is avoided; says nothing about other destinations.
 */
import type { NodeId } from '../../../base/ids.ts';
import { remember } from '../../../base/remember.ts';

/** A neighbour over which nothing came through to a destination is not taken for it for this long. */
export const avoidMs = 300_000;
/** Destinations with such neighbours; the oldest gives way. */
const maxAvoided = 4_096;

export class AvoidedHops {
  /** By destination: neighbours that swallow what is for it, and until when they are avoided. */
  readonly #all = new Map<NodeId, ReadonlyMap<NodeId, number>>();

  has(destination: NodeId, via: NodeId, nowMs: number): boolean {
    return (this.#all.get(destination)?.get(via) ?? 0) > nowMs;
  }

  /** Whether any neighbour is in doubt for the destination. */
  any(destination: NodeId, nowMs: number): boolean {
    const marks = this.#all.get(destination)?.values() ?? [];
    for (const untilMs of marks) if (untilMs > nowMs) return true;
    return false;
  }

  forget(destination: NodeId): void {
    this.#all.delete(destination);
  }

  /** With none of `carriers` left that is not in doubt, all but this one have another chance. */
  add(destination: NodeId, via: NodeId, carriers: readonly NodeId[], nowMs: number): void {
    const before = this.#all.get(destination) ?? new Map<NodeId, number>();
    const standing = [...before].filter(([, untilMs]) => untilMs > nowMs);
    const marks = new Map([...standing, [via, nowMs + avoidMs] as const]);
    const left = carriers.some((id) => !marks.has(id));
    remember(this.#all, destination, left ? marks : new Map([[via, nowMs + avoidMs]]), maxAvoided);
  }
}
