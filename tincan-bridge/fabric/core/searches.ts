/**
 * Searches that this node has begun: for whom, how far they went, when to widen or give up, and
 * whom not to search for again so soon. Owns the numbers and the bounds; sends nothing itself.
 */
import type { NodeId } from '../../../base/ids.ts';
import { remember } from '../../../base/remember.ts';
import { type Budget, fullBudget, spend } from './budget.ts';

/** Asked with a ttl of this, only who has the target in sight asks others, and no one but those. */
export const narrowTtl = 1;

/**
 * Each try reaches further; the last one everybody: ttl is a byte. The first costs as many datagrams as
 * there are neighbours and reaches what is three hops away, in most overlays everybody; the others cost
 * as many as there are links. `waits`: of what answers took lately, within `leastMs` and `mostMs`; who
 * has the target in sight is near, so the first wait stays short where all is late.
 */
const tries = [
  { ttl: narrowTtl, waits: 4, leastMs: 200, mostMs: 1_000 },
  { ttl: 16, waits: 8, leastMs: 1_500, mostMs: 6_000 },
  { ttl: 255, waits: 16, leastMs: 5_000, mostMs: 10_000 },
] as const;
/** Weight of a new measurement (RFC 6298 uses the same for the round trip time). */
const weight = 1 / 8;
/** What was measured says half as much after this: a storm passes. */
const halfLifeMs = 10_000;
/** Under way at once; beyond, a dead end stays one until there is room. */
const maxSearches = 64;
/**
 * Begun here, in datagrams: a search costs every node as many as it has neighbours. Where a server and
 * half of the members are away, all of the others look for all of them, which grows with the third power
 * of the members; where links are few, each search is cheap and more of them are needed.
 */
const beginBudget = { perSecond: 8, burst: 256 } as const;
/** Targets that are remembered as not found; the oldest gives way. */
const maxFailed = 4_096;
const firstPauseMs = 1_000;
const maxPauseMs = 30_000;

interface Search {
  /** Of all tries: the answer to an earlier one is as good. */
  readonly numbers: readonly number[];
  readonly anew: boolean;
  readonly beganMs: number;
  readonly untilMs: number;
}

export interface Asking {
  readonly target: NodeId;
  readonly number: number;
  readonly ttl: number;
  readonly anew: boolean;
}

export class Searches {
  readonly #under = new Map<NodeId, Search>();
  readonly #failed = new Map<NodeId, { readonly pauseMs: number; readonly untilMs: number }>();
  readonly #random32: () => number;
  #budget: Budget = fullBudget(beginBudget, 0);
  /** How long answers took, smoothed, and when that was. */
  #answers = { tookMs: 0, atMs: 0 };

  constructor(random32: () => number) {
    this.#random32 = random32;
  }

  isUnderWay(target: NodeId): boolean {
    return this.#under.has(target);
  }

  /**
   * What to ask, or null: under way already, failed just now, too many at once or in a while. `links`:
   * over which it goes out.
   */
  begin(target: NodeId, nowMs: number, anew: boolean, links: number): Asking | null {
    if (this.#under.has(target) || this.#under.size >= maxSearches) return null;
    if ((this.#failed.get(target)?.untilMs ?? 0) > nowMs) return null;
    const { budget, allowed } = spend(this.#budget, nowMs, Math.max(1, links));
    this.#budget = budget;
    if (!allowed) return null;
    return this.#ask(target, { numbers: [], anew, beganMs: nowMs, untilMs: nowMs }, nowMs);
  }

  /** Whether the answer is to the search that is under way; it is over then. */
  end(target: NodeId, number: number, nowMs: number): boolean {
    const search = this.#under.get(target);
    if (search === undefined || !search.numbers.includes(number)) return false;
    const before = this.#answerMs(nowMs);
    const tookMs = before + weight * (nowMs - search.beganMs - before);
    this.#answers = { tookMs, atMs: nowMs };
    this.#under.delete(target);
    this.#failed.delete(target);
    return true;
  }

  /** The graph changed near here: what was not found may be now. */
  forgive(): void {
    this.#failed.clear();
  }

  /** The target has come anew: the same. */
  forget(target: NodeId): void {
    this.#failed.delete(target);
  }

  /** Searches to widen, and targets that are given up. */
  tick(nowMs: number): { readonly asking: readonly Asking[]; readonly lost: readonly NodeId[] } {
    const asking: Asking[] = [];
    const lost: NodeId[] = [];
    for (const [target, search] of [...this.#under]) {
      if (search.untilMs > nowMs) continue;
      const next = this.#ask(target, search, nowMs);
      if (next !== null) asking.push(next);
      else lost.push(target);
    }
    return { asking, lost };
  }

  nextMs(): number | null {
    let at: number | null = null;
    for (const { untilMs } of this.#under.values()) at = Math.min(at ?? untilMs, untilMs);
    return at;
  }

  #ask(target: NodeId, search: Search, nowMs: number): Asking | null {
    const { anew, numbers } = search;
    // For another way than the usual one, who leads there by the lists is of no use.
    const reach = tries[numbers.length + (anew ? 1 : 0)];
    if (reach === undefined) {
      this.#under.delete(target);
      this.#fail(target, nowMs);
      return null;
    }
    const number = this.#random32();
    const late = reach.waits * this.#answerMs(nowMs);
    const waitMs = Math.min(reach.mostMs, Math.max(reach.leastMs, late));
    this.#under.set(target, { ...search, numbers: [...numbers, number], untilMs: nowMs + waitMs });
    return { target, number, ttl: reach.ttl, anew };
  }

  /** How long an answer takes, by what was measured. */
  #answerMs(nowMs: number): number {
    const { tookMs, atMs } = this.#answers;
    return tookMs * 2 ** ((atMs - nowMs) / halfLifeMs);
  }

  #fail(target: NodeId, nowMs: number): void {
    const before = this.#failed.get(target)?.pauseMs ?? firstPauseMs / 2;
    const pauseMs = Math.min(maxPauseMs, before * 2);
    remember(this.#failed, target, { pauseMs, untilMs: nowMs + pauseMs }, maxFailed);
  }
}
