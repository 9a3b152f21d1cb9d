/**
 * Three real nodes with links to each other (topology: see many-nodes.ts): the direct path of two of them
 * is cut under a TCP flow, which goes on over the third, and comes back when it may.
 */
import assert from 'node:assert/strict';
import { suite } from '../support/harness.ts';
import { linksOf, startMany, waitAllPairs, waitOnline } from '../support/many-nodes.ts';
import type { Lab } from '../support/netns.ts';
import type { EvioNode } from '../support/node.ts';
import { assertWithin } from '../support/pace.ts';
import { print } from '../support/print.ts';
import { waitFor } from '../support/scope.ts';
import { startPing } from '../support/steady-ping.ts';
import { iperf } from '../support/traffic.ts';

const test = suite('ring and direct path');
const patienceMs = 60_000;

const pathTo = async (from: EvioNode, name: string): Promise<string> =>
  (await linksOf(from)).find((link) => link.name === name)?.path.kind ?? 'none';

/** Waits for the kind of both ends; how long, milliseconds. */
async function becomes(a: EvioNode, c: EvioNode, kind: RegExp, timeoutMs: number): Promise<number> {
  const startedMs = performance.now();
  await waitFor(
    `${a.name} and ${c.name}: ${kind}`,
    async () => kind.test(await pathTo(a, c.name)) && kind.test(await pathTo(c, a.name)),
    { timeoutMs, stepMs: 50, context: () => a.log().slice(-4_000) },
  );
  return performance.now() - startedMs;
}

/** What the addresses of two underlays say to each other is lost. */
const cut = (lab: Lab, ns: string, address: string): Promise<void> =>
  lab.nft(
    ns,
    `table ip cut { chain i { type filter hook input priority 0; ip saddr ${address} drop; };
chain o { type filter hook output priority 0; ip daddr ${address} drop; }; }`,
  );
const mend = (lab: Lab, ns: string): Promise<string> =>
  lab.exec(ns, ['nft', 'delete', 'table', 'ip', 'cut']);

test('a TCP flow lives over the ring while its direct path is cut, and goes back to it', async (t) => {
  const { lab, nodes } = await startMany(t, { nodes: 3 });
  const [a, b, c] = nodes;
  assert.ok(a && b && c);
  await waitOnline(nodes, patienceMs);
  await waitAllPairs(lab, nodes, patienceMs);
  await becomes(a, c, /^direct/, patienceMs);

  const pinging = startPing(lab, a.ns, c.address);
  const flow = iperf(lab, {
    ...{ from: a.ns, to: c.ns, address: c.address, bitrate: '20M' },
    seconds: 14,
  });
  await waitFor('the ping runs', () => pinging.replies().length > 5);
  await cut(lab, a.ns, '10.99.1.3');
  const toRingMs = await becomes(a, c, /^ring$/, 30_000);
  const replies = pinging.replies().length;
  await waitFor('the ping goes on', () => pinging.replies().length > replies + 20);
  const { longestGapMs } = await pinging.stop();
  print(`cut: on the ring after ${toRingMs.toFixed(0)} ms, silence ${longestGapMs.toFixed(0)} ms`);
  await assertWithin('a dead path', longestGapMs, 5_000);

  // It seeks its path by itself, in growing steps.
  await mend(lab, a.ns);
  const aloneMs = await becomes(a, c, /^direct/, 70_000);
  const { mbps, seconds } = await flow;
  print(
    `open: direct after ${aloneMs.toFixed(0)} ms by itself; the flow: ${mbps.toFixed(1)} Mbit/s over ${seconds.toFixed(0)} s`,
  );
  await assertWithin('direct again', aloneMs, 60_000);
  assert.ok(mbps > 5);

  // Cut until the next search by itself is far away, then a change of the network says "now".
  await cut(lab, a.ns, '10.99.1.3');
  await becomes(a, c, /^ring$/, 30_000);
  const failures = (): number =>
    a.log().match(/"attempt failed|no direct path|no own path/g)?.length ?? 0;
  const before = failures();
  await waitFor('a search in vain', () => failures() > before, { timeoutMs: 60_000 });
  await mend(lab, a.ns);
  const mended = performance.now();
  await lab.ip(a.ns, 'addr add 10.98.7.1/24 dev eth0');
  await becomes(a, c, /^direct/, 30_000);
  const toldMs = performance.now() - mended;
  print(`direct ${toldMs.toFixed(0)} ms after a change of the network`);
  await assertWithin('direct after a change', toldMs, 5_000);
}, 300_000);
