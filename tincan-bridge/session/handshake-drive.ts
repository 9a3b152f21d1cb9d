/**
 * Drives one DTLS handshake: feeds it, sends its flights, obeys its clock, and lets it linger when it is
 * done so that a peer that lost our last flight is answered. Owns the handshake; never looks at what it
 * proved (`peer-certificate.ts`).
 */
import { Alarm, type Clock } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import type { RecordKeys } from '../datapath/datapath.ts';
import type { Handshake, HandshakeState } from '../datapath/handshake.ts';
import { lingerMs } from './core/timers.ts';

export interface Secured {
  readonly keys: RecordKeys;
  readonly peerCertificate: Uint8Array;
  readonly cipher: string;
  readonly keyLogLine: string | null;
}

export interface DriveEvents {
  readonly send: (datagram: Uint8Array) => void;
  /** Called before the last flight leaves, so that keys can be installed before they are used. */
  readonly onSecured: (secured: Secured) => void;
  readonly onInsecure: (reason: string) => void;
}

/** Overwrites keys that the datapath has taken over. */
export function wipeKeys({ sendKey, sendIv, receiveKey, receiveIv }: RecordKeys): void {
  for (const bytes of [sendKey, sendIv, receiveKey, receiveIv]) bytes.fill(0);
}

export class HandshakeDrive {
  readonly #clock: Clock;
  readonly #events: DriveEvents;
  readonly #life = new AbortController();
  #handshake: Handshake | null;
  readonly #alarm: Alarm;
  #secured: Secured | null = null;

  constructor(handshake: Handshake, clock: Clock, events: DriveEvents) {
    this.#handshake = handshake;
    this.#clock = clock;
    this.#alarm = new Alarm(clock);
    this.#events = events;
  }

  /** Of a done handshake until `close`. */
  get secured(): Secured | null {
    return this.#secured;
  }

  start(): void {
    this.#drive((handshake) => handshake.start());
  }

  feed(datagram: Uint8Array): void {
    this.#drive((handshake) => handshake.feed(datagram));
  }

  /** Leaves no timer and no key behind. Idempotent. */
  close(): void {
    this.#life.abort();
    this.#end();
    if (this.#secured !== null) wipeKeys(this.#secured.keys);
    this.#secured = null;
  }

  #drive(act: (handshake: Handshake) => HandshakeState): void {
    const handshake = this.#handshake;
    if (handshake === null) return;
    let state: HandshakeState;
    let flight: readonly Uint8Array[] = [];
    try {
      state = act(handshake);
      flight = handshake.take();
    } catch (error) {
      state = { state: 'failed', reason: messageOf(error) };
    }
    if (state.state !== 'failed') this.#expectMore(handshake);
    if (state.state === 'done' && this.#secured === null) this.#done(handshake, state);
    for (const datagram of flight) this.#events.send(datagram);
    if (state.state === 'failed' && this.#secured === null) {
      this.#end();
      this.#events.onInsecure(state.reason);
    }
  }

  #done(handshake: Handshake, state: HandshakeState & { readonly state: 'done' }): void {
    const { keys, peerCertificate, cipher } = state;
    this.#secured = { keys, peerCertificate, cipher, keyLogLine: handshake.keyLogLine() };
    this.#clock.after(lingerMs, this.#life.signal, () => this.#end());
    this.#events.onSecured(this.#secured);
  }

  #expectMore(handshake: Handshake): void {
    const deadlineMs = handshake.deadlineMs();
    if (deadlineMs === null) this.#alarm.end();
    else this.#alarm.set(Math.max(1, deadlineMs), () => this.#drive((same) => same.expire()));
  }

  #end(): void {
    this.#alarm.end();
    this.#handshake?.close();
    this.#handshake = null;
  }
}
