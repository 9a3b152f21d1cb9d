/**
 * Named timers on a clock: setting one again moves it. Owns them and their end; says only which has
 * elapsed.
 */
import type { Clock } from '../../base/clock.ts';

export class TimerSet<Id> {
  readonly #clock: Clock;
  readonly #onElapsed: (id: Id) => void;
  readonly #timers = new Map<Id, () => void>();

  constructor(clock: Clock, onElapsed: (id: Id) => void) {
    this.#clock = clock;
    this.#onElapsed = onElapsed;
  }

  set(id: Id, atMs: number): void {
    this.#timers.get(id)?.();
    const waitMs = Math.max(0, Math.ceil(atMs - this.#clock.now()));
    const end = this.#clock.timer(waitMs, () => {
      this.#timers.delete(id);
      this.#onElapsed(id);
    });
    this.#timers.set(id, end);
  }

  end(): void {
    for (const end of this.#timers.values()) end();
    this.#timers.clear();
  }
}
