/**
 * The resources of one attempt: its ICE agent and, on a validated pair, its DTLS handshake. Owns
 * their lives and the handshake's clock; decides nothing. It outlives the set-up: the association
 * made by it uses its sockets until it is removed.
 */
import { messageOf } from '../../base/errors.ts';
import type { SessionNonce } from '../../base/ids.ts';
import type { RecordKeys } from '../datapath/datapath.ts';
import type { Handshake, HandshakeOptions, HandshakeState } from '../datapath/handshake.ts';
import type { IceDeps, IceOptions, SelectedPath } from '../ice/agent.ts';
import { IceAttempt } from '../ice/ice-attempt.ts';
import { lingerMs } from './core/timers.ts';

/** Flights that may wait until the handshake begins: the peer may be validated before us. */
const maxEarly = 4;

export interface Secured {
  readonly keys: RecordKeys;
  readonly peerCertificate: Uint8Array;
  readonly cipher: string;
  readonly keyLogLine: string | null;
}

export interface AttemptEvents {
  readonly onCandidates: () => void;
  readonly onSelected: () => void;
  readonly onIceFailed: (reason: string) => void;
  readonly onSecured: (secured: Secured) => void;
  readonly onInsecure: (reason: string) => void;
}

export class Attempt {
  readonly own: SessionNonce;
  readonly ice: IceAttempt;
  /** Only a direct path is sought. */
  readonly direct: boolean;
  selected: SelectedPath | null = null;
  secured: Secured | null = null;
  /** Candidates in the last description that was sent, -1 before the first. */
  described = -1;
  /** A description is about to be sent. */
  telling = false;
  readonly #deps: IceDeps;
  readonly #events: AttemptEvents;
  readonly #life = new AbortController();
  #early: Uint8Array[] = [];
  #handshake: Handshake | null = null;
  #clockwork = new AbortController();

  constructor(
    own: SessionNonce,
    deps: IceDeps,
    options: Omit<IceOptions, 'events'>,
    events: AttemptEvents,
  ) {
    this.own = own;
    this.direct = options.directOnly;
    this.#deps = deps;
    this.#events = events;
    this.ice = new IceAttempt(deps, {
      ...options,
      events: {
        onCandidates: () => events.onCandidates(),
        onSelected: (selected) => {
          this.selected = selected;
          events.onSelected();
        },
        onRecord: (bytes) => this.#record(bytes),
        onFailed: (reason) => events.onIceFailed(reason),
      },
    });
  }

  get closed(): boolean {
    return this.#life.signal.aborted;
  }

  start(): void {
    this.ice.start();
  }

  startHandshake(
    create: (options: HandshakeOptions) => Handshake,
    options: HandshakeOptions,
  ): void {
    if (this.#handshake !== null || this.closed) return;
    const handshake = create(options);
    this.#handshake = handshake;
    this.#drive(handshake, () => handshake.start());
    for (const bytes of this.#early.splice(0)) this.#record(bytes);
  }

  /** Leaves no socket, timer or key behind. Idempotent. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.#life.abort();
    this.#endHandshake();
    this.#early = [];
    this.secured = null;
    await this.ice.close();
  }

  #record(bytes: Uint8Array): void {
    const handshake = this.#handshake;
    if (handshake !== null) this.#drive(handshake, () => handshake.feed(bytes));
    else if (this.secured === null && this.#early.length < maxEarly) this.#early.push(bytes);
  }

  #drive(handshake: Handshake, act: () => HandshakeState): void {
    if (this.#handshake !== handshake) return;
    let state: HandshakeState;
    try {
      state = act();
      for (const datagram of handshake.take()) this.ice.send(datagram);
    } catch (error) {
      state = { state: 'failed', reason: messageOf(error) };
    }
    this.#clockwork.abort();
    this.#clockwork = new AbortController();
    const deadlineMs = state.state === 'failed' ? null : handshake.deadlineMs();
    if (deadlineMs !== null) {
      this.#deps.clock.after(Math.max(1, deadlineMs), this.#clockwork.signal, () =>
        this.#drive(handshake, () => handshake.expire()),
      );
    }
    if (state.state === 'failed' && this.secured === null) {
      this.#endHandshake();
      this.#events.onInsecure(state.reason);
    } else if (state.state === 'done' && this.secured === null) {
      const { keys, peerCertificate, cipher } = state;
      this.secured = { keys, peerCertificate, cipher, keyLogLine: handshake.keyLogLine() };
      this.#deps.clock.after(lingerMs, this.#life.signal, () => this.#endHandshake());
      this.#events.onSecured(this.secured);
    }
  }

  #endHandshake(): void {
    this.#clockwork.abort();
    this.#handshake?.close();
    this.#handshake = null;
  }
}
