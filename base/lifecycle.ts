/**
 * What starts must stop, in reverse order, each part within its deadline. Owns the order; never
 * decides whether to stop.
 */
import { messageOf } from './errors.ts';
import type { Logger } from './log.ts';

interface Part {
  readonly name: string;
  readonly deadlineMs: number;
  readonly stop: () => void | Promise<void>;
}

/** A stack of things to stop. `stop()` is idempotent and never rejects. */
export class Lifecycle {
  readonly #parts: Part[] = [];
  readonly #log: Logger;
  #stopping: Promise<void> | undefined;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Registers how to stop a part that has been started; last in, first stopped. */
  add(name: string, deadlineMs: number, stop: () => void | Promise<void>): void {
    this.#parts.push({ name, deadlineMs, stop });
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stopAll();
    return this.#stopping;
  }

  async #stopAll(): Promise<void> {
    for (const part of this.#parts.reverse()) {
      try {
        await withDeadline(Promise.resolve(part.stop()), part.deadlineMs, `stop of ${part.name}`);
      } catch (error) {
        this.#log.error('part did not stop cleanly', { name: part.name, error: messageOf(error) });
      }
    }
  }
}

/** The promise's outcome, or a rejection that names `what` after `ms`. */
export function withDeadline<T>(promise: Promise<T>, ms: number, what: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${what} took longer than ${ms} ms`)), ms);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
