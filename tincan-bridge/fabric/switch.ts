/**
 * The shell of the switch: answers the datapath's frame upcalls. Owns the storm budget, the frames that
 * wait for a session, and the ring (`ring.ts`), by which frames for everybody travel; never sends a frame
 * of a session to another one itself.
 */
import { type Clock, every } from '../../base/clock.ts';
import { type Mac, macFromBytes, type NodeId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type { Datapath, Frame, SessionNumber } from '../datapath/datapath.ts';
import type { HostStations } from '../network/host-stations.ts';
import type { Params } from '../protocol/schema.ts';
import { ethernetHeaderBytes } from '../session/core/path.ts';
import { decodeResolution, type Question } from './core/address-resolution.ts';
import { Bindings } from './core/bindings.ts';
import { type Budget, floodBudget, fullBudget, spend } from './core/budget.ts';
import { decodeOwnFrame } from './core/loop-frame.ts';
import { isGroup } from './core/mac-table.ts';
import { type FrameUpcall, HostSide } from './host-side.ts';
import { OnlineNodes } from './online-nodes.ts';
import { Ring, type RingDeps } from './ring.ts';
import { Stations } from './stations.ts';
import { TooBigAnswers } from './too-big-answers.ts';
import { WaitingFrames } from './waiting-frames.ts';

/** Frames that wait for a session are looked at this often. */
const waitingSweepMs = 1_000;
/** After a frame for everybody that did not fit, the MTU keeps room for the flood's header so long. */
const narrowMs = 600_000;

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
  readonly #online = new OnlineNodes();
  readonly #stations: Stations;
  readonly #host: HostSide;
  readonly #waiting = new WaitingFrames();
  readonly #bindings = new Bindings();
  readonly #tooBig: TooBigAnswers;
  #flood: Budget;
  #narrow = { bytes: 0, untilMs: 0 };
  readonly #counts = {
    flooded: 0,
    unflooded: 0,
    waited: 0,
    waitedInVain: 0,
    stormDropped: 0,
    malformed: 0,
  };

  constructor(deps: SwitchDeps) {
    const { datapath, clock, signal } = deps;
    this.#deps = deps;
    this.#datapath = datapath;
    this.#clock = clock;
    this.#flood = fullBudget(floodBudget, clock.now());
    this.#tooBig = new TooBigAnswers(datapath, clock);
    this.#stations = new Stations({ ...deps, hasLeft: (mac) => this.#host.hasLeft(mac) });
    this.ring = new Ring({
      ...deps,
      session: (node) => this.#online.sessionWith(node),
      deliver: (origin, frame) => this.#fromFlood(origin, frame),
      onTooBig: (frame, fits) => this.#floodTooBig(frame, fits),
    });
    this.#host = new HostSide({
      ...deps,
      stations: this.#stations,
      isMember: (node) => this.ring.isMember(node),
      sendTo: (node, bytes) => this.#sendTo(node, { bytes, offload: null }),
    });
    every(clock, waitingSweepMs, signal, () => this.#expireWaiting());
  }

  /** Who is a member, and what their hosts' addresses are; replaces the earlier. */
  setMembers(params: Params<'setMembers'>): void {
    this.ring.setMembers(params);
    this.#bindings.setHosts(params.addresses);
  }

  /** An association carries frames of the node from now on; stations stay (`replaceSession`). */
  used(session: SessionNumber, node: NodeId, maxFrameBytes: number, settled: boolean): void {
    const before = this.#online.used(session, node, maxFrameBytes, settled);
    if (before === session) return;
    if (before === undefined) this.#stations.online(node, session);
    for (const frame of this.#waiting.take(node)) this.#send(session, frame);
    this.ring.refresh();
  }

  /** An association is gone; the node's stations are forgotten if it was the current one. */
  removed(session: SessionNumber): void {
    const node = this.#online.removed(session);
    if (node !== null) this.#stations.forget(node);
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
      else this.#host.fromSession(this.#online.nodeOf(upcall.session), own);
      return;
    }
    const source = macFromBytes(frame.bytes.subarray(6, 12));
    if (isGroup(source)) {
      this.#counts.malformed += 1;
      return;
    }
    if (upcall.reason === 'resolution') this.#bind(frame);
    else if (this.#host.isClosed) this.#host.refuse(upcall);
    else if (upcall.kind === 'frame-in') this.#fromSession(upcall.session, source, frame);
    else if (upcall.reason === 'too-big') this.#answerTooBig(upcall.session, frame);
    else this.#fromHost(source, frame);
  }

  /** Largest frames of the members, for the MTU. */
  maxFrames(): readonly number[] {
    const sizes = this.#online.settledBytes();
    return this.#clock.now() < this.#narrow.untilMs ? [...sizes, this.#narrow.bytes] : sizes;
  }

  counters(): Readonly<Record<string, number>> {
    return {
      ...this.#counts,
      ...this.#stations.counts,
      ...this.#host.counters(),
      ...this.#tooBig.counts,
      ...this.ring.counters(),
      stations: this.#stations.size,
      bindings: this.#bindings.size,
      waitingNodes: this.#waiting.size,
    };
  }

  stations(limit: number): ReadonlyArray<{ mac: Mac; node: NodeId | null; idleMs: number }> {
    return this.#stations.list(limit);
  }

  #fromHost(source: Mac, frame: Frame): void {
    const learnt = this.#stations.fromHost(source);
    if (learnt.kind === 'learnt') this.#bindings.isNew(source);
    if (learnt.kind === 'learnt' && learnt.moved) this.#host.suspect();
    const destination = macFromBytes(frame.bytes);
    const place = isGroup(destination) ? null : this.#stations.find(destination);
    if (place === null) this.#toAll(source, frame);
    else if (place.kind === 'node') this.#toNode(place.node, destination, frame);
    // A local destination is on the host's own bridge, which has delivered the frame already.
  }

  /** A question for an address goes alone to the node that has it, where that is known. */
  #toAll(source: Mac, frame: Frame): void {
    const asks = decodeResolution(frame.bytes)?.asks ?? null;
    const question = asks === null ? null : `${source} ${asks.asker}>${asks.ip}`;
    const node =
      asks === null || question === null
        ? null
        : // Said again while it waits for the session, it has not been heard yet.
          (this.#waiting.asked(question) ?? this.#holderOf(source, asks));
    if (node === null || !this.ring.isMember(node)) {
      this.#floodOut(frame);
      return;
    }
    this.#counts.unflooded += 1;
    this.#sendTo(node, frame, question);
  }

  /** The node behind which the station with an address is; null: everybody is asked. */
  #holderOf(source: Mac, asks: Question): NodeId | null {
    const holder = this.#bindings.askedBy(source, asks, this.#clock.now());
    if (holder === null) return null;
    const place = holder.station === null ? null : this.#stations.find(holder.station);
    if (place === null) return holder.node;
    return place.kind === 'node' ? place.node : null;
  }

  /** What the source says of itself; its address has passed the learning table. */
  #bind(frame: Frame): void {
    const resolution = decodeResolution(frame.bytes);
    if (resolution !== null) this.#bindings.learn(resolution, this.#clock.now());
  }

  /** The tables had no entry for the station, or it was not this frame that they sent up. */
  #toNode(node: NodeId, station: Mac, frame: Frame): void {
    const session = this.#online.numberOf(node);
    if (session !== undefined && this.#datapath.stationIdleMs(station) === null) {
      this.#stations.write(station, session);
    }
    // Not flooded meanwhile: the frame is for one node, and the session keeps it from the others.
    if (session !== undefined || this.ring.isMember(node)) this.#sendTo(node, frame);
    else this.#floodOut(frame);
  }

  /** Over the session with a member, or as soon as there is one. */
  #sendTo(node: NodeId, frame: Frame, question: string | null = null): void {
    const session = this.#online.numberOf(node);
    if (session !== undefined) {
      this.#send(session, frame);
      return;
    }
    if (this.#waiting.add(node, frame, this.#clock.now(), question)) this.#counts.waited += 1;
    else this.#counts.waitedInVain += 1;
    this.#deps.onNeeded(node);
  }

  #send(session: SessionNumber, frame: Frame): void {
    if (this.#datapath.sendFrame(session, 'ethernet', frame)) return;
    const maxFrameBytes = this.#online.maxFrameBytesOf(session) ?? 0;
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
    this.#tooBig.answer(frame, fits);
  }

  #answerTooBig(session: SessionNumber, frame: Frame): void {
    this.#tooBig.answer(frame.bytes, this.#online.maxFrameBytesOf(session));
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
    const session = this.#online.numberOf(origin);
    if (!this.#stations.fromFlood(source, origin, session)) return;
    this.#bind(frame);
    this.#datapath.deliverFrame(frame);
  }

  #fromSession(session: SessionNumber, source: Mac, frame: Frame): void {
    const node = this.#online.nodeOf(session);
    const passes =
      node === undefined
        ? // A record of an association that was just replaced: good, but it teaches nothing any more.
          this.#stations.mayUse(source)
        : this.#stations.fromSession(source, node, session);
    if (!passes) return;
    this.#bind(frame);
    this.#datapath.deliverFrame(frame);
  }

  /** Nobody came to the session: what was known of the node is forgotten, the next frames are flooded. */
  #expireWaiting(): void {
    const { frames, nodes } = this.#waiting.expire(this.#clock.now());
    this.#counts.waitedInVain += frames;
    for (const node of nodes) this.#stations.forget(node);
  }
}
