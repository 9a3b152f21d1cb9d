/**
 * How long a process has really been silent. On a machine with too little processor all are late, and to
 * replace a process for that makes it worse: time that it was ready to run and had to wait is its excuse.
 * Owns the arithmetic; where the numbers come from is the shell's.
 */

/** When a process was looked at, and how long it has waited for a processor since its start. */
export interface Sight {
  readonly nowMs: number;
  /** Null: the kernel does not say. */
  readonly waitedMs: number | null;
}

/**
 * However much it waited, so much of the time counts: nothing is excused for ever. With a hundred
 * processes on two processors each has that share.
 */
const leastShare = 0.02;

/** Milliseconds from one sight to a later one in which the process could have said something. */
export function silenceMs(from: Sight, to: Sight): number {
  const elapsedMs = to.nowMs - from.nowMs;
  if (from.waitedMs === null || to.waitedMs === null) return elapsedMs;
  return Math.max(leastShare * elapsedMs, elapsedMs - (to.waitedMs - from.waitedMs));
}
