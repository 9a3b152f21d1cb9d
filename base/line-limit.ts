/**
 * How many lines of one kind a log takes: what others can cause must not fill a disk. Owns the
 * budgets, a bounded number of them; time is an argument.
 */

/** Lines of one message: that many at once, then one a second. */
const burst = 120;
const perMinute = 60;
/** Messages with a budget of their own; the rest share one. Messages are constants of the source. */
const maxKinds = 512;
const others = '';

interface Budget {
  lines: number;
  atMs: number;
  dropped: number;
}

/** The verdict on one line: how many like it were left out before it, or null: leave it out too. */
export class LineLimit {
  readonly #budgets = new Map<string, Budget>();

  take(kind: string, nowMs: number): number | null {
    const budget = this.#budgetOf(kind, nowMs);
    const gained = (Math.max(0, nowMs - budget.atMs) / 60_000) * perMinute;
    budget.lines = Math.min(burst, budget.lines + gained);
    budget.atMs = nowMs;
    if (budget.lines < 1) {
      budget.dropped += 1;
      return null;
    }
    budget.lines -= 1;
    const { dropped } = budget;
    budget.dropped = 0;
    return dropped;
  }

  #budgetOf(kind: string, nowMs: number): Budget {
    const known = this.#budgets.get(kind);
    if (known !== undefined) return known;
    if (this.#budgets.size >= maxKinds && kind !== others) return this.#budgetOf(others, nowMs);
    const fresh = { lines: burst, atMs: nowMs, dropped: 0 };
    this.#budgets.set(kind, fresh);
    return fresh;
  }
}
