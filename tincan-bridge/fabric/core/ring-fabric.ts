/**
 * The ring's half of the switch in one piece: links, members and payloads of neighbours come in; what
 * is to be sent or delivered comes out. Owns the order in which neighbourhood, routes and floods hear
 * of things; the shell encodes, decodes and carries out. Stations and MACs are `mac-table.ts`.
 */
import type { NodeId } from '../../../base/ids.ts';
import { type Flood, type FloodEffect, Flooder } from './flood.ts';
import { Neighbourhood } from './neighbourhood.ts';
import type { RingControl } from './ring-control.ts';
import { type RouteEffect, Router } from './route.ts';

export type FabricEffect<Payload> =
  | { readonly kind: 'control'; readonly to: NodeId; readonly control: RingControl }
  | { readonly kind: 'flood'; readonly to: NodeId; readonly flood: Flood<Payload> }
  | { readonly kind: 'deliver'; readonly flood: Flood<Payload> }
  /** A way to the node is known: a session over the ring may try at once. */
  | { readonly kind: 'way'; readonly target: NodeId }
  /** An envelope of ours did not arrive; a search may be under way. */
  | { readonly kind: 'dead-end'; readonly destination: NodeId; readonly reporter: NodeId };

export type Effects<Payload> = readonly FabricEffect<Payload>[];

/** Source of randomness of the fabric: unpredictable numbers below 2^32. */
export type Random32 = () => number;

export interface FabricOptions {
  readonly self: NodeId;
  /** False for a leaf. */
  readonly transit: boolean;
  readonly random32: Random32;
}

/** A number that is the same for the same frame; null: frames are not compared. */
export type Print<Payload> = (payload: Payload) => number | null;

export class RingFabric<Payload> {
  readonly near: Neighbourhood;
  readonly router: Router;
  readonly flooder: Flooder<Payload>;
  #there: ReadonlySet<NodeId> = new Set();

  constructor({ self, transit, random32 }: FabricOptions, print?: Print<Payload>) {
    this.near = new Neighbourhood(self, transit);
    this.router = new Router(this.near, random32);
    this.flooder = new Flooder(
      this.near,
      this.router,
      () => (BigInt(random32()) << 32n) | BigInt(random32()),
      print,
    );
  }

  /**
   * Members that are there, whoever has links to them; which of them are leaves, and which are away
   * from signalling: one of those may have ended, and come again with other links.
   */
  setMembers(
    members: readonly NodeId[],
    leaves: ReadonlySet<NodeId>,
    away: ReadonlySet<NodeId> = new Set(),
  ): void {
    this.flooder.setMembers(members);
    this.near.setLeaves(leaves);
    const there = new Set(members.filter((id) => !away.has(id)));
    for (const id of there) if (!this.#there.has(id)) this.router.forget(id);
    this.#there = there;
  }

  /** Frames can cross to the peer on a path of its own (never one over the ring). */
  linkUp(peer: NodeId, nowMs: number): Effects<Payload> {
    this.near.up(peer, nowMs);
    this.router.neighbourUp();
    return this.#flooded(this.flooder.neighbourUp(peer, nowMs), nowMs);
  }

  linkDown(peer: NodeId, nowMs: number): void {
    this.near.down(peer, nowMs);
    this.router.neighbourDown(peer);
  }

  /** A decoded control payload that came over the session of a neighbour. */
  control(from: NodeId, control: RingControl, nowMs: number): Effects<Payload> {
    if (control.kind === 'neighbours') {
      this.near.hear(from, control);
      return [];
    }
    return this.#routed(this.router.hear(from, control, nowMs), nowMs);
  }

  /** A decoded flood payload that came over the session of a neighbour. */
  flood(from: NodeId, flood: Flood<Payload>, nowMs: number): Effects<Payload> {
    return this.#flooded(this.flooder.receive(from, flood, nowMs), nowMs);
  }

  /** A frame of this node for everybody; the storm budget was spent by the caller. */
  broadcast(payload: Payload, nowMs: number): Effects<Payload> {
    return this.#flooded(this.flooder.originate(payload, nowMs), nowMs);
  }

  /**
   * An envelope that the relay table did not know, or of our own (`ingress` null). `via` null: it is
   * dropped. Else it goes there with that ttl, and a relay entry may spare the next upcall until
   * `version` changes.
   */
  envelope(
    envelope: { readonly source: NodeId; readonly destination: NodeId; readonly ttl: number },
    ingress: NodeId | null,
    nowMs: number,
  ): { readonly via: NodeId | null; readonly ttl: number; readonly effects: Effects<Payload> } {
    const { via, ttl, effects } = this.router.forward(envelope, ingress, nowMs);
    return { via, ttl, effects: this.#routed(effects, nowMs) };
  }

  get version(): number {
    return this.router.version;
  }

  /** When `tick` has something to do; null: nothing until something comes in. */
  dueMs(nowMs: number): number | null {
    const times = [this.near.dueMs(), this.near.forgivesMs(), this.router.dueMs()];
    if (this.flooder.waiting > 0) times.push(nowMs + 1_000);
    const known = times.filter((at) => at !== null);
    return known.length === 0 ? null : Math.min(...known);
  }

  tick(nowMs: number): Effects<Payload> {
    this.near.forgive(nowMs);
    const control = this.near.advertise(nowMs);
    this.flooder.tick(nowMs);
    const said = this.#routed(this.router.tick(nowMs), nowMs);
    if (control === null) return said;
    return [
      ...this.near.sorted().map((to) => ({ kind: 'control', to, control }) as const),
      ...said,
    ];
  }

  #routed(effects: readonly RouteEffect[], nowMs: number): Effects<Payload> {
    return effects.flatMap((effect) => this.#afterRoute(effect, nowMs));
  }

  #afterRoute(effect: RouteEffect, nowMs: number): Effects<Payload> {
    switch (effect.kind) {
      case 'send':
        return [{ kind: 'control', to: effect.to, control: effect.control }];
      case 'dead-end':
        return [effect];
      case 'found':
        return [
          { kind: 'way', target: effect.target },
          ...this.#flooded(this.flooder.routed(effect, nowMs), nowMs),
        ];
      case 'lost':
        return this.#flooded(this.flooder.routed(effect, nowMs), nowMs);
    }
  }

  #flooded(effects: readonly FloodEffect<Payload>[], nowMs: number): Effects<Payload> {
    return effects.flatMap((effect) => this.#afterFlood(effect, nowMs));
  }

  #afterFlood(effect: FloodEffect<Payload>, nowMs: number): Effects<Payload> {
    switch (effect.kind) {
      case 'send':
        return [{ kind: 'flood', to: effect.to, flood: effect.flood }];
      case 'deliver':
        return [effect];
      case 'route':
        return this.#routed([effect.effect], nowMs);
    }
  }
}
