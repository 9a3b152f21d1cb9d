/**
 * Time as a collaborator: shells take a Clock, tests give a virtual one. Owns the real clock;
 * never used by a core, which gets the time as an argument.
 */

export interface Clock {
  /** Milliseconds of a monotonic clock, for intervals. */
  now(): number;
  /** Milliseconds since the epoch, for expiry dates that cross machines. */
  wallNow(): number;
  /** Calls once after `ms`, unless the signal aborts first. Does not keep the process alive alone. */
  after(ms: number, signal: AbortSignal, call: () => void): void;
  /** The same, ended by calling what it returns: an abort signal for each costs more than the timer. */
  timer(ms: number, call: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  after(ms, signal, call) {
    if (signal.aborted) return;
    const end = (): void => clearTimeout(timer);
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', end);
      call();
    }, ms);
    signal.addEventListener('abort', end, { once: true });
  },
  timer(ms, call) {
    const timer = setTimeout(call, ms);
    return () => clearTimeout(timer);
  },
};

/** One timer that is set again and again; setting it moves it. */
export class Alarm {
  readonly #clock: Clock;
  #end: () => void = () => {};

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  set(ms: number, call: () => void): void {
    this.#end();
    this.#end = this.#clock.timer(ms, call);
  }

  end(): void {
    this.#end();
  }
}

/** Calls every `ms` until the signal aborts; the first call comes after `ms`. */
export function every(clock: Clock, ms: number, signal: AbortSignal, call: () => void): void {
  clock.after(ms, signal, () => {
    call();
    every(clock, ms, signal, call);
  });
}

/** Resolves after `ms`, or rejects with the signal's reason. */
export function sleep(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    const aborted = (): void => reject(signal.reason);
    signal.addEventListener('abort', aborted, { once: true });
    clock.after(ms, signal, () => {
      signal.removeEventListener('abort', aborted);
      resolve();
    });
  });
}
