/**
 * When a session looks for another way over the ring: its path is silent, its handshake hears nothing,
 * or its peer says that it hears nothing. Owns the pauses between, and the judgement that a first hop
 * swallowed what went over it; ways and searches are the fabric's.
 */
import type { Clock } from '../../base/clock.ts';
import type { NodeId } from '../../base/ids.ts';
import { deafMs, seekAgainMs, unheardMs } from './core/timers.ts';
import type { RingPort } from './ring-port.ts';

export interface RingSeekerDeps {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly peer: NodeId;
  readonly ring: RingPort;
}

export class RingSeeker {
  readonly #deps: RingSeekerDeps;
  #soughtMs = Number.NEGATIVE_INFINITY;
  #deafMs = Number.NEGATIVE_INFINITY;
  #heardMs = 0;
  #setup: AbortController | null = null;
  /** First hop of the way that was left last, until something is heard over another. */
  #left: NodeId | null = null;

  constructor(deps: RingSeekerDeps) {
    this.#deps = deps;
  }

  /** Of a session that is up, now and then. */
  look(onRing: boolean, silent: boolean): void {
    const { clock, peer, ring } = this.#deps;
    if (!silent) {
      if (onRing) this.#convict();
      this.#left = null;
      return;
    }
    if (clock.now() - this.#soughtMs < seekAgainMs) return;
    this.#soughtMs = clock.now();
    if (onRing) this.#left = ring.leave(peer);
    else ring.seek(peer);
  }

  /** The peer hears nothing of what this node sends over the ring; that it can say so proves its own way. */
  unheard(): void {
    const { clock, peer, ring } = this.#deps;
    if (clock.now() - this.#deafMs < deafMs) return;
    this.#deafMs = clock.now();
    ring.leave(peer);
  }

  /** A datagram of the handshake over the ring came in. */
  heard(): void {
    this.#heardMs = this.#deps.clock.now();
  }

  /** Whether a handshake over the ring is under way: it is looked after until it is not. */
  isSettingUp(now: boolean): void {
    if (now === (this.#setup !== null)) return;
    this.#setup?.abort();
    this.#setup = now ? new AbortController() : null;
    this.#heardMs = this.#deps.clock.now();
    if (this.#setup !== null) this.#watch(this.#setup.signal);
  }

  #watch(over: AbortSignal): void {
    const { clock, signal, peer, ring } = this.#deps;
    clock.after(unheardMs, over, () => {
      if (signal.aborted) return;
      if (clock.now() - this.#heardMs >= unheardMs) ring.leave(peer);
      this.#watch(over);
    });
  }

  #convict(): void {
    const { peer, ring } = this.#deps;
    const now = ring.way(peer)?.via ?? null;
    if (this.#left !== null && now !== null && now !== this.#left) ring.swallowed(this.#left);
  }
}
