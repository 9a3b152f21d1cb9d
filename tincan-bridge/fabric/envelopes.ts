/**
 * Envelopes: those of others that pass through this node, with the relay entry that spares the next ones
 * the way up, and this node's own. Owns what may be brought for strangers; the way is the router's choice.
 */
import type { NodeId } from '../../base/ids.ts';
import type { Frame, Upcall } from '../datapath/datapath.ts';
import { type Budget, fullBudget, spend } from './core/budget.ts';
import type { Effects, RingFabric } from './core/ring-fabric.ts';
import type { RelayTable } from './relay-table.ts';
import type { RingDeps } from './ring.ts';

/** Envelopes for nodes that are no members as far as is known here: our list may lag behind. */
const strangersBudget = { perSecond: 200, burst: 400 } as const;

export type EnvelopeUpcall = Extract<Upcall, { readonly kind: 'envelope' }>;

export interface EnvelopesDeps
  extends Pick<RingDeps, 'datapath' | 'clock' | 'self' | 'transit' | 'session'> {
  readonly fabric: RingFabric<Frame>;
  readonly relays: RelayTable;
  /** The neighbour has not brought too many. */
  readonly mayBring: (from: NodeId) => boolean;
  readonly run: (effects: Effects<Frame>) => void;
}

export class Envelopes {
  readonly counts = {
    envelopesForwarded: 0,
    envelopesDropped: 0,
    envelopeStrangers: 0,
    notTransit: 0,
  };
  readonly #deps: EnvelopesDeps;
  #strangers: Budget;

  constructor(deps: EnvelopesDeps) {
    this.#deps = deps;
    this.#strangers = fullBudget(strangersBudget, deps.clock.now());
  }

  /** An envelope that came over the session of `from`, for another node. */
  forward(from: NodeId, { source, destination, ttl, bytes }: EnvelopeUpcall): void {
    const { self, transit, clock, fabric } = this.#deps;
    const nowMs = clock.now();
    if (!transit || source === self || !this.#deps.mayBring(from)) {
      if (transit) this.counts.envelopesDropped += 1;
      else this.counts.notTransit += 1;
      return;
    }
    if (!fabric.flooder.isMember(destination) && !fabric.near.has(destination)) {
      this.#forwardStranger(from, { source, destination, ttl, bytes });
      return;
    }
    const next = fabric.envelope({ source, destination, ttl }, from, nowMs);
    this.#carry(next.via, source, destination, next.ttl, bytes);
    const hop = next.via === null ? null : this.#deps.session(next.via);
    if (next.via !== null && hop !== null) this.#deps.relays.set(destination, next.via, hop.number);
    this.#deps.run(next.effects);
  }

  /** A datagram of this node's to the peer. */
  send(peer: NodeId, bytes: Uint8Array): boolean {
    const { self, clock, fabric } = this.#deps;
    const nowMs = clock.now();
    const ttl = fabric.router.ttlTo(peer, nowMs);
    const envelope = { source: self, destination: peer, ttl };
    const { via, effects } = fabric.envelope(envelope, null, nowMs);
    const sent = this.#carry(via, self, peer, ttl, bytes);
    this.#deps.run(effects);
    return sent;
  }

  #forwardStranger(
    from: NodeId,
    { source, destination, ttl, bytes }: Omit<EnvelopeUpcall, 'kind' | 'session'>,
  ): void {
    const nowMs = this.#deps.clock.now();
    const { budget, allowed } = spend(this.#strangers, nowMs);
    this.#strangers = budget;
    this.counts.envelopeStrangers += 1;
    const via = allowed && ttl > 1 ? this.#deps.fabric.router.next(destination, from, nowMs) : null;
    this.#carry(via, source, destination, ttl - 1, bytes);
  }

  #carry(
    via: NodeId | null,
    source: NodeId,
    destination: NodeId,
    ttl: number,
    bytes: Uint8Array,
  ): boolean {
    const hop = via === null ? null : this.#deps.session(via);
    const sent =
      hop !== null && this.#deps.datapath.sendEnvelope(hop.number, source, destination, ttl, bytes);
    if (sent) this.counts.envelopesForwarded += 1;
    else this.counts.envelopesDropped += 1;
    return sent;
  }
}
