/**
 * Promises in seconds, on a machine that others use too: the bar holds as written where it can, and
 * grows with how long this machine takes now for a known piece of work. Owns that measure; a bar that
 * is missed by more than the machine is slow fails.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/**
 * Waits, and limits of tests, are so many times as long as they say: those are of a quiet machine, and
 * end what hangs. What is promised in seconds is asserted (`assertWithin`), not left to a limit.
 */
export const patience = 3;
/** What an empty Node takes to start and end where nobody else computes, milliseconds. */
const quietMs = 50;
/** A machine slower than this many times is asked as if it were this slow. */
const mostSlowness = 6;

/** How many times slower than a quiet machine this one is now: the median of three, at least 1. */
async function slowness(): Promise<number> {
  const times: number[] = [];
  for (let n = 0; n < 3; n += 1) {
    const startMs = performance.now();
    await run(process.execPath, ['-e', '0']);
    times.push(performance.now() - startMs);
  }
  times.sort((a, b) => a - b);
  return Math.min(mostSlowness, Math.max(1, (times[1] ?? quietMs) / quietMs));
}

/** Fails unless `tookMs` is within what is promised, on a machine as slow as this one. */
export async function assertWithin(
  what: string,
  tookMs: number,
  promisedMs: number,
  context: () => string = () => '',
): Promise<void> {
  if (tookMs <= promisedMs) return;
  const slow = await slowness();
  const said = `${what}: ${tookMs.toFixed(0)} ms, promised ${promisedMs}, machine ${slow.toFixed(1)} times slow`;
  process.stdout.write(`${said}\n`);
  assert.ok(tookMs <= promisedMs * slow, `${said}\n${context()}`);
}
