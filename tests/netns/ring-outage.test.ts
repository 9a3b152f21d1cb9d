/**
 * A ring of real nodes whose XMPP server dies (topology: see many-nodes.ts), one of them a leaf: what
 * is exchanged much still gets a link, agreed on in-band.
 */
import assert from 'node:assert/strict';
import { suite } from '../support/harness.ts';
import {
  linksOf,
  overlayOf,
  pingPeer,
  startMany,
  waitAllPairs,
  waitOnline,
} from '../support/many-nodes.ts';
import { print } from '../support/print.ts';
import { waitFor } from '../support/scope.ts';

const test = suite('ring without server');

/** Of real seconds on a machine that others use too. */
const patienceMs = 120_000;

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
  const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(flow.log()) ?? [];
  const lost = Number(sent) - Number(received);
  print(`${lost} of ${sent} pings lost while the flow changed over`);
  assert.ok(lost <= Number(sent) / 20, flow.log());
}, 500_000);

const fail = (): never => {
  throw new Error('no such node');
};
