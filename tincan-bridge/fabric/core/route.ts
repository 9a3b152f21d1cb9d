/**
 * Which neighbour leads to a node that is none: greedily by ring distance over all that is in sight,
 * and where that ends, by a search whose result is remembered. Owns the choice, and what is said of
 * searches and dead ends; never holds a frame. Time and randomness are arguments.
 *
 * Why nothing loops: each greedy hop brings the nearest id in sight nearer to the destination, or one
 * hop closer. A found way is written along its whole length from the target backwards, so that who
 * follows the newest way met reaches the target. Where views are stale a loop may form: a frame never
 * goes back to whom it came from, its ttl ends it, and the node where it ended searches anew.
 */
import type { NodeId } from '../../../base/ids.ts';
import { distance } from '../../../base/ring.ts';
import { AvoidedHops } from './avoided-hops.ts';
import { type Budget, fullBudget, spend } from './budget.ts';
import { HeardSearches } from './heard-searches.ts';
import type { Neighbourhood } from './neighbourhood.ts';
import type { DeadEnd, Found, RingControl, Search } from './ring-control.ts';
import { type Asking, narrowTtl, Searches } from './searches.ts';
import { Ways } from './ways.ts';

/** Of an envelope whose way is not known to be longer: greedy ways are O(log² n). */
export const defaultTtl = 64;
const maxTtl = 255;
const deadEndBudget = { perSecond: 50, burst: 100 } as const;

export type RouteEffect =
  | { readonly kind: 'send'; readonly to: NodeId; readonly control: RingControl }
  /** A way is known now: what waited for it can go. */
  | { readonly kind: 'found'; readonly target: NodeId }
  /** Searched for everywhere, without an answer. */
  | { readonly kind: 'lost'; readonly target: NodeId }
  /** Something that this node sent did not arrive. */
  | { readonly kind: 'dead-end'; readonly destination: NodeId; readonly reporter: NodeId };

/** How the next hop of a destination was chosen, for the operator. */
export type How = 'greedy' | 'look-ahead' | 'searched' | 'none';

/** `via` null: not sent on; the effects say so to whom it concerns. */
export interface Forwarding {
  readonly via: NodeId | null;
  readonly ttl: number;
  readonly effects: readonly RouteEffect[];
}

export class Router {
  readonly #near: Neighbourhood;
  readonly #ways = new Ways();
  readonly #searches: Searches;
  readonly #heard = new HeardSearches();
  readonly #avoided = new AvoidedHops();
  readonly #random32: () => number;
  #deadEndBudget: Budget = fullBudget(deadEndBudget, 0);
  #version = 0;
  readonly counts = {
    deadEnds: 0,
    ttlExpired: 0,
    searches: 0,
    searchesDropped: 0,
    avoided: 0,
    deadEndsUnsaid: 0,
    strangers: 0,
  };

  constructor(near: Neighbourhood, random32: () => number) {
    this.#near = near;
    this.#searches = new Searches(random32);
    this.#random32 = random32;
  }

  /** Grows when a way may have changed: relay entries made from earlier answers are stale. */
  get version(): number {
    return this.#version + this.#near.version;
  }

