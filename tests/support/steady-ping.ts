/**
 * A ping that runs beside a test and tells afterwards what was lost and for how long nothing came.
 * Owns one ping process; decides nothing.
 */
import type { Child } from './child.ts';
import type { Lab } from './netns.ts';

export interface SteadyPing {
  /** Milliseconds of the wall clock at which replies came, so far. */
  replies(): readonly number[];
  /** Ends it; what it saw since its start. */
  stop(): Promise<SteadyResult>;
}

export interface SteadyResult {
  readonly sent: number;
  readonly received: number;
  readonly lost: number;
  /** Longest time without a reply, the ends included. */
  readonly longestGapMs: number;
}

/** Ten a second by default. The first reply is not waited for. */
export function startPing(
  lab: Lab,
  ns: string,
  target: string,
  options: { readonly intervalS?: number } = {},
): SteadyPing {
  const startedMs = Date.now();
  const interval = String(options.intervalS ?? 0.1);
  const child = lab.spawn(ns, ['ping', '-n', '-D', '-i', interval, '-W', '1', target]);
  return {
    replies: () => repliesOf(child),
    async stop() {
      const endedMs = Date.now();
      child.kill('SIGINT'); // prints the totals
      await child.ended;
      const totals = /(\d+) packets transmitted, (\d+) received/.exec(child.log());
      if (totals === null) throw new Error(`ping ${target}: ${child.log().slice(-500)}`);
      const [sent, received] = [Number(totals[1]), Number(totals[2])];
      return {
        sent,
        received,
        lost: sent - received,
        longestGapMs: gap(startedMs, child, endedMs),
      };
    },
  };
}

const repliesOf = (child: Child): readonly number[] =>
  [...child.log().matchAll(/^\[([\d.]+)\] \d+ bytes from/gm)].map((m) => Number(m[1]) * 1_000);

function gap(startedMs: number, child: Child, endedMs: number): number {
  const times = [startedMs, ...repliesOf(child), endedMs];
  return Math.max(...times.slice(1).map((time, n) => time - (times[n] ?? time)));
}
