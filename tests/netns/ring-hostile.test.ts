/**
 * Five real nodes, one of them hostile with the real protocol: it swallows what it should send on, lies
 * about its neighbours, floods. The others go on talking, and their counters tell.
 *
 *   n1 ── n2 (hostile) ── n3
 *    └────── n4 ──────────┘
 *             └── n5
 */
import assert from 'node:assert/strict';
import { suite } from '../support/harness.ts';
import { type HostileBuild, hostileBuild } from '../support/hostile-node.ts';
import {
  costOf,
  counterOf,
  pingPeer,
  startMany,
  waitAllPairs,
  waitOnline,
} from '../support/many-nodes.ts';
import type { EvioNode } from '../support/node.ts';
import { assertWithin } from '../support/pace.ts';
import { print } from '../support/print.ts';
import { waitFor } from '../support/scope.ts';
import { type SteadyPing, startPing } from '../support/steady-ping.ts';

const test = suite('hostile member');
const patienceMs = 60_000;
/** Silence is noticed after 3 s; another way takes 3 s at most for each neighbour that is tried. */
const aroundMs = 10_000;

/** Of several nodes together. */
const sum = async (nodes: readonly EvioNode[], ...names: readonly string[]): Promise<number> => {
  let all = 0;
  for (const node of nodes) for (const name of names) all += await counterOf(node, name);
  return all;
};

async function goesOn(what: string, pings: readonly SteadyPing[]): Promise<void> {
  const replies = pings.map((each) => each.replies().length);
  await waitFor(
    what,
    () => pings.every((each, n) => each.replies().length > (replies[n] ?? 0) + 10),
    {
      timeoutMs: 20_000,
      context: () => pings.map((each) => each.replies().length).join(' '),
    },
  );
}

test('a member that swallows, lies and floods is gone around, bounded and counted', async (t) => {
  let build: HostileBuild | null = null;
  const { lab, nodes } = await startMany(t, {
    nodes: 5,
    edges: [
      [0, 1],
      [1, 2],
      [0, 3],
      [3, 2],
      [3, 4],
    ],
    node: (index, lab) => {
      if (index !== 1) return {};
      build = hostileBuild(lab);
      return build.options;
    },
  });
  const [a, bad, c, good, e] = nodes;
  assert.ok(a && bad && c && good && e && build !== null);
  const { order }: HostileBuild = build;
  const ids = await waitOnline(nodes, patienceMs);
  await waitAllPairs(lab, nodes, patienceMs);
  const honest = [a, c, good, e];

  // The good one comes back last: the ways of n1 and n3 lead over the hostile one.
  await good.stop();
  await waitFor('over the hostile one', async () => (await hops(a, 'n3')) === 'n2 n3', {
    timeoutMs: 20_000,
  });
  good.start();
  await waitAllPairs(lab, nodes, patienceMs);
  print(`n1 to n3 over ${await hops(a, 'n3')}`);

  const toC = startPing(lab, a.ns, c.address);
  await goesOn('the ping runs', [toC]);
  const swallowedMs = Date.now();
  await order('swallow');
  await waitFor('another way', async () => (await hops(a, 'n3')) === 'n4 n3', {
    timeoutMs: 30_000,
    stepMs: 200,
    context: () => `${a.log().slice(-3_000)}\n--- n3\n${c.log().slice(-3_000)}`,
  });
  await goesOn('the ping goes on', [toC]);
  const gapMs = gapSince(toC, swallowedMs);
  print(`swallowed: silence of ${gapMs} ms`);
  await assertWithin('around who swallows', gapMs, aroundMs);
  const left = await sum([a, c], 'waysLeft');
  assert.ok(left > 0, 'counted');
  await waitAllPairs(lab, honest, patienceMs);
  print(
    `ways left ${left}, neighbours distrusted ${await sum([a, c], 'neighboursDistrusted')}; ` +
      'all honest pairs by broadcast and unicast',
  );

  // Who is claimed as a neighbour by a liar is sought there first, and then not any more.
  const toE = startPing(lab, a.ns, e.address);
  await goesOn('the ping to n5 runs', [toE]);
  const liedMs = Date.now();
  await order('swallow', 'lie', ...ids);
  await waitAllPairs(lab, honest, patienceMs);
  await goesOn('both pings go on', [toC, toE]);
  const liedGapMs = Math.max(gapSince(toC, liedMs), gapSince(toE, liedMs));
  print(`lied: silence of ${liedGapMs} ms`);
  await assertWithin('around who lies', liedGapMs, aroundMs);

  const { rssMib: before } = await costOf(honest);
  const refused = ['floodsRefused', 'floodStormDropped', 'listsRefused', 'searchesDropped'];
  const dropped = ['upcallsDroppedDatagrams', 'upcallsDroppedFrames', 'envelopeStrangers'];
  const countedBefore = await sum(honest, ...refused, ...dropped);
  const floodedMs = Date.now();
  await order('flood', 'lie', ...ids);
  await waitFor(
    'the flood is felt',
    async () => (await sum(honest, ...refused, ...dropped)) > countedBefore + 1_000,
    { timeoutMs: 20_000 },
  );
  await waitAllPairs(lab, honest, patienceMs);
  await goesOn('both pings go on under it', [toC, toE]);
  const underMs = Date.now() - floodedMs;
  await order();
  const { rssMib: after } = await costOf(honest);
  const [c1, e1] = [await toC.stop(), await toE.stop()];
  const grown = Math.max(...after.map((mib, n) => mib - (before[n] ?? 0)));
  const figures: string[] = [];
  for (const name of [...refused, ...dropped]) figures.push(`${name} ${await sum(honest, name)}`);
  print(
    `flooded for ${underMs} ms: ${figures.join(', ')}; memory of a node +${Math.round(grown)} MiB`,
  );
  print(`pings lost in all: ${c1.lost} of ${c1.sent} to n3, ${e1.lost} of ${e1.sent} to n5`);
  assert.ok(grown < 120, `${grown} MiB`);
  await waitAllPairs(lab, nodes, patienceMs);
}, 400_000);

const hops = async (from: EvioNode, to: string): Promise<string> =>
  (await pingPeer(from, to)).hops.map(({ name }) => name).join(' ');

/** Longest time without a reply since then. */
function gapSince(pinging: SteadyPing, sinceMs: number): number {
  const times = [sinceMs, ...pinging.replies().filter((at) => at > sinceMs), Date.now()];
  return Math.round(Math.max(...times.slice(1).map((at, n) => at - (times[n] ?? at))));
}
