/**
 * A ring of real nodes (topology: see many-nodes.ts): complete soon after a common start, and healed
 * when a node dies.
 */
import assert from 'node:assert/strict';
import { suite } from '../support/harness.ts';
import {
  costOf,
  linksOf,
  ringGaps,
  startMany,
  waitAllPairs,
  waitOnline,
} from '../support/many-nodes.ts';
import { print } from '../support/print.ts';
import { waitFor } from '../support/scope.ts';

const test = suite('ring of nodes');
const seconds = (ms: number): string => (ms / 1_000).toFixed(1);

/** Of real seconds on a machine that others use too: generous; the figures are printed. */
const patienceMs = 240_000;

test('20 nodes that start together form a ring, reach each other, and heal when one dies', async (t) => {
  const count = 20;
  const startedMs = performance.now();
  const { lab, nodes } = await startMany(t, { nodes: count });
  const spawnedMs = performance.now();
  const ids = await waitOnline(nodes, patienceMs);
  const onlineMs = performance.now();
  let gaps: readonly string[] = [];
  await waitFor(
    'the ring is complete',
    async () => {
      gaps = await ringGaps(nodes, ids);
      return gaps.length === 0;
    },
    { timeoutMs: patienceMs, stepMs: 200, context: () => gaps.join(', ') },
  );
  const ringMs = performance.now();
  const { cpuSeconds, rssMib } = await costOf(nodes);
  const pairsMs = await waitAllPairs(lab, nodes, patienceMs);
  print(
    `${count} nodes: scene ${seconds(spawnedMs - startedMs)} s, last online ` +
      `${seconds(onlineMs - spawnedMs)} s after the spawn, ring complete ` +
      `${seconds(ringMs - onlineMs)} s after that, all pairs ${seconds(pairsMs)} s later; ` +
      `CPU until then ${cpuSeconds.toFixed(0)} s on all cores, ` +
      `${Math.round(Math.max(...rssMib))} MiB for the largest node`,
  );

  const links = await Promise.all(nodes.map(linksOf));
  const up = links.map((each) => each.filter(({ state }) => state === 'up').length);
  print(`links of a node: ${Math.min(...up)} to ${Math.max(...up)}`);
  assert.ok(Math.max(...up) < count - 1, 'nobody is linked to everybody');

  // As in a power cut: neither process of the node can say anything any more.
  const [victim, ...rest] = nodes;
  assert.ok(victim);
  const tunnel = await victim.tunnelPid();
  process.kill(tunnel, 'SIGKILL');
  await victim.kill('SIGKILL');
  const healMs = await waitAllPairs(lab, rest, patienceMs);
  print(`one node killed: all pairs of the others after ${seconds(healMs)} s`);
  const restIds = ids.slice(1);
  const healedMs = performance.now();
  await waitFor('the ring is closed', async () => (await ringGaps(rest, restIds)).length === 0, {
    timeoutMs: patienceMs,
    stepMs: 500,
  });
  print(`ring closed ${seconds(performance.now() - healedMs)} s after that`);
}, 590_000);
