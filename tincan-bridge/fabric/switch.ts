/**
 * The shell of the switch: answers the datapath's frame upcalls and writes its station table. Owns
 * which sessions are online and the storm budget; never sends a frame of a session to another one
 * (every member has a session with every other, so a frame that came is at its end).
 */
import { type Clock, every } from '../../base/clock.ts';
import { type Mac, macFromBytes, type NodeId } from '../../base/ids.ts';
import type { Datapath, Frame, SessionNumber, Upcall } from '../datapath/datapath.ts';
import { ethernetHeaderBytes } from '../session/core/path.ts';
import { type Budget, floodBudget, fullBudget, spend, tooBigBudget } from './core/budget.ts';
import { isGroup, MacTable } from './core/mac-table.ts';
import { tooBigAnswer } from './core/too-big.ts';

/** How often idle stations are looked for; ageing is 300 s. */
const sweepMs = 15_000;

export type FrameUpcall = Extract<Upcall, { readonly kind: 'frame-out' | 'frame-in' }>;

interface Member {
  readonly node: NodeId;
  /** Larger frames are answered. */
  readonly maxFrameBytes: number;
  /** What the devices' MTU may count on. */
  readonly settledBytes: number;
}

export class Switch {
  readonly #datapath: Datapath;
  readonly #clock: Clock;
  readonly #table = new MacTable();
  /** Associations that carry frames; one for each node. */
  readonly #members = new Map<SessionNumber, Member>();
  readonly #numbers = new Map<NodeId, SessionNumber>();
  #flood: Budget;
  #tooBig: Budget;
  readonly #counts = {
    flooded: 0,
    stormDropped: 0,
    spoofed: 0,
    notLearnt: 0,
    moved: 0,
    tooBigAnswered: 0,
    tooBigSilent: 0,
    malformed: 0,
  };

  constructor(datapath: Datapath, clock: Clock, signal: AbortSignal) {
    this.#datapath = datapath;
    this.#clock = clock;
    this.#flood = fullBudget(floodBudget, clock.now());
    this.#tooBig = fullBudget(tooBigBudget, clock.now());
    every(clock, sweepMs, signal, () => this.#sweep());
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
  }

  /** An association is gone; the node's stations are forgotten if it was the current one. */
  removed(session: SessionNumber): void {
    const member = this.#members.get(session);
    if (member === undefined) return;
    this.#members.delete(session);
    this.#numbers.delete(member.node);
    for (const mac of this.#table.forgetNode(member.node)) this.#datapath.removeStation(mac);
  }

  upcall(upcall: FrameUpcall): void {
    const { frame } = upcall;
    if (frame.bytes.length < ethernetHeaderBytes) {
      this.#counts.malformed += 1;
      return;
    }
    const source = macFromBytes(frame.bytes.subarray(6, 12));
    if (isGroup(source)) {
      this.#counts.malformed += 1;
      return;
    }
    if (upcall.kind === 'frame-in') this.#fromSession(upcall.session, source, frame);
    else if (upcall.reason === 'too-big') this.#answerTooBig(upcall.session, frame);
    else this.#fromHost(source, frame);
  }

  /** Largest frames of the members, for the MTU. */
  maxFrames(): readonly number[] {
    return [...this.#members.values()].map((member) => member.settledBytes);
  }

  counters(): Readonly<Record<string, number>> {
    return { ...this.#counts, stations: this.#table.size };
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
      if (learnt.moved) this.#counts.moved += 1;
      this.#datapath.setStation(source, { kind: 'local' });
    } else if (learnt.kind === 'full') this.#counts.notLearnt += 1;

    const destination = macFromBytes(frame.bytes);
    const place = isGroup(destination) ? null : this.#table.find(destination);
    if (place === null) this.#floodOut(frame);
    else if (place.kind === 'node') {
      const session = this.#numbers.get(place.node);
      if (session !== undefined) this.#datapath.sendFrame(session, 'ethernet', frame);
    }
    // A local destination is on the host's own bridge, which has delivered the frame already.
  }

  #floodOut(frame: Frame): void {
    const { budget, allowed } = spend(this.#flood, this.#clock.now());
    this.#flood = budget;
    if (!allowed) {
      this.#counts.stormDropped += 1;
      return;
    }
    this.#counts.flooded += 1;
    for (const session of this.#members.keys()) {
      this.#datapath.sendFrame(session, 'ethernet', frame);
    }
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
    const { budget, allowed } = spend(this.#tooBig, this.#clock.now());
    this.#tooBig = budget;
    const answer =
      member !== undefined && allowed
        ? tooBigAnswer(frame.bytes, member.maxFrameBytes - ethernetHeaderBytes)
        : null;
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
