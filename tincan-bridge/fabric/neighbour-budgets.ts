/**
 * How much each neighbour may bring, so that none keeps this node busy. Owns the budgets, one set for each
 * neighbour; what is refused, the caller counts.
 */
import type { Clock } from '../../base/clock.ts';
import type { NodeId } from '../../base/ids.ts';
import { type Budget, fullBudget, spend } from './core/budget.ts';
import { traceBudget } from './core/trace.ts';

/** Floods that one neighbour may bring: all that the storm budgets of a large overlay let through. */
const floodsOfNeighbour = { perSecond: 4_000, burst: 8_000 } as const;
/** Envelopes that one neighbour may bring up: each first one writes the entry that spares the others. */
const envelopesOfNeighbour = { perSecond: 2_000, burst: 4_000 } as const;
/** Lists of neighbours: a change is told twice, and changes come in runs. */
const listsOfNeighbour = { perSecond: 5, burst: 50 } as const;

interface Budgets {
  floods: Budget;
  envelopes: Budget;
  lists: Budget;
  traces: Budget;
}

export class NeighbourBudgets {
  readonly #clock: Clock;
  readonly #budgets = new Map<NodeId, Budgets>();
  /** Of all that are no neighbours: of a link that closes, something comes still. */
  readonly #others: Budgets;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#others = fullBudgets(clock.now());
  }

  linkUp(peer: NodeId): void {
    this.#budgets.set(peer, fullBudgets(this.#clock.now()));
  }

  linkDown(peer: NodeId): void {
    this.#budgets.delete(peer);
  }

  /** One more is spent if there is room. */
  mayBring(from: NodeId, what: keyof Budgets): boolean {
    const budgets = this.#budgets.get(from) ?? this.#others;
    const { budget, allowed } = spend(budgets[what], this.#clock.now());
    budgets[what] = budget;
    return allowed;
  }
}

const fullBudgets = (nowMs: number): Budgets => ({
  floods: fullBudget(floodsOfNeighbour, nowMs),
  envelopes: fullBudget(envelopesOfNeighbour, nowMs),
  lists: fullBudget(listsOfNeighbour, nowMs),
  traces: fullBudget(traceBudget, nowMs),
});
