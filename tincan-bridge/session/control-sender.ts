/**
 * Control payloads of one session on their way out: the machine's pings, the answers to the peer's, the
 * bye. Owns the pings whose answer may still come; decides nothing.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import { remember } from '../../base/remember.ts';
import type { SessionNumber } from '../datapath/datapath.ts';
import type { Associations } from './associations.ts';
import { encodeControl } from './core/control.ts';
import type { Traffic } from './traffic.ts';

/** Pings whose answer may still come. */
const maxPings = 8;
/** Copies of a bye. */
const byeCopies = 3;

export class ControlSender {
  readonly #clock: Clock;
  readonly #associations: Associations;
  readonly #traffic: Traffic;
  readonly #isSuspect: (number: SessionNumber) => boolean;
  readonly #pings = new Map<bigint, number>();

  /** `isSuspect`: the association is in use, and its path in doubt. */
  constructor(
    clock: Clock,
    associations: Associations,
    traffic: Traffic,
    isSuspect: (number: SessionNumber) => boolean,
  ) {
    this.#clock = clock;
    this.#associations = associations;
    this.#traffic = traffic;
    this.#isSuspect = isSuspect;
  }

  send(number: SessionNumber | null, bytes: Uint8Array): boolean {
    return this.#associations.send(number, 'control', bytes);
  }

  /** Over the ring it says so: the peer may not have noticed yet that its own path is dead. */
  ping(number: SessionNumber | null, nonce: bigint): boolean {
    const onRing = number !== null && this.#associations.isOnRing(number);
    const isDeaf = number !== null && this.#isSuspect(number);
    const kind = !onRing ? 'ping' : isDeaf ? 'deaf-ping' : 'ring-ping';
    return this.send(number, encodeControl({ kind, nonce }));
  }

  pong(number: SessionNumber, nonce: bigint): void {
    this.send(number, encodeControl({ kind: 'pong', nonce }));
  }

  /** A question of the machine's, whether the peer is there. */
  ask(number: SessionNumber): void {
    const nonce = randomBytes(8).readBigUInt64BE();
    remember(this.#pings, nonce, this.#clock.now(), maxPings);
    this.ping(number, nonce);
  }

  answered(nonce: bigint): void {
    const sentMs = this.#pings.get(nonce);
    if (sentMs === undefined) return;
    this.#pings.delete(nonce);
    this.#traffic.measured(this.#clock.now() - sentMs);
  }

  /** Spares the peer the wait for its liveness checks; some copies, since datagrams get lost. */
  bye(): void {
    const bye = encodeControl({ kind: 'bye', nonce: 0n });
    // Under all keys: the peer heeds those that it uses, which may not be ours yet.
    for (let copy = 0; copy < byeCopies; copy += 1) {
      for (const number of this.#associations.numbers) this.send(number, bye);
    }
  }
}
