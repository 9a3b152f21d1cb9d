/**
 * When a session looks for another way over the ring: its path is silent, its handshake hears nothing,
 * or its peer says that it hears nothing. Owns the pauses between, and the judgement that a first hop
 * swallowed what went over it; ways and searches are the fabric's.
 */
import type { Clock } from '../../base/clock.ts';
import type { NodeId } from '../../base/ids.ts';
import { seekAgainMs, tellMs, unheardMs } from './core/timers.ts';
import type { RingPort } from './ring-port.ts';

/** Of the time that a way gets: 24 s at most. */
const maxDoublings = 4;

export interface RingSeekerDeps {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly peer: NodeId;
  readonly ring: RingPort;
}

export class RingSeeker {
  readonly #deps: RingSeekerDeps;
  #soughtMs = Number.NEGATIVE_INFINITY;
  /** Since when it is silent; null: it is not. */
  #silentMs: number | null = null;
  #heardMs = 0;
  #setup: AbortController | null = null;
  /** First hop now, as far as was looked, and since when: others may have found it. */
  #hop: { readonly via: NodeId | null; readonly sinceMs: number };
  /** First hop of the way that was left last, until something is heard over another. */
  #left: NodeId | null = null;
  /** Ways left in a row without a word: where all are late, each gets twice the time of the last. */
  #inVain = 0;

  constructor(deps: RingSeekerDeps) {
    this.#deps = deps;
    this.#hop = { via: null, sinceMs: deps.clock.now() };
  }

  /** Of a session that is up, now and then. */
  look(onRing: boolean, silent: boolean): void {
    const { clock, peer, ring } = this.#deps;
    if (!silent) {
      if (onRing && this.#left !== null) {
        const now = ring.way(peer)?.via ?? null;
        if (now !== null && now !== this.#left) ring.swallowed(this.#left);
      }
      this.#left = null;
      this.#inVain = 0;
      this.#silentMs = null;
      return;
    }
    this.#silentMs ??= clock.now();
    const isTried = this.#isTried();
    if (clock.now() - this.#soughtMs < seekAgainMs) return;
    // The peer is told first: it may be its way that is the bad one, and ours the good one.
    const told = clock.now() - this.#silentMs >= tellMs;
    if (onRing && !(isTried && told)) return;
    this.#soughtMs = clock.now();
    if (onRing) this.#left = this.#leave();
    else ring.seek(peer);
  }

  /** The peer hears nothing of what this node sends over the ring; that it can say so proves its own way. */
  unheard(): void {
    if (this.#isTried()) this.#leave();
  }

  /** A datagram of the handshake over the ring came in. */
  heard(): void {
    this.#heardMs = this.#deps.clock.now();
    this.#inVain = 0;
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
    const { clock, signal } = this.#deps;
    clock.after(unheardMs, over, () => {
      if (signal.aborted) return;
      if (clock.now() - this.#heardMs >= unheardMs && this.#isTried()) this.#leave();
      this.#watch(over);
    });
  }

  /** The way of now is in use for long enough that its silence says something. */
  #isTried(): boolean {
    const { clock, peer, ring } = this.#deps;
    const via = ring.way(peer)?.via ?? null;
    if (via !== this.#hop.via) this.#hop = { via, sinceMs: clock.now() };
    const patienceMs = unheardMs * 2 ** Math.min(this.#inVain, maxDoublings);
    return clock.now() - this.#hop.sinceMs >= patienceMs;
  }

  #leave(): NodeId | null {
    const left = this.#deps.ring.leave(this.#deps.peer);
    this.#inVain += 1;
    this.#isTried(); // another one from now on
    return left;
  }
}
