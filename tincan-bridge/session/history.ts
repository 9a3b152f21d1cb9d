/**
 * The newest transitions of one session, as the operator is shown them. Owns the list; each is logged, too.
 */
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { SessionStatus } from '../protocol/schema.ts';

const historyLength = 64;

export class History {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #notes: Array<{ readonly atMs: number; readonly what: string }> = [];

  constructor(clock: Clock, log: Logger) {
    this.#clock = clock;
    this.#log = log;
  }

  note(what: string): void {
    this.#log.info('session', { event: what });
    this.#notes.push({ atMs: this.#clock.now(), what: what.slice(0, 200) });
    if (this.#notes.length > historyLength) this.#notes.shift();
  }

  newest(limit: number, nowMs: number): SessionStatus['history'] {
    const notes = this.#notes.slice(-limit);
    return notes.map(({ atMs, what }) => ({ agoMs: Math.round(nowMs - atMs), what }));
  }
}
