/**
 * Rings of real nodes (topology: see many-nodes.ts): complete soon after a common start, healed when
 * a node dies, and still able to set up links when the XMPP server is dead.
 */
import assert from 'node:assert/strict';
import { suite } from '../support/harness.ts';
import {
  costOf,
  linksOf,
  overlayOf,
  pingPeer,
  ringGaps,
  startMany,
  waitAllPairs,
  waitOnline,
} from '../support/many-nodes.ts';
import { waitFor } from '../support/scope.ts';

const test = suite('ring of nodes');
const print = (text: string): void => void process.stdout.write(`${text}\n`);
const seconds = (ms: number): string => (ms / 1_000).toFixed(1);

/** Of real seconds on a machine that others use too: generous; the figures are printed. */
const patienceMs = 120_000;

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

  const [victim, ...rest] = nodes;
  await victim?.kill('SIGKILL');
  const healMs = await waitAllPairs(lab, rest, patienceMs);
  print(`one node killed: all pairs of the others after ${seconds(healMs)} s`);
  const restIds = ids.slice(1);
  const healedMs = performance.now();
  await waitFor('the ring is closed', async () => (await ringGaps(rest, restIds)).length === 0, {
    timeoutMs: patienceMs,
    stepMs: 500,
  });
  print(`ring closed ${seconds(performance.now() - healedMs)} s after that`);
}, 500_000);

test('without the XMPP server a ring makes links for traffic; a leaf has one and reaches all', async (t) => {
  const leaf = 5;
  const { lab, nodes, prosody } = await startMany(t, {
    nodes: 8,
    topology: (index) =>
      index === leaf
        ? { Role: 'Leaf' }
        : { MinSuccessors: 1, MaxLongDistEdges: 0, DemandThreshold: '200K', DemandMinAge: 20 },
  });
  await waitOnline(nodes, patienceMs);
  await waitAllPairs(lab, nodes, patienceMs);
  const ofLeaf = await linksOf(nodes[leaf] ?? fail());
  assert.equal(ofLeaf.length, 1, JSON.stringify(ofLeaf));
  assert.ok(ofLeaf.every(({ incoming }) => incoming === null));

  const from = nodes[0] ?? fail();
  const linked = new Set((await linksOf(from)).map(({ name }) => name));
  const far = nodes.find((node, n) => n !== leaf && node !== from && !linked.has(node.name));
  assert.ok(far, 'somebody is not linked');
  const { hops, path } = await pingPeer(from, far.name);
  assert.equal(path.kind, 'ring');
  assert.ok(hops.length > 1, 'through others');

  await prosody.kill('SIGKILL');
  for (const node of [from, far]) {
    await waitFor(
      `${node.name} is offline`,
      async () => (await overlayOf(node)).signal.state !== 'online',
      { timeoutMs: 20_000 },
    );
  }
  const flow = lab.spawn(from.ns, ['ping', '-q', '-i', '0.02', '-s', '1200', far.address]);
  const link = await waitFor(
    `a link of ${from.name} to ${far.name}`,
    async () =>
      (await linksOf(from)).find(({ name, state }) => name === far.name && state === 'up'),
    { timeoutMs: patienceMs, stepMs: 250, context: () => from.log().slice(-4_000) },
  );
  flow.kill('SIGINT');
  await flow.ended;
  print(`on-demand link in-band: ${link.reason ?? `incoming ${link.incoming}`}, ${link.path.kind}`);
  assert.ok(link.reason === 'on-demand' || link.incoming === 'on-demand');
  assert.match(link.path.kind, /^direct/);
  const { counters } = await overlayOf(from);
  assert.ok((counters['sentInBand'] ?? 0) > 0 && (counters['receivedInBand'] ?? 0) > 0);
  assert.match(flow.log(), /[^0-9]0% packet loss/, flow.log());
}, 400_000);

const fail = (): never => {
  throw new Error('no such node');
};