  /**
   * The neighbour that leads to `destination`, never `ingress`, and one of `past` only where nobody else
   * does; null at a dead end.
   */
  next(
    destination: NodeId,
    ingress: NodeId | null,
    nowMs: number,
    past?: ReadonlySet<NodeId>,
  ): NodeId | null {
    const near = this.#near;
    if (destination === near.self) return null;
    if (near.has(destination)) return destination === ingress ? null : destination;
    const shunned = (via: NodeId): boolean =>
      this.#avoided.has(destination, via, nowMs) || past?.has(via) === true;
    const way = this.#ways.to(destination, nowMs);
    // Who says that it has a link to it knows better than a way that was found a while ago.
    const sure = way?.isNew === true ? null : this.#inSight(destination, ingress, shunned, nowMs);
    if (sure !== null) return sure;
    const found = way?.via ?? null;
    const usable = found !== null && near.carries(found) && found !== ingress ? found : null;
    // A way that broke is not replaced by a guess: a guess might lead back onto it.
    if (found !== null && !shunned(found)) return usable;
    const good = this.#greedy(
      destination,
      ingress,
      (via) => shunned(via) || near.isDistrusted(via),
    );
    // Rather over a neighbour in doubt than not at all; first as the last search has found it.
    return good?.via ?? usable ?? this.#greedy(destination, ingress)?.via ?? null;
  }

  /**
   * Where `next` knows nobody: the neighbour nearest to `destination`, though further than this node;
   * one in doubt, or of `past`, only where nobody else is.
   */
  guess(destination: NodeId, past: ReadonlySet<NodeId>): NodeId | null {
    const near = this.#near;
    const carriers = near.sorted().filter((id) => near.carries(id));
    const good = carriers.filter((id) => !near.isDistrusted(id) && !past.has(id));
    const nearer = (a: NodeId, b: NodeId): NodeId =>
      distance(b, destination) < distance(a, destination) ? b : a;
    const choice = good.length > 0 ? good : carriers;
    return choice.length === 0 ? null : choice.reduce(nearer);
  }

  /**
   * Nothing came back over the way to `destination`: another neighbour is taken from now on. With none
   * left that is not in doubt, all but this one have another chance. Returns the neighbour.
   */
  avoid(destination: NodeId, nowMs: number): NodeId | null {
    const via = this.next(destination, null, nowMs);
    if (via === null || via === destination) return null;
    const carriers = this.#near.sorted().filter((id) => this.#near.carries(id));
    this.#avoided.add(destination, via, carriers, nowMs);
    if (this.#ways.to(destination, nowMs)?.via === via) this.#ways.forget(destination);
    this.counts.avoided += 1;
    this.#version += 1;
    return via;
  }

  /** Something of `source` came over a neighbour: as long as no way holds, the answer goes back there. */
  hint(source: NodeId, via: NodeId, nowMs: number): void {
    const avoided = this.#avoided.has(source, via, nowMs);
    if (avoided || source === via || this.#near.has(source) || !this.#near.carries(via)) return;
    if (this.next(source, null, nowMs) === via) return;
    this.#ways.hint(source, via, nowMs);
    this.#version += 1;
  }

  /** The same from here, with the reason. */
  explain(destination: NodeId, nowMs: number): { readonly via: NodeId | null; readonly how: How } {
    const via = this.next(destination, null, nowMs);
    if (via === null) return { via, how: 'none' };
    if (via === destination) return { via, how: 'greedy' };
    const isSearched = this.#ways.to(destination, nowMs)?.via === via;
    if (isSearched && !this.#near.leadingTo(destination).includes(via)) {
      return { via, how: 'searched' };
    }
    const nearest = this.#greedy(destination, null)?.id;
    return { via, how: nearest === via ? 'greedy' : 'look-ahead' };
  }

  /** The ttl of an envelope that starts here. */
  ttlTo(destination: NodeId, nowMs: number): number {
    const way = this.#ways.to(destination, nowMs);
    if (way === null) return defaultTtl;
    return Math.min(maxTtl, Math.max(defaultTtl, way.hops + 16));
  }

  /** An envelope that came over `ingress` (null: it starts here) for another node. */
  forward(
    envelope: { readonly source: NodeId; readonly destination: NodeId; readonly ttl: number },
    ingress: NodeId | null,
    nowMs: number,
  ): Forwarding {
    const { source, destination, ttl } = envelope;
    const expired = ingress !== null && ttl <= 1;
    const via = expired ? null : this.next(destination, ingress, nowMs);
    if (via !== null) return { via, ttl: ingress === null ? ttl : ttl - 1, effects: [] };
    if (expired) this.counts.ttlExpired += 1;
    else this.counts.deadEnds += 1;
    const effects = [...this.search(destination, nowMs)];
    if (ingress === null) {
      effects.push({ kind: 'dead-end', destination, reporter: this.#near.self });
    } else {
      const reporter = this.#near.self;
      const said: DeadEnd = {
        kind: 'dead-end',
        source,
        destination,
        reporter,
        expired,
        ttl: maxTtl,
      };
      effects.push(...this.#sayDeadEnd(said, null, nowMs));
    }
    return { via: null, ttl: 0, effects };
  }

  /**
   * Begins a search, unless one is under way or failed just now. `anew`: for another way than those
   * that the nodes would take by themselves.
   */
  search(target: NodeId, nowMs: number, anew = false): readonly RouteEffect[] {
    const asking = this.#searches.begin(target, nowMs, anew, this.#near.sorted().length);
    return asking === null ? [] : this.#ask(asking, nowMs);
  }

  isSearching(target: NodeId): boolean {
    return this.#searches.isUnderWay(target);
  }

  /** A control payload of a neighbour, other than an advertisement. */
  hear(
    from: NodeId,
    control: Exclude<RingControl, { kind: 'neighbours' }>,
    nowMs: number,
  ): readonly RouteEffect[] {
    if (!this.#near.has(from)) {
      this.counts.strangers += 1;
      return [];
    }
    switch (control.kind) {
      case 'search':
        return this.#heardSearch(from, control, nowMs);
      case 'found':
        return this.#heardFound(from, control, nowMs);
      case 'dead-end':
        return this.#heardDeadEnd(from, control, nowMs);
    }
  }

  /** A member has come, maybe anew: what was known of the ways to it is of its former links. */
  forget(member: NodeId): void {
    this.#searches.forget(member);
    this.#avoided.forget(member);
    if (this.#ways.forget(member)) this.#version += 1;
  }

  /** A link came up: who was not found may be now. */
  neighbourUp(): void {
    this.#searches.forgive();
  }

  neighbourDown(id: NodeId): void {
    this.#heard.neighbourDown(id);
  }

  tick(nowMs: number): readonly RouteEffect[] {
    const { asking, lost } = this.#searches.tick(nowMs);
    return [
      ...asking.flatMap((each) => this.#ask(each, nowMs)),
      ...lost.map((target) => ({ kind: 'lost', target }) as const),
    ];
  }

  dueMs(): number | null {
    return this.#searches.nextMs();
  }

  /** A neighbour that says that it has a link to `destination`; null where such words are in doubt. */
  #inSight(
    destination: NodeId,
    ingress: NodeId | null,
    shunned: (via: NodeId) => boolean,
    nowMs: number,
  ): NodeId | null {
    if (this.#avoided.any(destination, nowMs)) return null;
    const good = (via: NodeId): boolean =>
      via !== ingress && !shunned(via) && !this.#near.isDistrusted(via);
    return this.#near.leadingTo(destination).find(good) ?? null;
  }

  /** The neighbour that leads to the nearest id in sight, and that id. */
  #greedy(
    destination: NodeId,
    ingress: NodeId | null,
    shunned: (via: NodeId) => boolean = () => false,
  ): { readonly id: NodeId; readonly via: NodeId } | null {
    const near = this.#near;
    const own = distance(near.self, destination);
    for (const { id, vias } of near.towards(destination)) {
      if (distance(id, destination) >= own) return null;
      if (id !== destination && near.isLeaf(id)) continue;
      const via = vias.find((each) => each !== ingress && near.carries(each) && !shunned(each));
      if (via !== undefined) return { id, via };
    }
    return null;
  }

  #ask({ target, number, ttl, anew }: Asking, nowMs: number): readonly RouteEffect[] {
    this.counts.searches += 1;
    const origin = this.#near.self;
    const control: Search = { kind: 'search', origin, target, number, ttl, anew };
    return this.#spread(control, null, (id) => this.#avoided.has(target, id, nowMs));
  }

  /** To the target if it is a neighbour, else to all who may carry it; to those shunned if nobody else. */
  #spread(
    control: Search,
    from: NodeId | null,
    shunned: (id: NodeId) => boolean,
  ): readonly RouteEffect[] {
    const near = this.#near;
    const to = near.has(control.target) ? [control.target] : near.sorted();
    const all = to.filter((id) => id !== from && (id === control.target || near.carries(id)));
    const good = all.filter((id) => !shunned(id));
    return (good.length > 0 ? good : all).map((id) => ({ kind: 'send', to: id, control }) as const);
  }

  #heardSearch(from: NodeId, search: Search, nowMs: number): readonly RouteEffect[] {
    const { origin, target, number, ttl } = search;
    if (origin === this.#near.self) return [];
    const sight = this.#heard.hear(search, from, nowMs);
    if (sight === 'refused') this.counts.searchesDropped += 1;
    if (sight !== 'first') return [];
    if (target === this.#near.self) {
      this.#heard.answered(search);
      this.#learn(origin, from, 0, nowMs);
      return [
        { kind: 'send', to: from, control: { kind: 'found', origin, target, number, hops: 0 } },
      ];
    }
    if (!this.#near.transit) return [];
    if (ttl <= narrowTtl) {
      const vias = this.#near.leadingTo(target).filter((id) => id !== from && id !== origin);
      return vias.map((to) => ({ kind: 'send', to, control: search }) as const);
    }
    // For another way every second node or so leaves its own one out: which of them is the bad one,
    // nobody can see, and the next search throws the dice again.
    const usual =
      search.anew && (this.#random32() & 1) === 1 ? this.next(target, from, nowMs) : null;
    return this.#spread({ ...search, ttl: ttl - 1 }, from, (id) => id === usual);
  }

  #heardFound(from: NodeId, found: Found, nowMs: number): readonly RouteEffect[] {
    const { origin, target, number } = found;
    const hops = Math.min(maxTtl, found.hops + 1);
    if (origin === this.#near.self) {
      // From one over whom nothing came through: it may say so again, others may be slower.
      const avoided = (id: NodeId): boolean => this.#avoided.has(target, id, nowMs);
      const others = this.#near.sorted().some((id) => this.#near.carries(id) && !avoided(id));
      if (avoided(from) && others) return [];
      if (!this.#searches.end(target, number, nowMs)) return [];
      this.#learn(target, from, hops, nowMs);
      return [{ kind: 'found', target }];
    }
    const back = this.#heard.asker(found);
    if (back === null || back === from || !this.#near.has(back)) return [];
    this.#heard.answered(found);
    this.#learn(target, from, hops, nowMs);
    this.#learn(origin, back, 0, nowMs);
    return [{ kind: 'send', to: back, control: { ...found, hops } }];
  }

  #heardDeadEnd(from: NodeId, said: DeadEnd, nowMs: number): readonly RouteEffect[] {
    const { source, destination, reporter, expired, ttl } = said;
    if (source === this.#near.self) {
      // Where the ttl ended the way is too long, or a loop: only a way from here on is measured.
      const search = expired ? this.search(destination, nowMs) : [];
      return [...search, { kind: 'dead-end', destination, reporter }];
    }
    return ttl <= 1 ? [] : this.#sayDeadEnd({ ...said, ttl: ttl - 1 }, from, nowMs);
  }

  #sayDeadEnd(said: DeadEnd, ingress: NodeId | null, nowMs: number): readonly RouteEffect[] {
    const spent = spend(this.#deadEndBudget, nowMs);
    this.#deadEndBudget = spent.budget;
    const via = spent.allowed ? this.next(said.source, ingress, nowMs) : null;
    if (via !== null) return [{ kind: 'send', to: via, control: said }];
    this.counts.deadEndsUnsaid += 1;
    // The next one to be said may find a way.
    return spent.allowed ? this.search(said.source, nowMs) : [];
  }

  #learn(target: NodeId, via: NodeId, hops: number, nowMs: number): void {
    this.#ways.learn(target, via, hops, nowMs);
    this.#version += 1;
  }
}
