/**
 * Searches of others that came here: over whom each came, so that it is sent on and answered once. Owns
 * how many one neighbour may bring; sends nothing itself.
 */
import type { NodeId } from '../../../base/ids.ts';
import { remember } from '../../../base/remember.ts';
import { type Budget, fullBudget, spend } from './budget.ts';

/** Searches that are remembered; the oldest gives way. */
const maxHeard = 8_192;
/** That one neighbour may bring: each costs every node a few datagrams. */
const searchBudget = { perSecond: 1, burst: 200 } as const;

/** Of a search, or of its answer. */
export interface SearchKey {
  readonly origin: NodeId;
  readonly number: number;
}

const keyOf = ({ origin, number }: SearchKey): string => `${origin}${number}`;

export class HeardSearches {
  /** From whom each came; null once it was answered. */
  readonly #all = new Map<string, NodeId | null>();
  readonly #budgets = new Map<NodeId, Budget>();

  hear(search: SearchKey, from: NodeId, nowMs: number): 'first' | 'known' | 'refused' {
    const key = keyOf(search);
    if (this.#all.has(key)) return 'known';
    const before = this.#budgets.get(from) ?? fullBudget(searchBudget, nowMs);
    const { budget, allowed } = spend(before, nowMs);
    this.#budgets.set(from, budget);
    if (!allowed) return 'refused';
    remember(this.#all, key, from, maxHeard);
    return 'first';
  }

  /** To whom its answer goes; null when it has one, or was never heard. */
  asker(answer: SearchKey): NodeId | null {
    return this.#all.get(keyOf(answer)) ?? null;
  }

  answered(answer: SearchKey): void {
    this.#all.set(keyOf(answer), null);
  }

  neighbourDown(id: NodeId): void {
    this.#budgets.delete(id);
  }
}
