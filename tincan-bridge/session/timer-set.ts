/**
 * Named timers on a clock: setting one again moves it. Owns them and their end; says only which has
 * elapsed.
 */
import type { Clock } from '../../base/clock.ts';

export class TimerSet<Id> {
  readonly #clock: Clock;
  readonly #onElapsed: (id: Id) => void;
  readonly #timers = new Map<Id, AbortController>();

  constructor(clock: Clock, onElapsed: (id: Id) => void) {
    this.#clock = clock;
    this.#onElapsed = onElapsed;
  }

  set(id: Id, atMs: number): void {
    this.#timers.get(id)?.abort('moved'); // without a reason an error is made, with its stack
    const timer = new AbortController();
    this.#timers.set(id, timer);
    const waitMs = Math.max(0, Math.ceil(atMs - this.#clock.now()));
    this.#clock.after(waitMs, timer.signal, () => {
      this.#timers.delete(id);
      this.#onElapsed(id);
    });
  }

  end(): void {
    for (const timer of this.#timers.values()) timer.abort();
    this.#timers.clear();
  }
}
