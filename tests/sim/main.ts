/**
 * The simulator's command line: one run of the decision code on many nodes in virtual time, its
 * figures as a table or JSON, and a picture. Exits 1 when the ring did not converge or a pair could
 * not reach each other.
 *
 * Usage: npm run sim -- --nodes 1024 --seed 7 [--churn SECONDS] [--loss SHARE] [--blocked SHARE]
 *        [--partition SECONDS] [--json] [--svg FILE]
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { measure, type Run } from './measure.ts';
import { plot } from './plot.ts';

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '100' },
    seed: { type: 'string', default: '1' },
    churn: { type: 'string', default: '0' },
    loss: { type: 'string', default: '0' },
    blocked: { type: 'string', default: '0' },
    partition: { type: 'string', default: '0' },
    json: { type: 'boolean', default: false },
    svg: { type: 'string' },
  },
});

/** A number between two others, or the end of the program with what is wrong. */
function number(name: keyof typeof values, least: number, most: number): number {
  const text = values[name];
  const value = Number(text);
  if (Number.isFinite(value) && value >= least && value <= most) return value;
  process.stderr.write(`--${name} ${text}: must be a number from ${least} to ${most}\n`);
  process.exit(2);
}

const started = performance.now();
const run = measure({
  nodes: Math.floor(number('nodes', 2, 4_096)),
  seed: Math.floor(number('seed', 0, 2 ** 32 - 1)),
  churn: number('churn', 0, 60),
  loss: number('loss', 0, 0.5),
  blocked: number('blocked', 0, 0.9),
  partition: number('partition', 0, 600),
});
if (values.svg !== undefined) writeFileSync(values.svg, plot(run));
process.stdout.write(values.json ? `${JSON.stringify(run.figures)}\n` : table(run));
const { convergedMs, unreachablePairs } = run.figures;
process.exitCode = convergedMs === null || unreachablePairs > 0 ? 1 : 0;

function table({ figures, healedMs, hops, simulation }: Run): string {
  const { hops: h, links, incomingLongDistance: incoming } = figures;
  const seconds = (ms: number | null): string =>
    ms === null ? 'not within 120 s' : `${(ms / 1_000).toFixed(2)} s`;
  const rows: readonly (readonly [string, string])[] = [
    ['nodes, seed', `${figures.nodes}, ${figures.seed}`],
    ['ring complete after', seconds(figures.convergedMs)],
    ...(number('churn', 0, 60) + number('partition', 0, 600) > 0
      ? [['healed after', seconds(healedMs)] as const]
      : []),
    ['hops: mean, median, p99, most', `${h.mean}, ${h.p50}, ${h.p99}, ${h.max}`],
    ['links a node: mean, most', `${links.mean}, ${links.max}`],
    ['incoming long-distance: most, cap', `${incoming.max}, ${incoming.cap}`],
    ['messages a second and node', String(figures.messagesPerNodePerSecond)],
    ['links made, ends of links', `${simulation.linksMade}, ${simulation.linksEnded}`],
    ['pairs tried, unreachable', `${hops.length}, ${figures.unreachablePairs}`],
    [
      'simulated, took',
      `${seconds(simulation.time.nowMs)}, ${seconds(performance.now() - started)}`,
    ],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return `${rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n')}\n${histogram(hops)}`;
}

function histogram(hops: readonly number[]): string {
  const longest = hops.at(-1) ?? 0;
  let text = '';
  for (let hop = 1; hop <= longest; hop += 1) {
    const share = hops.filter((each) => each === hop).length / hops.length;
    const bar = '█'.repeat(Math.round(share * 50));
    text += `${String(hop).padStart(4)} hops ${(share * 100).toFixed(1).padStart(5)} %  ${bar}\n`;
  }
  return text;
}
