/**
 * Bounded flooding: a broadcast is spread over the ring by intervals, each with one owner, so that
 * everybody gets it once and nothing circles. Owns who is sent what, and which broadcasts were seen;
 * chooses no way (`route.ts`), knows nothing of Ethernet, and sends nothing itself.
 *
 *   originate ──▶ spread(self, self)      receive as target ──▶ deliver, spread(self, bound)
 *   spread: each neighbour inside owns up to the next one; members that no neighbour covers are
 *   reached by a ring path to the first of them, who owns the rest of the gap
 */
import type { NodeId } from '../../../base/ids.ts';
import { remember } from '../../../base/remember.ts';
import { following, isBetween, membersBetween } from '../../../base/ring.ts';
import { type Budget, floodBudget, fullBudget, spend } from './budget.ts';
import type { FloodHeader } from './flood-codec.ts';
import type { Neighbourhood } from './neighbourhood.ts';
import type { RouteEffect, Router } from './route.ts';

/** Broadcasts that are remembered of one origin. */
const maxSeen = 256;
/** Origins of which any are remembered; the one heard first gives way. */
const maxOrigins = 4_096;
/**
 * Broadcasts that one origin may have delivered and spread here: what its own budget allows it, and
 * as much again, so that an honest node is never cut by a burst that came late.
 */
const originBudget = {
  perSecond: 2 * floodBudget.perSecond,
  burst: 2 * floodBudget.burst,
} as const;
/** Frames that wait for a way: of all targets together, and how long. */
export const maxWaiting = 256;
/** Own ones that wait for the first neighbour: the questions with which a host comes up. */
export const maxHeld = 128;
export const waitingMs = 8_000;
const maxTtl = 255;
/** The same frame again so soon is a question that was not answered (ARP asks three times in 3 s). */
const repeatMs = 10_000;
const maxRepeats = 1_024;

export interface Flood<Payload> {
  readonly header: FloodHeader;
  readonly payload: Payload;
}

export type FloodEffect<Payload> =
  | { readonly kind: 'send'; readonly to: NodeId; readonly flood: Flood<Payload> }
  /** It is for this node, for the first time. `header.origin` is where the frame came from. */
  | { readonly kind: 'deliver'; readonly flood: Flood<Payload> }
  | { readonly kind: 'route'; readonly effect: RouteEffect };

interface Waiting<Payload> {
  readonly flood: Flood<Payload>;
  readonly untilMs: number;
}

interface Origin {
  readonly nonces: Set<bigint>;
  budget: Budget;
}

export class Flooder<Payload> {
  readonly #near: Neighbourhood;
  readonly #router: Router;
  readonly #random64: () => bigint;
  readonly #print: (payload: Payload) => number | null;
  /** By origin and fingerprint: when a frame was last spread. */
  readonly #spreadMs = new Map<string, number>();
  readonly #seen = new Map<NodeId, Origin>();
  #waiting: Waiting<Payload>[] = [];
  #held: Waiting<Payload>[] = [];
  #members: readonly NodeId[] = [];
  #isMember: ReadonlySet<NodeId> = new Set();
  readonly counts = {
    originated: 0,
    delivered: 0,
    duplicates: 0,
    stormDropped: 0,
    strangers: 0,
    echoes: 0,
    ttlExpired: 0,
    unreachable: 0,
    waitingFull: 0,
    repeated: 0,
  };

  /** `print`: a number that is the same for the same frame; null: frames are not compared. */
  constructor(
    near: Neighbourhood,
    router: Router,
    random64: () => bigint,
    print: (payload: Payload) => number | null = () => null,
  ) {
    this.#print = print;
    this.#near = near;
    this.#router = router;
    this.#random64 = random64;
  }

