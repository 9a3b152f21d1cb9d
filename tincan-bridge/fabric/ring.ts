/**
 * The shell of the ring: carries out what `core/ring-fabric.ts` decides. Owns its timer, the relay table
 * of the datapath, the codecs' edges and the budgets of what neighbours may cause. Knows sessions by
 * number only, and no MAC addresses.
 */
import { randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { Alarm, type Clock, every } from '../../base/clock.ts';
import type { NodeId } from '../../base/ids.ts';
import type { Datapath, Frame, SessionNumber } from '../datapath/datapath.ts';
import { undoneOffload } from '../datapath/wire.ts';
import type { Params, Result } from '../protocol/schema.ts';
import type { RingPort, RingWay } from '../session/ring-port.ts';
import type { Flood } from './core/flood.ts';
import { decodeFlood, encodeFlood, floodHeaderBytes } from './core/flood-codec.ts';
import { decodeRingControl, encodeRingControl } from './core/ring-control.ts';
import { type Effects, type FabricEffect, RingFabric } from './core/ring-fabric.ts';
import { decodeTrace, type Trace } from './core/trace.ts';
import { Envelopes, type EnvelopeUpcall } from './envelopes.ts';
import { NeighbourBudgets } from './neighbour-budgets.ts';
import { RelayTable } from './relay-table.ts';
import { fabricCounters, ringRoutes } from './ring-status.ts';
import { Traces } from './traces.ts';

/** Ways grow old without a word: what was derived from them is looked at again. */
const refreshMs = 30_000;

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

export class Ring implements RingPort {
  readonly #deps: RingDeps;
  readonly #fabric: RingFabric<Frame>;
  readonly #relays: RelayTable;
  readonly #envelopes: Envelopes;
  readonly #traces: Traces;
  readonly #budgets: NeighbourBudgets;
  readonly #counts = {
    floodsUnsent: 0,
    floodsTooBig: 0,
    floodsRefused: 0,
    floodsMalformed: 0,
    listsRefused: 0,
    ringControlsUnknown: 0,
    deadEndsHeard: 0,
    neighboursSwallowing: 0,
  };
  #members: readonly NodeId[] = [];
  #version = 0;
  readonly #alarm: Alarm;
  #dueMs: number | null = null;
  #settling = false;

  constructor(deps: RingDeps) {
    this.#deps = deps;
    const { self, transit, clock, signal } = deps;
    this.#alarm = new Alarm(clock);
    this.#relays = new RelayTable(deps.datapath);
    const random32 = (): number => randomBytes(4).readUInt32BE();
    this.#fabric = new RingFabric({ self, transit, random32 }, ({ bytes }) => crc32(bytes));
    this.#envelopes = new Envelopes({
      ...deps,
      fabric: this.#fabric,
      relays: this.#relays,
      mayBring: (from) => this.#budgets.mayBring(from, 'envelopes'),
      run: (effects) => this.#run(effects),
    });
    this.#traces = new Traces({
      ...deps,
      mayBring: (from) => this.#budgets.mayBring(from, 'traces'),
      next: (target, from) => this.#fabric.router.next(target, from, clock.now()),
      send: (to, bytes) => this.#sendControl(to, bytes),
    });
    this.#budgets = new NeighbourBudgets(clock);
    every(clock, refreshMs, signal, () => this.refresh());
    signal.addEventListener('abort', () => this.#alarm.end(), { once: true });
  }

  setMembers({ members, leaves, away }: Params<'setMembers'>): void {
    this.#members = members.filter((id) => id !== this.#deps.self);
    this.#fabric.setMembers(this.#members, new Set(leaves), new Set(away));
    this.#settle();
  }

  isMember(node: NodeId): boolean {
    return this.#fabric.flooder.isMember(node);
  }

  linkUp(peer: NodeId): void {
    const nowMs = this.#deps.clock.now();
    this.#budgets.linkUp(peer);
    this.#run(this.#fabric.linkUp(peer, nowMs));
  }

  linkDown(peer: NodeId): void {
    this.#budgets.linkDown(peer);
    this.#fabric.linkDown(peer, this.#deps.clock.now());
    this.#run([]);
  }

  /** A control payload of a kind that is not the session's own. */
  control(from: NodeId, bytes: Uint8Array): void {
    const control = decodeRingControl(bytes);
    if (control !== null) {
      if (control.kind === 'neighbours' && !this.#budgets.mayBring(from, 'lists')) {
        this.#counts.listsRefused += 1;
        return;
      }
      this.#run(this.#fabric.control(from, control, this.#deps.clock.now()));
      return;
    }
    const trace = decodeTrace(bytes);
    if (trace === null) this.#counts.ringControlsUnknown += 1;
    else this.#traces.heard(from, trace);
  }

  flood(from: NodeId, bytes: Uint8Array, checksumUndone: boolean): void {
    const decoded = decodeFlood(bytes);
    if (decoded === null) {
      this.#counts.floodsMalformed += 1;
      return;
    }
    if (!this.#budgets.mayBring(from, 'floods')) {
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
  forward(from: NodeId, envelope: EnvelopeUpcall): void {
    this.#envelopes.forward(from, envelope);
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
    return this.#envelopes.send(peer, bytes);
  }

  trace(peer: NodeId, number: bigint): void {
    this.#traces.start(peer, number, this.way(peer)?.ttl ?? 1);
  }

  admits(): boolean {
    return this.#deps.admits();
  }

  routes(): Result<'routes'> {
    return ringRoutes(this.#fabric, this.#members, this.#deps.clock.now());
  }

  counters(): Readonly<Record<string, number>> {
    return {
      ...this.#counts,
      ...this.#envelopes.counts,
      ...this.#traces.counts,
      ...fabricCounters(this.#fabric),
      relays: this.#relays.size,
    };
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
    this.#dueMs = dueMs;
    const waitMs = Math.max(1, Math.ceil(dueMs - clock.now()));
    this.#alarm.set(waitMs, () => {
      this.#dueMs = null;
      this.#run(this.#fabric.tick(clock.now()));
    });
  }
}
