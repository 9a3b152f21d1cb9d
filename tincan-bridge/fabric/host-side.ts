/**
 * What the switch finds out about its host side: loops outside the overlay (`core/loop-guard.ts`), for
 * which it closes the TAP, and stations that are not there any more. Owns both, and the switch's own
 * frames; moves no frame of a host.
 */
import { randomBytes } from 'node:crypto';
import { type Clock, every } from '../../base/clock.ts';
import { type Mac, macFromBytes, type NodeId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type { Datapath, Upcall } from '../datapath/datapath.ts';
import type { HostStations } from '../network/host-stations.ts';
import { type Budget, fullBudget, goneBudget, ownershipBudget, spend } from './core/budget.ts';
import { encodeOwnFrame, type OwnFrame } from './core/loop-frame.ts';
import { type LoopEffect, LoopGuard, probeMs } from './core/loop-guard.ts';
import { isGroup } from './core/mac-table.ts';
import type { Stations } from './stations.ts';

/** Where nobody can say what the host side has, a station is its own for so long after its last frame. */
const localIdleMs = 10_000;

export type FrameUpcall = Extract<Upcall, { readonly kind: 'frame-out' | 'frame-in' }>;

export interface HostSideDeps {
  readonly datapath: Datapath;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly log: Logger;
  readonly self: NodeId;
  readonly stations: Stations;
  /** What the kernel's bridge says of the host side; without it, idle times decide. */
  readonly hostStations?: HostStations;
  readonly isMember: (node: NodeId) => boolean;
  /** In the session with a member, made if there is none. */
  readonly sendTo: (node: NodeId, bytes: Uint8Array) => void;
}

export class HostSide {
  readonly #deps: HostSideDeps;
  readonly #guard: LoopGuard;
  #gone: Budget;
  #ownership: Budget;
  readonly counts = { released: 0, loopsFound: 0, loopDropped: 0, loopStrangers: 0 };

  constructor(deps: HostSideDeps) {
    const { clock, signal, self } = deps;
    this.#deps = deps;
    this.#guard = new LoopGuard(self, () => randomBytes(8).readBigUInt64BE());
    this.#gone = fullBudget(goneBudget, clock.now());
    this.#ownership = fullBudget(ownershipBudget, clock.now());
    every(clock, probeMs, signal, () => this.#look());
  }

  /** No frame goes in or out at the TAP. */
  get isClosed(): boolean {
    return this.#guard.isClosed;
  }

  counters(): Readonly<Record<string, number>> {
    const { joined, isClosed } = this.#guard;
    return { ...this.counts, loops: joined.length, tapClosed: isClosed ? 1 : 0 };
  }

  /** A station of a member appeared here: moved, or the first sign of a loop. */
  suspect(): void {
    this.#run(this.#guard.suspect(this.#deps.clock.now()));
  }

  /** The TAP is closed. Who sends something for a station here is told, and asks everybody then. */
  refuse(upcall: FrameUpcall): void {
    const { datapath, clock, self } = this.#deps;
    this.counts.loopDropped += 1;
    const mac = macFromBytes(upcall.frame.bytes);
    if (upcall.kind === 'frame-out' || isGroup(mac)) return;
    const { budget, allowed } = spend(this.#gone, clock.now());
    this.#gone = budget;
    const bytes = encodeOwnFrame({ kind: 'gone', node: self, mac });
    if (allowed) datapath.sendFrame(upcall.session, 'ethernet', { bytes, offload: null });
  }

  /** One of the switch's own frames came in at the TAP. */
  fromHost(frame: OwnFrame): void {
    const { self, clock, isMember } = this.#deps;
    if (frame.kind !== 'probe') return; // nobody but a forger sends others out there
    if (frame.node === self || isMember(frame.node)) {
      this.#run(this.#guard.heardProbe(frame, clock.now()));
    } else this.counts.loopStrangers += 1;
  }

  /** One came in a session with the node; undefined: of keys that were replaced. */
  fromSession(from: NodeId | undefined, frame: OwnFrame): void {
    const { clock, stations } = this.#deps;
    if (from === undefined) return;
    if (frame.kind !== 'gone') this.#run(this.#guard.heardAnswer(from, frame, clock.now()));
    else stations.gone(frame.mac, from);
  }

  /** A member has a station that was of the host side: is it not there any more? */
  hasLeft(mac: Mac): boolean {
    const { budget, allowed } = spend(this.#ownership, this.#deps.clock.now());
    this.#ownership = budget;
    if (allowed) this.#release();
    return this.#deps.stations.find(mac) === null;
  }

  #look(): void {
    this.#run(this.#guard.tick(this.#deps.clock.now()));
    this.#release();
  }

  /** Forgets stations that the host side does not have any more: another place may have them. */
  #release(): void {
    const { datapath, stations, hostStations } = this.#deps;
    const owned = hostStations?.owned();
    const isIdle = (mac: Mac): boolean =>
      (datapath.stationIdleMs(mac) ?? localIdleMs) >= localIdleMs;
    this.counts.released += stations.releaseLocal(
      (mac) => owned?.macs.has(mac) !== true && (owned?.complete === true || isIdle(mac)),
    );
  }

  #run(effects: readonly LoopEffect[]): void {
    for (const effect of effects) this.#one(effect);
  }

  #one(effect: LoopEffect): void {
    const { datapath, stations, hostStations, log, sendTo } = this.#deps;
    switch (effect.kind) {
      case 'probe':
        datapath.deliverFrame({ bytes: encodeOwnFrame(effect.frame), offload: null });
        return;
      case 'send':
        sendTo(effect.to, encodeOwnFrame(effect.frame));
        return;
      case 'forget':
        stations.forgetAll();
        hostStations?.forgetLearnt();
        return;
      case 'joined':
        this.counts.loopsFound += 1;
        log.warn('the host side is joined with another one outside the overlay', {
          peer: effect.node,
          state: effect.closed ? 'TAP closed' : 'TAP open',
        });
        return;
      case 'parted':
        log.info('the host side is joined no more', { peer: effect.node });
    }
  }
}
