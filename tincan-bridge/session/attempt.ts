/**
 * The resources of one attempt: its ICE agent and, on a validated pair, its DTLS handshake. Owns
 * their lives; decides nothing. It outlives the set-up: the associations made over it use its sockets
 * until the last of them is removed.
 */
import type { SessionNonce } from '../../base/ids.ts';
import type { Handshake, HandshakeOptions } from '../datapath/handshake.ts';
import type { IceDeps, IceOptions, SelectedPath } from '../ice/agent.ts';
import { IceAttempt } from '../ice/ice-attempt.ts';
import { HandshakeDrive, type Secured } from './handshake-drive.ts';

/** Flights that may wait until the handshake begins: the peer may be validated before us. */
const maxEarly = 4;

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
  /** Candidates in the last description that was sent, -1 before the first. */
  described = -1;
  /** A description is about to be sent. */
  telling = false;
  readonly #deps: IceDeps;
  readonly #events: AttemptEvents;
  readonly #life = new AbortController();
  #early: Uint8Array[] = [];
  #drive: HandshakeDrive | null = null;

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

  get secured(): Secured | null {
    return this.#drive?.secured ?? null;
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
    if (this.#drive !== null || this.closed) return;
    this.#drive = new HandshakeDrive(create(options), this.#deps.clock, {
      send: (datagram) => this.ice.send(datagram),
      onSecured: (secured) => this.#events.onSecured(secured),
      onInsecure: (reason) => this.#events.onInsecure(reason),
    });
    this.#drive.start();
    for (const bytes of this.#early.splice(0)) this.#record(bytes);
  }

  /** Leaves no socket, timer or key behind. Idempotent. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.#life.abort();
    this.#drive?.close();
    this.#early = [];
    await this.ice.close();
  }

  #record(bytes: Uint8Array): void {
    if (this.#drive !== null) this.#drive.feed(bytes);
    else if (this.#early.length < maxEarly) this.#early.push(bytes);
  }
}
