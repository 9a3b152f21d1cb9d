/**
 * A ping that runs beside a test and says afterwards how long nothing came back. Owns the reading of
 * ping's output; never says what is too long.
 */
import type { Lab } from './netns.ts';
import { waitFor } from './scope.ts';

export interface Gaps {
  /** Replies so far. */
  replies(): number;
  /** Longest time between two replies that began after `sinceMs` (wall clock), milliseconds. */
  longestMs(sinceMs: number): number;
  /** Ends the ping; what was sent and never answered. */
  stop(): Promise<{ readonly sent: number; readonly lost: number }>;
}

export async function startGaps(
  lab: Lab,
  ns: string,
  target: string,
  intervalS = 0.05,
): Promise<Gaps> {
  const child = lab.spawn(ns, ['stdbuf', '-oL', 'ping', '-n', '-D', '-i', `${intervalS}`, target]);
  const times = (): number[] =>
    [...child.log().matchAll(/\[([\d.]+)\] \d+ bytes/g)].map((m) => Number(m[1]) * 1_000);
  await waitFor('the first reply', () => times().length > 0, { context: () => child.log() });
  return {
    replies: () => times().length,
    longestMs(sinceMs) {
      const all = [...times(), Date.now()];
      const gaps = all.map((at, n) => (at < sinceMs ? 0 : at - Math.max(all[n - 1] ?? at, 0)));
      return Math.max(0, ...gaps);
    },
    async stop() {
      child.kill('SIGINT');
      await child.ended;
      const totals = /(\d+) packets transmitted, (\d+) received/.exec(child.log());
      if (totals === null) throw new Error(child.log().slice(-500));
      return { sent: Number(totals[1]), lost: Number(totals[1]) - Number(totals[2]) };
    },
  };
}
