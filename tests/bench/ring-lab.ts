/**
 * A ring lab by hand: many real nodes, one restarted every so often, and after each restart the time
 * until every node reaches every other again. Prints times, links, memory and CPU; fails when pairs
 * stay apart.
 *
 * Usage: npm run lab -- [--nodes 50] [--minutes 10] [--restart-every 10]
 */
import { parseArgs } from 'node:util';
import {
  costOf,
  linksOf,
  ringGaps,
  startMany,
  waitAllPairs,
  waitOnline,
  waitReached,
} from '../support/many-nodes.ts';
import { print } from '../support/print.ts';
import { waitFor, withScope } from '../support/scope.ts';

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '50' },
    minutes: { type: 'string', default: '10' },
    'restart-every': { type: 'string', default: '10' },
  },
});
const patienceMs = 600_000;
/** Killed and stopped by turns: a crash and an ordered restart heal in different ways. */
const ways = ['killed', 'stopped'] as const;

const inSeconds = (ms: number): string => (ms / 1_000).toFixed(1);
const seconds = (fromMs: number): string => inSeconds(performance.now() - fromMs);

await withScope(async (scope) => {
  const { lab, nodes } = await startMany(scope, { nodes: Number(values.nodes) });
  const spawnedMs = performance.now();
  const ids = await waitOnline(nodes, patienceMs);
  print(`all online ${seconds(spawnedMs)} s after the spawn`);
  const complete = async (): Promise<boolean> => (await ringGaps(nodes, ids)).length === 0;
  await waitFor('the ring is complete', complete, { timeoutMs: patienceMs, stepMs: 500 });
  print(`ring complete after ${seconds(spawnedMs)} s`);
  await waitAllPairs(lab, nodes, patienceMs);
  print(`all pairs after ${seconds(spawnedMs)} s`);
  await report();

  const startedMs = performance.now();
  const healed: number[] = [];
  for (let round = 0; performance.now() - startedMs < Number(values.minutes) * 60_000; round += 1) {
    const roundMs = performance.now();
    const node = nodes[(round * 7) % nodes.length];
    if (node === undefined) break;
    const way = ways[round % ways.length];
    if (way === 'killed') await node.kill('SIGKILL');
    else await node.stop();
    const rest = nodes.filter((each) => each !== node);
    const withoutMs = await waitAllPairs(lab, rest, patienceMs);
    node.start();
    const restartMs = performance.now();
    await waitOnline([node], patienceMs);
    const onlineMs = performance.now() - restartMs;
    const reachedMs = onlineMs + (await waitReached(lab, node, rest, patienceMs));
    // What it comes back to are the others, too: no pair of them may have been lost on the way.
    const undisturbed = (await waitAllPairs(lab, nodes, patienceMs)) === 0;
    const againMs = undisturbed ? reachedMs : performance.now() - restartMs;
    healed.push(againMs);
    print(
      `${node.name} ${way}: the others reach each other after ${inSeconds(withoutMs)} s, it is online ` +
        `${inSeconds(onlineMs)} s after its start, all reach each other again after ${inSeconds(againMs)} s`,
    );
    const leftMs = Number(values['restart-every']) * 1_000 - (performance.now() - roundMs);
    if (leftMs > 0) await new Promise((resolve) => setTimeout(resolve, leftMs));
  }
  await report();
  const sorted = healed.sort((a, b) => a - b).map(inSeconds);
  print(
    `${healed.length} restarts: median ${sorted[sorted.length >> 1]} s, worst ${sorted.at(-1)} s`,
  );

  async function report(): Promise<void> {
    const { cpuSeconds, rssMib } = await costOf(nodes);
    const links = (await Promise.all(nodes.map(linksOf))).map((each) => each.length);
    const mean = links.reduce((sum, n) => sum + n, 0) / links.length;
    print(
      `links of a node: ${Math.min(...links)} to ${Math.max(...links)}, mean ${mean.toFixed(1)}; ` +
        `memory of a node: ${Math.round(Math.min(...rssMib))} to ${Math.round(Math.max(...rssMib))} MiB; ` +
        `CPU so far: ${cpuSeconds.toFixed(0)} s`,
    );
  }
});