  /** All members of the overlay that are there, reachable from here or not. */
  setMembers(members: readonly NodeId[]): void {
    this.#members = members.filter((id) => id !== this.#near.self).sort();
    this.#isMember = new Set(this.#members);
    for (const origin of this.#seen.keys())
      if (!this.#isMember.has(origin)) this.#seen.delete(origin);
  }

  originate(payload: Payload, nowMs: number): readonly FloodEffect<Payload>[] {
    this.counts.originated += 1;
    const { self } = this.#near;
    const header: FloodHeader = {
      origin: self,
      nonce: this.#random64(),
      target: self,
      bound: self,
      ttl: maxTtl,
      hops: 0,
    };
    const flood = { header, payload };
    return this.#near.sorted().length === 0 ? this.#hold(flood, nowMs) : this.#spread(flood, nowMs);
  }

  /** A flooded frame that came over a session; a link that is closing still brings some. */
  receive(from: NodeId, flood: Flood<Payload>, nowMs: number): readonly FloodEffect<Payload>[] {
    const { header, payload } = flood;
    const { self } = this.#near;
    const own = header.origin === self;
    if (own && header.target === self) return this.#drop('echoes');
    // The hop is authentic, the origin a claim: it must be the hop or a member at least. An own broadcast
    // may pass here on its way from one owner to the next.
    const known = own || header.origin === from || this.#isMember.has(header.origin);
    if (!known) return this.#drop('strangers');
    const passed = { ...header, ttl: header.ttl - 1, hops: Math.min(maxTtl, header.hops + 1) };
    if (header.target !== self) {
      return this.#send({ header: passed, payload }, from, nowMs);
    }
    return this.#own({ header: passed, payload }, nowMs);
  }

  /** Nobody known stands between the two, so that a frame for `after` need not be spread further. */
  isEmpty(after: NodeId, before: NodeId): boolean {
    return membersBetween(this.#members, after, before, 1).length === 0;
  }

  isMember(id: NodeId): boolean {
    return this.#isMember.has(id);
  }

  /** What the router said: frames that waited go, or are given up. */
  routed(effect: RouteEffect, nowMs: number): readonly FloodEffect<Payload>[] {
    if (effect.kind !== 'found' && effect.kind !== 'lost') return [];
    const { target } = effect;
    const ours = this.#waiting.filter(({ flood }) => flood.header.target === target);
    this.#waiting = this.#waiting.filter(({ flood }) => flood.header.target !== target);
    if (effect.kind === 'lost') {
      this.counts.unreachable += ours.length;
      return [];
    }
    return ours.flatMap(({ flood }) => this.#send(flood, null, nowMs));
  }

  /** A link came up: what waits for that very node need not, nor what waits for anybody. */
  neighbourUp(id: NodeId, nowMs: number): readonly FloodEffect<Payload>[] {
    const held = this.#held;
    this.#held = [];
    return [
      ...this.routed({ kind: 'found', target: id }, nowMs),
      ...held.flatMap(({ flood }) => this.#spread(flood, nowMs)),
    ];
  }

  tick(nowMs: number): void {
    const before = this.waiting;
    const waits = ({ untilMs }: Waiting<Payload>): boolean => untilMs > nowMs;
    this.#waiting = this.#waiting.filter(waits);
    this.#held = this.#held.filter(waits);
    this.counts.unreachable += before - this.waiting;
  }

  get waiting(): number {
    return this.#waiting.length + this.#held.length;
  }

  #drop(why: keyof Flooder<Payload>['counts']): readonly FloodEffect<Payload>[] {
    this.counts[why] += 1;
    return [];
  }

  /** This node is the owner: it delivers and spreads. */
  #own({ header, payload }: Flood<Payload>, nowMs: number): readonly FloodEffect<Payload>[] {
    const seen = this.#sight(header, nowMs);
    if (seen !== 'first') return this.#drop(seen);
    this.counts.delivered += 1;
    // From owner to owner the intervals shrink: only the way between two of them needs an end.
    const flood = { header: { ...header, target: this.#near.self, ttl: maxTtl }, payload };
    return [{ kind: 'deliver', flood }, ...this.#spread(flood, nowMs)];
  }

  /**
   * Everybody strictly between this node and the bound gets one owner. A frame that is said again goes
   * past some neighbours, chosen anew each time: one of them may have swallowed it.
   */
  #spread({ header, payload }: Flood<Payload>, nowMs: number): readonly FloodEffect<Payload>[] {
    const { self } = this.#near;
    const past = this.#isRepeated(header.origin, payload, nowMs) ? this.#some() : none;
    const inside = clockwiseFrom(self, this.#near.sorted()).filter((id) =>
      isBetween(id, self, header.bound),
    );
    const effects: FloodEffect<Payload>[] = [];
    const gap = (after: NodeId, before: NodeId): void => {
      const [first] = membersBetween(this.#members, after, before, 1);
      if (first === undefined) return;
      const flood = { header: { ...header, target: first, bound: before }, payload };
      effects.push(...this.#send(flood, null, nowMs, past));
    };
    gap(self, inside[0] ?? header.bound);
    inside.forEach((target, index) => {
      const end = inside[index + 1] ?? header.bound;
      const leaf = this.#near.spreadsNothing(target) || past.has(target);
      const bound = leaf ? following(target) : end;
      effects.push({
        kind: 'send',
        to: target,
        flood: { header: { ...header, target, bound }, payload },
      });
      if (leaf) gap(target, end);
    });
    return effects;
  }

  /** Towards a target that may be no neighbour; without a way it waits, and the rest goes on. */
  #send(
    flood: Flood<Payload>,
    ingress: NodeId | null,
    nowMs: number,
    past: ReadonlySet<NodeId> = none,
  ): readonly FloodEffect<Payload>[] {
    if (flood.header.ttl < 1) {
      // A loop: the way that is searched for now ends it for the next one.
      this.counts.ttlExpired += 1;
      return this.#router.search(flood.header.target, nowMs).map(routed);
    }
    const { self } = this.#near;
    const effects: FloodEffect<Payload>[] = [];
    let { header } = flood;
    for (;;) {
      const way = this.#router.next(header.target, ingress, nowMs, past);
      // A node with few links sees little: one that it has a link to sees more, and searches if need be.
      const to = way ?? (ingress === null ? this.#router.guess(header.target, past) : null);
      if (to !== null) {
        effects.push({ kind: 'send', to, flood: { ...flood, header } });
        return effects;
      }
      const alone = { ...header, bound: following(header.target) };
      effects.push(...this.#wait({ ...flood, header: alone }, nowMs));
      const { target, bound } = header;
      if (bound === alone.bound) return effects;
      const [next = bound] = membersBetween(this.#members, target, bound, 1);
      // On its way to somebody else it met its next owner: this node.
      if (isBetween(self, target, next)) {
        return [...effects, ...this.#own({ ...flood, header }, nowMs)];
      }
      if (next === bound) return effects;
      header = { ...header, target: next };
    }
  }

  #isRepeated(origin: NodeId, payload: Payload, nowMs: number): boolean {
    const print = this.#print(payload);
    if (print === null) return false;
    const key = `${origin}${print}`;
    const repeated = nowMs - (this.#spreadMs.get(key) ?? Number.NEGATIVE_INFINITY) < repeatMs;
    remember(this.#spreadMs, key, nowMs, maxRepeats);
    if (repeated) this.counts.repeated += 1;
    return repeated;
  }

  /** About half of the neighbours that carry, and never all. */
  #some(): ReadonlySet<NodeId> {
    const carriers = this.#near.sorted().filter((id) => this.#near.carries(id));
    if (carriers.length < 2) return none;
    const dice = this.#random64();
    const kept = Number(dice % BigInt(carriers.length));
    const chosen = carriers.filter(
      (_, n) => n !== kept && ((dice >> BigInt(8 + (n % 56))) & 1n) === 1n,
    );
    return new Set(chosen);
  }

  /** Without a neighbour nobody can be asked for a way either. What is said again meanwhile goes once. */
  #hold(flood: Flood<Payload>, nowMs: number): readonly FloodEffect<Payload>[] {
    const print = this.#print(flood.payload);
    if (print !== null) {
      const before = this.#held.length;
      this.#held = this.#held.filter((held) => this.#print(held.flood.payload) !== print);
      this.counts.repeated += before - this.#held.length;
    }
    if (this.#held.length >= maxHeld) return this.#drop('waitingFull');
    this.#held.push({ flood, untilMs: nowMs + waitingMs });
    return [];
  }

  #wait(flood: Flood<Payload>, nowMs: number): readonly FloodEffect<Payload>[] {
    const { target } = flood.header;
    const effects = this.#router.search(target, nowMs);
    if (!this.#router.isSearching(target)) return this.#drop('unreachable');
    if (this.#waiting.length >= maxWaiting) return this.#drop('waitingFull');
    this.#waiting.push({ flood, untilMs: nowMs + waitingMs });
    return effects.map(routed);
  }

  #sight({ origin, nonce }: FloodHeader, nowMs: number): 'first' | 'duplicates' | 'stormDropped' {
    const known = this.#seen.get(origin);
    const of = known ?? { nonces: new Set(), budget: fullBudget(originBudget, nowMs) };
    if (of.nonces.has(nonce)) return 'duplicates';
    of.nonces.add(nonce);
    const [oldest] = of.nonces;
    if (of.nonces.size > maxSeen && oldest !== undefined) of.nonces.delete(oldest);
    const { budget, allowed } = spend(of.budget, nowMs);
    of.budget = budget;
    if (known === undefined) this.#seen.set(origin, of);
    const [first] = this.#seen.keys();
    if (this.#seen.size > maxOrigins && first !== undefined) this.#seen.delete(first);
    return allowed ? 'first' : 'stormDropped';
  }
}

const none: ReadonlySet<NodeId> = new Set();
const routed = (effect: RouteEffect) => ({ kind: 'route', effect }) as const;

function clockwiseFrom(self: NodeId, sorted: readonly NodeId[]): readonly NodeId[] {
  const at = sorted.findIndex((id) => id > self);
  return at < 0 ? sorted : [...sorted.slice(at), ...sorted.slice(0, at)];
}
