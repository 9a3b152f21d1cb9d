/**
 * Ways to nodes that are no neighbours, as answers to searches and what came over a neighbour have taught
 * them. Owns how long each is believed, and their bound; chooses no next hop.
 */
import type { NodeId } from '../../../base/ids.ts';
import { remember } from '../../../base/remember.ts';

/** A way is searched for again after this. */
export const wayMs = 300_000;
/** Who asks us over this neighbour hears us there, while no better way is known. */
const hintMs = 30_000;
/** Ways that are remembered; the oldest gives way. */
const maxWays = 8_192;

export interface Way {
  readonly via: NodeId;
  readonly hops: number;
  /** Nobody's word is fresher. */
  readonly isNew: boolean;
}

interface Known {
  readonly via: NodeId;
  readonly hops: number;
  readonly sinceMs: number;
  readonly untilMs: number;
}

export class Ways {
  readonly #all = new Map<NodeId, Known>();

  /** Null: none is known, or none any more. */
  to(target: NodeId, nowMs: number): Way | null {
    const known = this.#all.get(target);
    if (known === undefined || known.untilMs <= nowMs) return null;
    const { via, hops, sinceMs } = known;
    return { via, hops, isNew: nowMs - sinceMs < hintMs };
  }

  /** By a search. */
  learn(target: NodeId, via: NodeId, hops: number, nowMs: number): void {
    this.#add(target, { via, hops, sinceMs: nowMs, untilMs: nowMs + wayMs });
  }

  /** Something of the target came over the neighbour: its length is not known. */
  hint(target: NodeId, via: NodeId, nowMs: number): void {
    this.#add(target, { via, hops: 0, sinceMs: nowMs, untilMs: nowMs + hintMs });
  }

  /** Whether there was one. */
  forget(target: NodeId): boolean {
    return this.#all.delete(target);
  }

  #add(target: NodeId, known: Known): void {
    remember(this.#all, target, known, maxWays);
  }
}
