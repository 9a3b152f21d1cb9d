/**
 * The shell of the switch: answers the datapath's frame upcalls and writes its station table. Owns
 * which sessions are online, the storm budget, and the ring (`ring.ts`), by which frames for everybody
 * travel; never sends a frame of a session to another one itself.
 */
import { type Clock, every } from '../../base/clock.ts';
import { type Mac, macFromBytes, type NodeId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type { Datapath, Frame, SessionNumber, Upcall } from '../datapath/datapath.ts';
import type { HostStations } from '../network/host-stations.ts';
import { ethernetHeaderBytes } from '../session/core/path.ts';
import { type Budget, floodBudget, fullBudget, spend, tooBigBudget } from './core/budget.ts';
import { decodeOwnFrame } from './core/loop-frame.ts';
import { isGroup, MacTable } from './core/mac-table.ts';
import { tooBigAnswer } from './core/too-big.ts';
import { HostSide } from './host-side.ts';
import { Ring, type RingDeps } from './ring.ts';
import { WaitingFrames } from './waiting-frames.ts';

/** How often idle stations are looked for; ageing is 300 s. */
const sweepMs = 15_000;
/** Frames that wait for a session are looked at this often. */
const waitingSweepMs = 1_000;
/** After a frame for everybody that did not fit, the MTU keeps room for the flood's header so long. */
const narrowMs = 600_000;

export type FrameUpcall = Extract<Upcall, { readonly kind: 'frame-out' | 'frame-in' }>;

interface Member {
  readonly node: NodeId;
  /** Larger frames are answered. */
  readonly maxFrameBytes: number;
  /** What the devices' MTU may count on. */
  readonly settledBytes: number;
}

export interface SwitchDeps extends Omit<RingDeps, 'session' | 'deliver' | 'onTooBig'> {
  /** Frames wait for a session with the node. */
  readonly onNeeded: (node: NodeId) => void;
  /** What the MTU may count on has changed without a session. */
  readonly onNarrow: () => void;
  /** What the kernel's bridge says of the host side; without it, idle times decide. */
  readonly hostStations?: HostStations;
  readonly log: Logger;
}

export class Switch {
  readonly ring: Ring;
  readonly #deps: SwitchDeps;
  readonly #datapath: Datapath;
  readonly #clock: Clock;
  readonly #table = new MacTable();
  readonly #waiting = new WaitingFrames();
  /** Associations that carry frames; one for each node. */
  readonly #members = new Map<SessionNumber, Member>();
  readonly #numbers = new Map<NodeId, SessionNumber>();
  readonly #host: HostSide;
  #flood: Budget;
  #tooBig: Budget;
  #narrow = { bytes: 0, untilMs: 0 };
  readonly #counts = {
    flooded: 0,
    waited: 0,
    waitedInVain: 0,
    stormDropped: 0,
    spoofed: 0,
    notLearnt: 0,
    moved: 0,
    tooBigAnswered: 0,
    tooBigSilent: 0,
    malformed: 0,
  };

  constructor(deps: SwitchDeps) {
    const { datapath, clock, signal } = deps;
    this.#deps = deps;
    this.#datapath = datapath;
    this.#clock = clock;
    this.#flood = fullBudget(floodBudget, clock.now());
    this.#tooBig = fullBudget(tooBigBudget, clock.now());
    this.ring = new Ring({
      ...deps,
      session: (node) => this.#sessionWith(node),
      deliver: (origin, frame) => this.#fromFlood(origin, frame),
      onTooBig: (frame, fits) => this.#floodTooBig(frame, fits),
    });
    every(clock, sweepMs, signal, () => this.#sweep());
    every(clock, waitingSweepMs, signal, () => this.#expireWaiting());
    this.#host = new HostSide({
      ...deps,
      table: this.#table,
      isMember: (node) => this.ring.isMember(node),
      sendTo: (node, bytes) => this.#sendTo(node, { bytes, offload: null }),
    });
  }

  #sessionWith(
    node: NodeId,
  ): { readonly number: SessionNumber; readonly maxFrameBytes: number } | null {
    const number = this.#numbers.get(node);
    const member = number === undefined ? undefined : this.#members.get(number);
    if (number === undefined || member === undefined) return null;
    return { number, maxFrameBytes: member.maxFrameBytes };
  }

  /** An association carries frames of the node from now on; stations stay (`replaceSession`). */
  used(session: SessionNumber, node: NodeId, maxFrameBytes: number, settled: boolean): void {
    const before = this.#numbers.get(node);
    const settledBytes = this.#members.get(before ?? session)?.settledBytes ?? maxFrameBytes;
    if (before !== undefined) this.#members.delete(before);
    this.#members.set(session, {
      node,
      maxFrameBytes,
      settledBytes: settled ? maxFrameBytes : settledBytes,
    });
    this.#numbers.set(node, session);
    if (before === session) return;
    if (before === undefined) {
      const station = { kind: 'session', session } as const;
      for (const mac of this.#table.ofNode(node)) this.#datapath.setStation(mac, station);
    }
    for (const frame of this.#waiting.take(node)) this.#send(session, frame);
    this.ring.refresh();
  }

  /** An association is gone; the node's stations are forgotten if it was the current one. */
  removed(session: SessionNumber): void {
    const member = this.#members.get(session);
    if (member === undefined) return;
    this.#members.delete(session);
    this.#numbers.delete(member.node);
    this.#forget(member.node);
  }

  upcall(upcall: FrameUpcall): void {
    const { frame } = upcall;
    if (frame.bytes.length < ethernetHeaderBytes) {
      this.#counts.malformed += 1;
      return;
    }
    const own = decodeOwnFrame(frame.bytes);
    if (own !== null) {
      if (upcall.kind === 'frame-out') this.#host.fromHost(own);
      else this.#host.fromSession(this.#members.get(upcall.session)?.node ?? null, own);
      return;
    }
    const source = macFromBytes(frame.bytes.subarray(6, 12));
    if (isGroup(source)) {
      this.#counts.malformed += 1;
      return;
    }
    if (this.#host.isClosed) this.#host.refuse(upcall);
    else if (upcall.kind === 'frame-in') this.#fromSession(upcall.session, source, frame);
    else if (upcall.reason === 'too-big') this.#answerTooBig(upcall.session, frame);
    else this.#fromHost(source, frame);
  }

  /** Largest frames of the members, for the MTU. */
  maxFrames(): readonly number[] {
    const sizes = [...this.#members.values()].map((member) => member.settledBytes);
    return this.#clock.now() < this.#narrow.untilMs ? [...sizes, this.#narrow.bytes] : sizes;
  }

  counters(): Readonly<Record<string, number>> {
    return {
      ...this.#counts,
      ...this.#host.counters(),
      ...this.ring.counters(),
      stations: this.#table.size,
      waitingNodes: this.#waiting.size,
    };
  }

  stations(limit: number): ReadonlyArray<{ mac: Mac; node: NodeId | null; idleMs: number }> {
    return this.#table.list(limit).map(({ mac, place }) => ({
      mac,
      node: place.kind === 'node' ? place.node : null,
      idleMs: this.#datapath.stationIdleMs(mac) ?? 0,
    }));
  }

  #fromHost(source: Mac, frame: Frame): void {
    // The host side owns what it uses: it may take an address over from a node (a pod that moved).
    const learnt = this.#table.learn(source, { kind: 'local' }, this.#clock.now());
    if (learnt.kind === 'learnt') {
      if (learnt.moved) {
        this.#counts.moved += 1;
        this.#host.suspect();
      }
      this.#datapath.setStation(source, { kind: 'local' });
    } else if (learnt.kind === 'full') this.#counts.notLearnt += 1;

    const destination = macFromBytes(frame.bytes);
    const place = isGroup(destination) ? null : this.#table.find(destination);
    if (place === null) this.#floodOut(frame);
    else if (place.kind === 'node') this.#toNode(place.node, destination, frame);
    // A local destination is on the host's own bridge, which has delivered the frame already.
  }

  /** The tables had no entry for the station, or it was not this frame that they sent up. */
  #toNode(node: NodeId, station: Mac, frame: Frame): void {
    const session = this.#numbers.get(node);
    if (session !== undefined && this.#datapath.stationIdleMs(station) === null) {
      this.#datapath.setStation(station, { kind: 'session', session });
    }
    // Not flooded meanwhile: the frame is for one node, and the session keeps it from the others.
    if (session !== undefined || this.ring.isMember(node)) this.#sendTo(node, frame);
    else this.#floodOut(frame);
  }

  /** Over the session with a member, or as soon as there is one. */
  #sendTo(node: NodeId, frame: Frame): void {
    const session = this.#numbers.get(node);
    if (session !== undefined) {
      this.#send(session, frame);
      return;
    }
    if (this.#waiting.add(node, frame, this.#clock.now())) this.#counts.waited += 1;
    else this.#counts.waitedInVain += 1;
    this.#deps.onNeeded(node);
  }

  #send(session: SessionNumber, frame: Frame): void {
    if (this.#datapath.sendFrame(session, 'ethernet', frame)) return;
    const { maxFrameBytes = 0 } = this.#members.get(session) ?? {};
    if (frame.bytes.length > maxFrameBytes) this.#answerTooBig(session, frame);
  }

  #floodOut(frame: Frame): void {
    const frames = this.#datapath.completeFrame(frame);
    if (frames.length === 0) this.#counts.malformed += 1;
    for (const bytes of frames) {
      const { budget, allowed } = spend(this.#flood, this.#clock.now());
      this.#flood = budget;
      if (!allowed) {
        this.#counts.stormDropped += 1;
        continue;
      }
      this.#counts.flooded += 1;
      this.ring.broadcast(bytes);
    }
  }

  #floodTooBig(frame: Uint8Array, fits: number): void {
    // Nobody may be told of a group frame (RFC 1122 section 3.2.2): the devices get a smaller MTU.
    this.#narrow = { bytes: fits, untilMs: this.#clock.now() + narrowMs };
    this.#deps.onNarrow();
    this.#sayTooBig(frame, fits);
  }

  /** A flooded frame: its origin is who has the source behind it, whoever handed it on. */
  #fromFlood(origin: NodeId, frame: Frame): void {
    if (
      frame.bytes.length < ethernetHeaderBytes ||
      isGroup(macFromBytes(frame.bytes.subarray(6)))
    ) {
      this.#counts.malformed += 1;
      return;
    }
    // The TAP is closed, or a frame of ours, which never travels by floods.
    if (this.#host.isClosed || decodeOwnFrame(frame.bytes) !== null) {
      this.#host.counts.loopDropped += 1;
      return;
    }
    const source = macFromBytes(frame.bytes.subarray(6));
    const place = { kind: 'node', node: origin } as const;
    let learnt = this.#table.learn(source, place, this.#clock.now());
    if (learnt.kind === 'spoofed' && this.#host.hasLeft(source)) {
      learnt = this.#table.learn(source, place, this.#clock.now());
    }
    if (learnt.kind === 'spoofed') {
      this.#counts.spoofed += 1;
      return;
    }
    if (learnt.kind === 'full') this.#counts.notLearnt += 1;
    if (learnt.kind === 'learnt') {
      if (learnt.moved) this.#counts.moved += 1;
      const session = this.#numbers.get(origin);
      if (session === undefined) this.#datapath.removeStation(source);
      else this.#datapath.setStation(source, { kind: 'session', session });
    }
    this.#datapath.deliverFrame(frame);
  }

  /** Nobody came to the session: what was known of the node is forgotten, the next frames are flooded. */
  #expireWaiting(): void {
    const { frames, nodes } = this.#waiting.expire(this.#clock.now());
    this.#counts.waitedInVain += frames;
    for (const node of nodes) this.#forget(node);
  }

  #forget(node: NodeId): void {
    for (const mac of this.#table.forgetNode(node)) this.#datapath.removeStation(mac);
  }

  #fromSession(session: SessionNumber, source: Mac, frame: Frame): void {
    const member = this.#members.get(session);
    if (member === undefined) {
      // A record of an association that was just replaced: good, but it teaches nothing any more.
      if (this.#table.find(source)?.kind === 'local') this.#counts.spoofed += 1;
      else this.#datapath.deliverFrame(frame);
      return;
    }
    const place = { kind: 'node', node: member.node } as const;
    const learnt = this.#table.learn(source, place, this.#clock.now());
    switch (learnt.kind) {
      case 'spoofed':
        this.#counts.spoofed += 1;
        return;
      case 'full':
        this.#counts.notLearnt += 1;
        break;
      case 'learnt':
        if (learnt.moved) this.#counts.moved += 1;
        this.#datapath.setStation(source, { kind: 'session', session });
        break;
      case 'known':
        // The tables forgot or never had it (a replaced association): write it again.
        this.#datapath.setStation(source, { kind: 'session', session });
    }
    this.#datapath.deliverFrame(frame);
  }

  #answerTooBig(session: SessionNumber, frame: Frame): void {
    const member = this.#members.get(session);
    if (member === undefined) this.#counts.tooBigSilent += 1;
    else this.#sayTooBig(frame.bytes, member.maxFrameBytes);
  }

  #sayTooBig(frame: Uint8Array, maxFrameBytes: number): void {
    const { budget, allowed } = spend(this.#tooBig, this.#clock.now());
    this.#tooBig = budget;
    const answer = allowed ? tooBigAnswer(frame, maxFrameBytes - ethernetHeaderBytes) : null;
    if (answer === null) {
      this.#counts.tooBigSilent += 1;
      return;
    }
    this.#counts.tooBigAnswered += 1;
    this.#datapath.deliverFrame({ bytes: answer, offload: null });
  }

  #sweep(): void {
    const forgotten = this.#table.age(this.#clock.now(), (mac) =>
      this.#datapath.stationIdleMs(mac),
    );
    for (const mac of forgotten) this.#datapath.removeStation(mac);
  }
}
