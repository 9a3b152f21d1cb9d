/**
 * When a peer that failed is tried again: growing, jittered, at most a minute, never for good. Owns
 * the numbers; time and randomness are arguments.
 */
import type { Random } from './long-distance.ts';

export interface Trouble {
  readonly failures: number;
  /** Not asked before. */
  readonly untilMs: number;
}

const firstMs = 2_000;
const capMs = 60_000;

/** After one more failure. The jitter is half of the delay, so that two peers do not meet again. */
export function afterFailure(trouble: Trouble | undefined, nowMs: number, random: Random): Trouble {
  const failures = Math.min(16, (trouble?.failures ?? 0) + 1);
  const delayMs = Math.min(capMs, firstMs * 2 ** (failures - 1));
  return { failures, untilMs: nowMs + Math.round(delayMs * (0.5 + random() / 2)) };
}

/** The peer is well but has no time: soon again, and no failure is counted. */
export const afterBusy = (
  trouble: Trouble | undefined,
  nowMs: number,
  random: Random,
): Trouble => ({
  failures: trouble?.failures ?? 0,
  untilMs: nowMs + 1_000 + Math.round(2_000 * random()),
});

/** The peer said that it stops. A new sighting ends the wait. */
export const afterLeaving = (nowMs: number): Trouble => ({ failures: 0, untilMs: nowMs + 10_000 });
