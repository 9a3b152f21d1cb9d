/**
 * A token bucket: what one node may flood, or answer, in a while. Owns the arithmetic; time is an
 * argument.
 */

export interface Budget {
  readonly perSecond: number;
  readonly burst: number;
  readonly tokens: number;
  readonly atMs: number;
}

/** Group frames that the host side may flood: an ARP storm of a loop is 100 000 a second. */
export const floodBudget = { perSecond: 1_000, burst: 2_000 } as const;
/** "Too big" answers: RFC 4443 section 2.4 wants a limit; senders learn from one. */
export const tooBigBudget = { perSecond: 100, burst: 100 } as const;
/** "That station is not here" while the TAP is closed: one for each flow is enough. */
export const goneBudget = { perSecond: 200, burst: 400 } as const;
/** How often the host's bridge is asked because a member claims a station of it. */
export const ownershipBudget = { perSecond: 20, burst: 40 } as const;

export const fullBudget = (
  { perSecond, burst }: { readonly perSecond: number; readonly burst: number },
  nowMs: number,
): Budget => ({ perSecond, burst, tokens: burst, atMs: nowMs });

/** Takes so many tokens if they are there; a full bucket gives any number, and is empty then. */
export function spend(
  budget: Budget,
  nowMs: number,
  cost = 1,
): { readonly budget: Budget; readonly allowed: boolean } {
  const gained = ((nowMs - budget.atMs) / 1_000) * budget.perSecond;
  const tokens = Math.min(budget.burst, budget.tokens + Math.max(0, gained));
  const allowed = tokens >= Math.min(cost, budget.burst);
  const left = allowed ? Math.max(0, tokens - cost) : tokens;
  return { budget: { ...budget, tokens: left, atMs: nowMs }, allowed };
}
