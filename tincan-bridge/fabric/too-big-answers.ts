/**
 * Answers to frames of the host that no path takes (`core/too-big.ts`). Owns their budget; an answer goes
 * to the host side only.
 */
import type { Clock } from '../../base/clock.ts';
import type { Datapath } from '../datapath/datapath.ts';
import { ethernetHeaderBytes } from '../session/core/path.ts';
import { type Budget, fullBudget, spend, tooBigBudget } from './core/budget.ts';
import { tooBigAnswer } from './core/too-big.ts';

export class TooBigAnswers {
  readonly counts = { tooBigAnswered: 0, tooBigSilent: 0 };
  readonly #datapath: Datapath;
  readonly #clock: Clock;
  #budget: Budget;

  constructor(datapath: Datapath, clock: Clock) {
    this.#datapath = datapath;
    this.#clock = clock;
    this.#budget = fullBudget(tooBigBudget, clock.now());
  }

  /** `maxFrameBytes`: what fits; undefined: nobody can say. */
  answer(frame: Uint8Array, maxFrameBytes: number | undefined): void {
    if (maxFrameBytes === undefined) {
      this.counts.tooBigSilent += 1;
      return;
    }
    const { budget, allowed } = spend(this.#budget, this.#clock.now());
    this.#budget = budget;
    const answer = allowed ? tooBigAnswer(frame, maxFrameBytes - ethernetHeaderBytes) : null;
    if (answer === null) {
      this.counts.tooBigSilent += 1;
      return;
    }
    this.counts.tooBigAnswered += 1;
    this.#datapath.deliverFrame({ bytes: answer, offload: null });
  }
}
