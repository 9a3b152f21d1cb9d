/**
 * Which station is behind whom, in the table (`core/mac-table.ts`) and in the datapath's: learnt from
 * frames, given back by the host side, forgotten with their node or by age. Owns both tables.
 */
import { type Clock, every } from '../../base/clock.ts';
import type { Mac, NodeId } from '../../base/ids.ts';
import type { Datapath, SessionNumber } from '../datapath/datapath.ts';
import { type Learnt, MacTable, type Place } from './core/mac-table.ts';

/** How often idle stations are looked for; ageing is 300 s. */
const sweepMs = 15_000;

export interface StationsDeps {
  readonly datapath: Datapath;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** A member has a station that was of the host side: is it not there any more? */
  readonly hasLeft: (mac: Mac) => boolean;
}

export class Stations {
  readonly counts = { spoofed: 0, notLearnt: 0, moved: 0 };
  readonly #deps: StationsDeps;
  readonly #datapath: Datapath;
  readonly #table = new MacTable();

  constructor(deps: StationsDeps) {
    const { datapath, clock, signal } = deps;
    this.#deps = deps;
    this.#datapath = datapath;
    every(clock, sweepMs, signal, () => this.#sweep());
  }

  get size(): number {
    return this.#table.size;
  }

  find(mac: Mac): Place | null {
    return this.#table.find(mac);
  }

  list(limit: number): ReadonlyArray<{ mac: Mac; node: NodeId | null; idleMs: number }> {
    return this.#table.list(limit).map(({ mac, place }) => ({
      mac,
      node: place.kind === 'node' ? place.node : null,
      idleMs: this.#datapath.stationIdleMs(mac) ?? 0,
    }));
  }

  /** The host side sends with the address; it may take it over from a node (a pod that moved). */
  fromHost(source: Mac): Learnt {
    const learnt = this.#learn(source, { kind: 'local' });
    if (learnt.kind === 'learnt') this.#datapath.setStation(source, { kind: 'local' });
    return learnt;
  }

  /** A flooded frame of the node, with which `session` is up. False: the address is not its. */
  fromFlood(source: Mac, origin: NodeId, session: SessionNumber | undefined): boolean {
    const isOurs = this.#table.find(source)?.kind === 'local' && !this.#deps.hasLeft(source);
    if (isOurs) {
      this.counts.spoofed += 1;
      return false;
    }
    const learnt = this.#learn(source, { kind: 'node', node: origin });
    if (learnt.kind === 'learnt') {
      if (session === undefined) this.#datapath.removeStation(source);
      else this.write(source, session);
    }
    return true;
  }

  /** A frame of the node came over the session. False: the address is not its. */
  fromSession(source: Mac, node: NodeId, session: SessionNumber): boolean {
    const learnt = this.#learn(source, { kind: 'node', node });
    // Also one that is known: the tables forgot or never had it (a replaced association).
    if (learnt.kind === 'learnt' || learnt.kind === 'known') {
      this.#datapath.setStation(source, { kind: 'session', session });
    }
    return learnt.kind !== 'spoofed';
  }

  /** Of a frame that teaches nothing. False: the address is not its. */
  mayUse(source: Mac): boolean {
    const isOurs = this.#table.find(source)?.kind === 'local';
    if (isOurs) this.counts.spoofed += 1;
    return !isOurs;
  }

  /** The session with the node is the first one: its stations are behind it. */
  online(node: NodeId, session: SessionNumber): void {
    for (const mac of this.#table.ofNode(node)) this.write(mac, session);
  }

  write(mac: Mac, session: SessionNumber): void {
    this.#datapath.setStation(mac, { kind: 'session', session });
  }

  /** The node says that it does not have the station any more. */
  gone(mac: Mac, node: NodeId): void {
    if (this.#table.gone(mac, node)) this.#datapath.removeStation(mac);
  }

  forget(node: NodeId): void {
    this.#remove(this.#table.forgetNode(node));
  }

  forgetAll(): void {
    this.#remove(this.#table.clear());
  }

  /** Stations of the host side that `left` says so of are given up; returns how many. */
  releaseLocal(left: (mac: Mac) => boolean): number {
    const released = this.#table.releaseLocal(left);
    this.#remove(released);
    return released.length;
  }

  #learn(source: Mac, place: Place): Learnt {
    const learnt = this.#table.learn(source, place, this.#deps.clock.now());
    if (learnt.kind === 'spoofed') this.counts.spoofed += 1;
    else if (learnt.kind === 'full') this.counts.notLearnt += 1;
    else if (learnt.kind === 'learnt' && learnt.moved) this.counts.moved += 1;
    return learnt;
  }

  #sweep(): void {
    const forgotten = this.#table.age(this.#deps.clock.now(), (mac) =>
      this.#datapath.stationIdleMs(mac),
    );
    this.#remove(forgotten);
  }

  #remove(macs: readonly Mac[]): void {
    for (const mac of macs) this.#datapath.removeStation(mac);
  }
}
