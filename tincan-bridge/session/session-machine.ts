/**
 * Runs the machine of one peer session: one input after the other, the effects of each carried out once
 * its state is stored. Owns the state and the queue of inputs; says when the fabric may count on the link.
 * Which state follows is decided by `core/session.ts`.
 */
import { randomBytes } from 'node:crypto';
import { messageOf } from '../../base/errors.ts';
import { SessionNonce } from '../../base/ids.ts';
import type { SessionNumber } from '../datapath/datapath.ts';
import { nextSession } from './core/session.ts';
import type { Effect, Input, Moment, SessionState } from './core/session-state.ts';
import type { RingPort } from './ring-port.ts';
import type { SessionDeps } from './session-contract.ts';

export interface MachineDeps extends Pick<SessionDeps, 'clock' | 'log' | 'nextNumber'> {
  readonly ring: Pick<RingPort, 'way'>;
  /** Ends with the session: inputs that come later are dropped. */
  readonly signal: AbortSignal;
  readonly run: (effect: Effect) => void;
  /** After an input and its effects. */
  readonly onState: (state: SessionState) => void;
  readonly onLink: (up: boolean) => void;
}

export class SessionMachine {
  readonly #deps: MachineDeps;
  readonly #queue: Input[] = [];
  #running = false;
  #linked = false;
  #state: SessionState;

  constructor(deps: MachineDeps, initial: SessionState) {
    this.#deps = deps;
    this.#state = initial;
  }

  get state(): SessionState {
    return this.#state;
  }

  /** The association that carries frames; null: the session is not up. */
  get number(): SessionNumber | null {
    const { link } = this.#state;
    return link.kind === 'up' ? link.number : null;
  }

  /** The association is in use, and its path in doubt. */
  isSuspect(number: SessionNumber): boolean {
    const { link } = this.#state;
    return link.kind === 'up' && link.number === number && link.suspectSinceMs !== null;
  }

  input(input: Input): void {
    const { signal } = this.#deps;
    if (signal.aborted) return;
    this.#queue.push(input);
    if (this.#running) return; // an effect caused it: after the other effects
    this.#running = true;
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      const { state, effects } = nextSession(this.#state, next, this.#moment());
      this.#state = state;
      for (const effect of effects) this.#guarded(effect);
      this.tellLink();
      this.#deps.onState(state);
    }
    this.#running = false;
  }

  /** Most inputs are ticks, which need neither a nonce nor a way: both cost something. */
  #moment(): Moment {
    const { clock, ring, nextNumber } = this.#deps;
    const { peer } = this.#state;
    let nonce: SessionNonce | null = null;
    return {
      nowMs: clock.now(),
      get nonce() {
        nonce ??= SessionNonce.parse(randomBytes(8).toString('hex'));
        return nonce;
      },
      random: Math.random(),
      number: nextNumber(),
      get way() {
        return ring.way(peer) !== null;
      },
    };
  }

  /** Whether the fabric may count on it: told at once, so that a way around is found. */
  tellLink(): void {
    const { link, wanted } = this.#state;
    const good = link.kind === 'up' && link.path !== 'ring' && link.suspectSinceMs === null;
    const linked = good && wanted && !this.#deps.signal.aborted;
    if (linked === this.#linked) return;
    this.#linked = linked;
    this.#deps.onLink(linked);
  }

  /** A defect in one effect ends the session, which is then tried anew; never the process. */
  #guarded(effect: Effect): void {
    try {
      this.#deps.run(effect);
    } catch (error) {
      const { log } = this.#deps;
      log.error('session effect failed', { event: effect.kind, error: messageOf(error) });
      this.#queue.push({ kind: 'ended', reason: messageOf(error) });
    }
  }
}
