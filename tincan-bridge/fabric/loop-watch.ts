/**
 * The shell of the loop guard (`core/loop-guard.ts`): sends and answers the probes by which it is found
 * out whether the host side is joined with another one outside the overlay, and turns frames back while
 * the TAP is closed. Owns the guard and the budget of what it sends back; decides nothing.
 */
import { randomBytes } from 'node:crypto';
import { type Clock, every } from '../../base/clock.ts';
import { macFromBytes, type NodeId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type { Datapath, Frame, SessionNumber, Upcall } from '../datapath/datapath.ts';
import type { HostStations } from '../network/host-stations.ts';
import { type Budget, fullBudget, goneBudget, spend } from './core/budget.ts';
import { encodeOwnFrame, type OwnFrame } from './core/loop-frame.ts';
import { type LoopEffect, LoopGuard, probeMs } from './core/loop-guard.ts';
import { isGroup } from './core/mac-table.ts';
import type { Stations } from './stations.ts';

export type FrameUpcall = Extract<Upcall, { readonly kind: 'frame-out' | 'frame-in' }>;

export interface LoopWatchDeps {
  readonly datapath: Datapath;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly log: Logger;
  readonly self: NodeId;
  readonly stations: Stations;
  readonly hostStations?: HostStations;
  readonly isMember: (node: NodeId) => boolean;
  /** The node whose frames the association carries. */
  readonly nodeOf: (session: SessionNumber) => NodeId | undefined;
  /** Over the session with a member, or as soon as there is one. */
  readonly sendTo: (node: NodeId, frame: Frame) => void;
}

export class LoopWatch {
  readonly counts = { loopsFound: 0, loopDropped: 0, loopStrangers: 0 };
  readonly #deps: LoopWatchDeps;
  readonly #guard: LoopGuard;
  #gone: Budget;

  constructor(deps: LoopWatchDeps) {
    const { clock, signal, self } = deps;
    this.#deps = deps;
    this.#gone = fullBudget(goneBudget, clock.now());
    this.#guard = new LoopGuard(self, () => randomBytes(8).readBigUInt64BE());
    every(clock, probeMs, signal, () => this.#look());
  }

  /** The TAP is closed. */
  get isClosed(): boolean {
    return this.#guard.isClosed;
  }

  get joined(): number {
    return this.#guard.joined.length;
  }

  /** A station has moved to the host side, as it does in a loop. */
  suspect(): void {
    this.#run(this.#guard.suspect(this.#deps.clock.now()));
  }

  /** A frame of ours that came back out of the host side, or came in a session. */
  ownFrame(upcall: FrameUpcall, frame: OwnFrame): void {
    const { clock, self, isMember, nodeOf, stations } = this.#deps;
    const nowMs = clock.now();
    if (upcall.kind === 'frame-out') {
      if (frame.kind !== 'probe') return; // nobody but a forger sends others out there
      if (frame.node === self || isMember(frame.node)) {
        this.#run(this.#guard.heardProbe(frame, nowMs));
      } else this.counts.loopStrangers += 1;
      return;
    }
    const from = nodeOf(upcall.session);
    if (from === undefined) return;
    if (frame.kind !== 'gone') this.#run(this.#guard.heardAnswer(from, frame, nowMs));
    else stations.gone(frame.mac, from);
  }

  /** The TAP is closed: what is for it is sent back to whom it came from, which then asks everybody. */
  refuse(upcall: FrameUpcall): void {
    this.counts.loopDropped += 1;
    const destination = macFromBytes(upcall.frame.bytes);
    if (upcall.kind === 'frame-out' || isGroup(destination)) return;
    const { clock, datapath, self } = this.#deps;
    const { budget, allowed } = spend(this.#gone, clock.now());
    this.#gone = budget;
    const bytes = encodeOwnFrame({ kind: 'gone', node: self, mac: destination });
    if (allowed) datapath.sendFrame(upcall.session, 'ethernet', { bytes, offload: null });
  }

  #run(effects: readonly LoopEffect[]): void {
    const { log, hostStations, datapath, sendTo, stations } = this.#deps;
    for (const effect of effects) {
      switch (effect.kind) {
        case 'probe': {
          const bytes = encodeOwnFrame(effect.frame);
          datapath.deliverFrame({ bytes, offload: null });
          break;
        }
        case 'send':
          sendTo(effect.to, { bytes: encodeOwnFrame(effect.frame), offload: null });
          break;
        case 'forget':
          stations.forgetAll();
          hostStations?.forgetLearnt();
          break;
        case 'joined':
          this.counts.loopsFound += 1;
          log.warn('the host side is joined with another one outside the overlay', {
            peer: effect.node,
            state: effect.closed ? 'TAP closed' : 'TAP open',
          });
          break;
        case 'parted':
          log.info('the host side is joined no more', { peer: effect.node });
      }
    }
  }

  /** Once in a second: probes, and stations that the host side does not have any more. */
  #look(): void {
    this.#run(this.#guard.tick(this.#deps.clock.now()));
    this.#deps.stations.release();
  }
}
