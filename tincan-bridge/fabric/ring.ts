/**
 * The shell of the ring: carries out what `core/ring-fabric.ts` decides. Owns its timer, the relay table
 * of the datapath, the codecs' edges and the budgets of what neighbours may cause. Knows sessions by
 * number only, and no MAC addresses.
 */
import { randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { type Clock, every } from '../../base/clock.ts';
import type { NodeId } from '../../base/ids.ts';
import type { Datapath, Frame, SessionNumber, Upcall } from '../datapath/datapath.ts';
import { undoneOffload } from '../datapath/wire.ts';
import type { Result } from '../protocol/schema.ts';
import type { RingPort, RingWay } from '../session/ring-port.ts';
import { type Budget, fullBudget, spend } from './core/budget.ts';
import type { Flood } from './core/flood.ts';
import { decodeFlood, encodeFlood, floodHeaderBytes } from './core/flood-codec.ts';
import { decodeRingControl, encodeRingControl } from './core/ring-control.ts';
import { type Effects, type FabricEffect, RingFabric } from './core/ring-fabric.ts';
import { decodeTrace, encodeTrace, passTrace, type Trace, traceBudget } from './core/trace.ts';
import { RelayTable } from './relay-table.ts';

/** Ways grow old without a word: what was derived from them is looked at again. */
const refreshMs = 30_000;
/** Floods that one neighbour may bring: all that the storm budgets of a large overlay let through. */
const floodsOfNeighbour = { perSecond: 4_000, burst: 8_000 } as const;
/** Envelopes that one neighbour may bring up: each first one writes the entry that spares the others. */
const envelopesOfNeighbour = { perSecond: 2_000, burst: 4_000 } as const;
/** Lists of neighbours: a change is told twice, and changes come in runs. */
const listsOfNeighbour = { perSecond: 5, burst: 50 } as const;
/** Envelopes for nodes that are no members as far as is known here: our list may lag behind. */
const strangersBudget = { perSecond: 200, burst: 400 } as const;

export type EnvelopeUpcall = Extract<Upcall, { readonly kind: 'envelope' }>;

export interface RingDeps {
  readonly datapath: Datapath;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly self: NodeId;
  readonly transit: boolean;
  /** The association in use with a node, and what it carries; null without one. */
  readonly session: (
    node: NodeId,
  ) => { readonly number: SessionNumber; readonly maxFrameBytes: number } | null;
  /** A flooded frame that came for this node. */
  readonly deliver: (origin: NodeId, frame: Frame) => void;
  /** A flooded frame of this node did not go everywhere: at most `fits` bytes do. */
  readonly onTooBig: (frame: Uint8Array, fits: number) => void;
  /** Next hops may be others now. */
  readonly onWaysChanged: () => void;
  /** A trace that ends here. */
  readonly onTraced: (trace: Trace) => void;
  /** One more handshake over the ring may begin. */
  readonly admits: () => boolean;
}

interface Budgets {
  floods: Budget;
  envelopes: Budget;
  lists: Budget;
  traces: Budget;
}

export class Ring implements RingPort {
  readonly #deps: RingDeps;
  readonly #fabric: RingFabric<Frame>;
  readonly #relays: RelayTable;
  readonly #budgets = new Map<NodeId, Budgets>();
  /** Of all that are no neighbours: of a link that closes, something comes still. */
  readonly #others: Budgets;
  readonly #counts = {
    floodsUnsent: 0,
    floodsTooBig: 0,
    floodsRefused: 0,
    floodsMalformed: 0,
    listsRefused: 0,
    ringControlsUnknown: 0,
    envelopesForwarded: 0,
    envelopesDropped: 0,
    envelopesUnreadable: 0,
    envelopeStrangers: 0,
    notTransit: 0,
    deadEndsHeard: 0,
    neighboursSwallowing: 0,
    tracesRefused: 0,
  };
  #members: readonly NodeId[] = [];
  #strangers: Budget;
  #version = 0;
  #timer = new AbortController();
  #dueMs: number | null = null;
  #settling = false;

  constructor(deps: RingDeps) {
    this.#deps = deps;
    const { self, transit, clock, signal } = deps;
    this.#relays = new RelayTable(deps.datapath);
    const random32 = (): number => randomBytes(4).readUInt32BE();
    this.#fabric = new RingFabric({ self, transit, random32 }, ({ bytes }) => crc32(bytes));
    this.#strangers = fullBudget(strangersBudget, clock.now());
    this.#others = fullBudgets(clock.now());
    every(clock, refreshMs, signal, () => this.refresh());
    signal.addEventListener('abort', () => this.#timer.abort(), { once: true });
  }

  setMembers(members: readonly NodeId[], leaves: readonly NodeId[]): void {
    this.#members = members.filter((id) => id !== this.#deps.self);
    this.#fabric.setMembers(this.#members, new Set(leaves));
    this.#settle();
  }

  isMember(node: NodeId): boolean {
    return this.#fabric.flooder.isMember(node);
  }

  linkUp(peer: NodeId): void {
    const nowMs = this.#deps.clock.now();
    this.#budgets.set(peer, fullBudgets(nowMs));
    this.#run(this.#fabric.linkUp(peer, nowMs));
  }

  linkDown(peer: NodeId): void {
    this.#budgets.delete(peer);
    this.#fabric.linkDown(peer, this.#deps.clock.now());
    this.#run([]);
  }

  /** A control payload of a kind that is not the session's own. */
  control(from: NodeId, bytes: Uint8Array): void {
    const control = decodeRingControl(bytes);
    if (control !== null) {
      if (control.kind === 'neighbours' && !this.#mayBring(from, 'lists')) {
        this.#counts.listsRefused += 1;
        return;
      }
      this.#run(this.#fabric.control(from, control, this.#deps.clock.now()));
      return;
    }
    const trace = decodeTrace(bytes);
    if (trace === null) this.#counts.ringControlsUnknown += 1;
    else this.#traced(from, trace);
  }

  flood(from: NodeId, bytes: Uint8Array, checksumUndone: boolean): void {
    const decoded = decodeFlood(bytes);
    if (decoded === null) {
      this.#counts.floodsMalformed += 1;
      return;
    }
    if (!this.#mayBring(from, 'floods')) {
      this.#counts.floodsRefused += 1;
      return;
    }
    const { header, frame } = decoded;
    const payload: Frame = { bytes: frame, offload: checksumUndone ? undoneOffload : null };
    this.#run(this.#fabric.flood(from, { header, payload }, this.#deps.clock.now()));
  }

  /** A complete frame of this node for everybody. */
  broadcast(bytes: Uint8Array): void {
    const payload: Frame = { bytes, offload: null };
    this.#run(this.#fabric.broadcast(payload, this.#deps.clock.now()));
  }

  /** An envelope that came over the session of `from`, for another node. */
  forward(from: NodeId, { source, destination, ttl, bytes }: EnvelopeUpcall): void {
    const { self, transit, clock } = this.#deps;
    const nowMs = clock.now();
    if (!transit || source === self || !this.#mayBring(from, 'envelopes')) {
      if (transit) this.#counts.envelopesDropped += 1;
      else this.#counts.notTransit += 1;
      return;
    }
    if (!this.isMember(destination) && !this.#fabric.near.has(destination)) {
      this.#forwardStranger(from, { source, destination, ttl, bytes });
      return;
    }
    const next = this.#fabric.envelope({ source, destination, ttl }, from, nowMs);
    this.#carry(next.via, source, destination, next.ttl, bytes);
    const hop = next.via === null ? null : this.#deps.session(next.via);
    if (next.via !== null && hop !== null) this.#relays.set(destination, next.via, hop.number);
    this.#run(next.effects);
  }

  way(peer: NodeId): RingWay | null {
    const { clock, session, self } = this.#deps;
    if (peer === self || this.#fabric.near.has(peer) || !this.isMember(peer)) return null;
    const nowMs = clock.now();
    const via = this.#fabric.router.next(peer, null, nowMs);
    const hop = via === null ? null : session(via);
    if (via === null || hop === null) return null;
    const ttl = this.#fabric.router.ttlTo(peer, nowMs);
    return { via, session: hop.number, ttl, maxFrameBytes: hop.maxFrameBytes };
  }

  seek(peer: NodeId): void {
    if (this.way(peer) === null) this.#search(peer, false);
  }

  leave(peer: NodeId): NodeId | null {
    const left =
      this.way(peer) === null ? null : this.#fabric.router.avoid(peer, this.#deps.clock.now());
    this.#search(peer, true);
    return left;
  }

  swallowed(via: NodeId): void {
    this.#counts.neighboursSwallowing += 1;
    this.#fabric.near.distrust(via, this.#deps.clock.now());
    this.#settle();
  }

  /** A handshake datagram of `source` came over the neighbour: answers go back there for now. */
  hint(source: NodeId, via: NodeId): void {
    this.#fabric.router.hint(source, via, this.#deps.clock.now());
    this.#settle();
  }

  #search(peer: NodeId, anew: boolean): void {
    if (this.isMember(peer) && !this.#fabric.near.has(peer)) {
      const effects = this.#fabric.router.search(peer, this.#deps.clock.now(), anew);
      for (const effect of effects) {
        if (effect.kind === 'send') this.#one({ ...effect, kind: 'control' });
      }
    }
    this.#settle();
  }

  send(peer: NodeId, bytes: Uint8Array): boolean {
    const { self, clock } = this.#deps;
    const nowMs = clock.now();
    const ttl = this.#fabric.router.ttlTo(peer, nowMs);
    const envelope = { source: self, destination: peer, ttl };
    const { via, effects } = this.#fabric.envelope(envelope, null, nowMs);
    const sent = this.#carry(via, self, peer, ttl, bytes);
    this.#run(effects);
    return sent;
  }

  trace(peer: NodeId, number: bigint): void {
    const { self } = this.#deps;
    const ttl = this.way(peer)?.ttl ?? 1;
    this.#sendTrace({ origin: self, target: peer, number, ttl, hops: [] }, null);
  }

  admits(): boolean {
    return this.#deps.admits();
  }

  routes(): Result<'routes'> {
    const { near, router } = this.#fabric;
    const nowMs = this.#deps.clock.now();
    return {
      neighbours: near
        .sorted()
        .slice(0, 1_024)
        .map((node) => ({
          node,
          leaf: near.isLeaf(node),
          neighbours: [...near.neighboursOf(node)],
        })),
      ways: this.#members
        .filter((destination) => !near.has(destination))
        .slice(0, 4_096)
        .map((destination) => ({ destination, ...router.explain(destination, nowMs) })),
    };
  }

  counters(): Readonly<Record<string, number>> {
    const { flooder, router, near } = this.#fabric;
    return {
      ...this.#counts,
      neighbours: near.size,
      relays: this.#relays.size,
      floodsOriginated: flooder.counts.originated,
      floodsDelivered: flooder.counts.delivered,
      floodDuplicates: flooder.counts.duplicates,
      floodStormDropped: flooder.counts.stormDropped,
      floodStrangers: flooder.counts.strangers,
      floodTtlExpired: flooder.counts.ttlExpired,
      floodUnreachable: flooder.counts.unreachable,
      floodsRepeated: flooder.counts.repeated,
      floodWaitingFull: flooder.counts.waitingFull,
      deadEnds: router.counts.deadEnds,
      searches: router.counts.searches,
      searchesDropped: router.counts.searchesDropped,
      waysLeft: router.counts.avoided,
      neighboursDistrusted: near.distrusted,
    };
  }

  #traced(from: NodeId, trace: Trace): void {
    const { self, transit } = this.#deps;
    if (!this.#mayBring(from, 'traces')) {
      this.#counts.tracesRefused += 1;
      return;
    }
    if (trace.target === self) {
      this.#deps.onTraced({ ...trace, hops: [...trace.hops, self] });
      return;
    }
    const passed = transit ? passTrace(trace, self) : null;
    if (passed === null) this.#counts.tracesRefused += 1;
    else this.#sendTrace(passed, from);
  }

  #sendTrace(trace: Trace, ingress: NodeId | null): void {
    const via = this.#fabric.router.next(trace.target, ingress, this.#deps.clock.now());
    if (via !== null) this.#sendControl(via, encodeTrace(trace));
  }

  #forwardStranger(
    from: NodeId,
    { source, destination, ttl, bytes }: Omit<EnvelopeUpcall, 'kind' | 'session'>,
  ): void {
    const nowMs = this.#deps.clock.now();
    const { budget, allowed } = spend(this.#strangers, nowMs);
    this.#strangers = budget;
    this.#counts.envelopeStrangers += 1;
    const via = allowed && ttl > 1 ? this.#fabric.router.next(destination, from, nowMs) : null;
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
    if (sent) this.#counts.envelopesForwarded += 1;
    else this.#counts.envelopesDropped += 1;
    return sent;
  }

  #mayBring(from: NodeId, what: keyof Budgets): boolean {
    const budgets = this.#budgets.get(from) ?? this.#others;
    const { budget, allowed } = spend(budgets[what], this.#deps.clock.now());
    budgets[what] = budget;
    return allowed;
  }

  #run(effects: Effects<Frame>): void {
    for (const effect of effects) this.#one(effect);
    this.#settle();
  }

  #one(effect: FabricEffect<Frame>): void {
    switch (effect.kind) {
      case 'control':
        this.#sendControl(effect.to, encodeRingControl(effect.control));
        return;
      case 'flood':
        this.#sendFlood(effect.to, effect.flood);
        return;
      case 'deliver':
        this.#deps.deliver(effect.flood.header.origin, effect.flood.payload);
        return;
      case 'dead-end':
        this.#counts.deadEndsHeard += 1;
        return;
      case 'way':
        return; // the version has grown: `settle` says so
    }
  }

  #sendControl(to: NodeId, bytes: Uint8Array): void {
    const hop = this.#deps.session(to);
    if (hop !== null)
      this.#deps.datapath.sendFrame(hop.number, 'control', { bytes, offload: null });
  }

  /** A frame too large for header and path goes bare to a neighbour that need not spread it. */
  #sendFlood(to: NodeId, { header, payload }: Flood<Frame>): void {
    const { datapath, session, self } = this.#deps;
    const hop = session(to);
    if (hop === null) {
      this.#counts.floodsUnsent += 1;
      return;
    }
    const { bytes, offload } = payload;
    const fits = hop.maxFrameBytes - floodHeaderBytes;
    if (bytes.length <= fits) {
      const flooded = { bytes: encodeFlood(header, bytes), offload };
      if (!datapath.sendFrame(hop.number, 'flood', flooded)) this.#counts.floodsUnsent += 1;
      return;
    }
    const { origin, target, bound } = header;
    const isLast = origin === self && target === to && this.#fabric.flooder.isEmpty(to, bound);
    if (isLast && datapath.sendFrame(hop.number, 'ethernet', payload)) return;
    this.#counts.floodsTooBig += 1;
    if (origin === self) this.#deps.onTooBig(bytes, fits);
  }

  /** After anything that may have changed a way or a time. */
  #settle(): void {
    if (this.#settling) return; // what it calls comes back here
    this.#settling = true;
    while (this.#fabric.version !== this.#version) {
      this.#version = this.#fabric.version;
      this.refresh();
    }
    this.#settling = false;
    this.#schedule();
  }

  /** Ways, or the sessions that they lead over, are looked at again. */
  refresh(): void {
    const nowMs = this.#deps.clock.now();
    this.#relays.keep((destination, via) => {
      const next = this.#fabric.router.next(destination, null, nowMs);
      return next === via && this.#deps.session(via) !== null;
    });
    this.#deps.onWaysChanged();
  }

  #schedule(): void {
    const { clock, signal } = this.#deps;
    const dueMs = this.#fabric.dueMs(clock.now());
    if (dueMs === null || signal.aborted) return;
    if (this.#dueMs !== null && this.#dueMs <= dueMs) return;
    this.#timer.abort();
    this.#timer = new AbortController();
    this.#dueMs = dueMs;
    const waitMs = Math.max(1, Math.ceil(dueMs - clock.now()));
    clock.after(waitMs, this.#timer.signal, () => {
      this.#dueMs = null;
      this.#run(this.#fabric.tick(clock.now()));
    });
  }
}

const fullBudgets = (nowMs: number): Budgets => ({
  floods: fullBudget(floodsOfNeighbour, nowMs),
  envelopes: fullBudget(envelopesOfNeighbour, nowMs),
  lists: fullBudget(listsOfNeighbour, nowMs),
  traces: fullBudget(traceBudget, nowMs),
});
