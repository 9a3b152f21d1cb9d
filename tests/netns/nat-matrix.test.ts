/**
 * Every pair of NAT kinds takes the best path that RFC 4787 behaviours allow, in time. One lab holds
 * all sites; nodes are started one after the other, so each new one makes its links beside others.
 */
import assert from 'node:assert/strict';
import { z } from 'zod';
import { suite } from '../support/harness.ts';
import type { NatKind } from '../support/nat-lab.ts';
import type { EvioNode } from '../support/node.ts';
import { assertWithin } from '../support/pace.ts';
import { waitFor } from '../support/scope.ts';
import { createScene } from '../support/two-nodes.ts';

const test = suite('nat matrix');

/** From both online to frames, milliseconds. */
const limitMs = 5_000;

type Expected = 'direct' | 'relayed';
/**
 * Direct: one side's mapping can be reached by what the other's translation sends. Two translations
 * that depend on the destination (or one, before a filter by port) leave the relay (RFC 5128 3.4).
 */
const table: ReadonlyArray<readonly [NatKind, NatKind, Expected]> = [
  ['open', 'full', 'direct'],
  ['open', 'restricted', 'direct'],
  ['open', 'port', 'direct'],
  ['open', 'symmetric', 'direct'],
  ['open', 'blocked', 'relayed'],
  ['full', 'restricted', 'direct'],
  ['full', 'port', 'direct'],
  ['full', 'symmetric', 'direct'],
  ['full', 'blocked', 'relayed'],
  ['restricted', 'port', 'direct'],
  ['restricted', 'symmetric', 'direct'],
  ['restricted', 'blocked', 'relayed'],
  ['port', 'port', 'direct'],
  ['port', 'symmetric', 'relayed'],
  ['port', 'blocked', 'relayed'],
  ['symmetric', 'symmetric', 'relayed'],
  ['symmetric', 'blocked', 'relayed'],
  ['blocked', 'blocked', 'relayed'],
];

function expected(a: NatKind, b: NatKind): Expected {
  const row = table.find(([x, y]) => (x === a && y === b) || (x === b && y === a));
  assert.ok(row, `${a} × ${b} stands in the table`);
  return row[2];
}

const Line = z.looseObject({
  time: z.string(),
  msg: z.string(),
  state: z.string().optional(),
  peer: z.string().optional(),
  path: z.string().optional(),
});

/** Log lines of a node that say so. */
const said = (node: EvioNode, msg: string): readonly z.infer<typeof Line>[] =>
  node
    .log()
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => Line.parse(JSON.parse(line)))
    .filter((line) => line.msg === msg);

/** From when the later of the two was online until the link was up, by the later one's log. */
async function linkMs(node: EvioNode, peerId: string): Promise<number> {
  const online = said(node, 'signalling changed').find(({ state }) => state === 'online');
  // The line is written after the state that `waitUp` saw; over the ring frames may have come before.
  const up = await waitFor('the link is told', () =>
    [...said(node, 'link up'), ...said(node, 'path changed')].find(
      ({ peer, path }) => peer === peerId && path !== 'ring',
    ),
  );
  return Date.parse(up.time) - Date.parse(online?.time ?? '');
}

test('with a relay every pair is linked within 5 s, directly where theory says so', async (t) => {
  const kinds: readonly NatKind[] = [
    ...(['open', 'full', 'restricted', 'port', 'port'] as const),
    ...(['symmetric', 'symmetric', 'blocked', 'blocked'] as const),
  ];
  const scene = await createScene(t, { kinds });
  const nodes: EvioNode[] = [];
  const problems: string[] = [];
  const times: number[] = [];
  const slow: string[] = [];
  for (const [index, kind] of kinds.entries()) {
    // Where no UDP leaves the site, the relay is reached by TCP.
    const turn = (scene.options(index).turn ?? []).map((server) =>
      kind === 'blocked' ? { ...server, Transport: 'tcp' as const } : server,
    );
    const node = scene.start(index, { turn, logLevel: 'debug' });
    for (const [other, peer] of nodes.entries()) {
      const pair = `${kinds[other]} × ${kind}`;
      const want = expected(kinds[other] ?? 'open', kind);
      const first = await node.waitUp(peer.name, 20_000);
      const took = await linkMs(node, first.nodeId);
      // Where checks come late the relay may be first: the better path has to follow in time.
      const isRelayed = first.path?.kind === 'turn';
      const { path, pathNote } =
        isRelayed && want === 'direct'
          ? await node.waitUp(peer.name, limitMs, /^direct/).catch(() => first)
          : first;
      const found = path?.kind === 'turn' ? 'relayed' : 'direct';
      times.push(took);
      if (took > limitMs) slow.push(`${pair}\n${peer.log()}\n${node.log()}`);
      process.stdout.write(`${pair}: ${path?.kind} after ${took} ms\n`);
      if (found !== want) problems.push(`${pair} is ${path?.kind} instead of ${want}`);
      if (found === 'relayed' && !pathNote) problems.push(`${pair}: no note`);
    }
    nodes.push(node);
  }
  process.stdout.write(`${times.length} pairs, worst ${Math.max(...times)} ms\n`);
  assert.deepEqual(problems, []);
  await assertWithin('the slowest pair', Math.max(...times), limitMs, () => slow.join('\n'));
}, 120_000);

test('without a relay the same pairs are direct, and the others say why not', async (t) => {
  const kinds: readonly NatKind[] = ['open', 'port', 'symmetric', 'symmetric', 'blocked'];
  const scene = await createScene(t, { kinds, turn: false });
  const nodes = kinds.map((_, index) => scene.start(index));
  const problems: string[] = [];
  for (const [index, node] of nodes.entries()) {
    for (const [other, peer] of nodes.slice(0, index).entries()) {
      const pair = `${kinds[other]} × ${kinds[index]}`;
      if (expected(kinds[other] ?? 'open', kinds[index] ?? 'open') === 'direct') {
        const { path } = await node.waitUp(peer.name, 20_000);
        if (!path?.kind.startsWith('direct')) problems.push(`${pair} is ${path?.kind}`);
        continue;
      }
      // Whom the others reach, the ring carries; a site without UDP has no link to anybody.
      const rung = !pair.includes('blocked');
      const why = rung ? /^over the ring: .*no relay configured/ : /^no path .*no relay configured/;
      let last = '';
      await waitFor(
        `${pair} ${rung ? 'goes over the ring' : 'is given up'}, and says why`,
        async () => {
          const found = await node.peer(peer.name);
          last = JSON.stringify(found);
          const said = rung ? found?.pathNote : found?.lastError;
          const kind = found?.path?.kind === (rung ? 'ring' : 'none');
          return kind && typeof said === 'string' && why.test(said);
        },
        { timeoutMs: 40_000, stepMs: 200, context: () => last },
      );
    }
  }
  assert.deepEqual(problems, []);
}, 150_000);
