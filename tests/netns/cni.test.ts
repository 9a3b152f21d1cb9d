/**
 * Pods on two nodes behind NATs, attached by the real executable and a real controller.
 *
 *   pod ─ evpd-lab ─ hA ── rA ──┐
 *                               ├── pub
 *   pod ─ evpd-lab ─ hB ── rB ──┘
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { addressOf, callCni, makePod, needsShim, resultOf } from '../support/cni.ts';
import { suite } from '../support/harness.ts';
import type { EvioNode } from '../support/node.ts';
import { waitFor } from '../support/scope.ts';
import { ping } from '../support/traffic.ts';
import { createScene } from '../support/two-nodes.ts';

const test = suite('cni');

const socketOf = (node: EvioNode): string => join(node.folder, 'run', 'controller.sock');
const confOf = (node: EvioNode, more: object = {}): object => ({
  cniVersion: '1.1.0',
  name: 'evio',
  type: 'evio-cni',
  socket: socketOf(node),
  ...more,
});

async function waitReady(node: EvioNode): Promise<void> {
  let last = '';
  await waitFor(
    `${node.name} can attach pods`,
    async () => {
      const outcome = await callCni({ command: 'STATUS', config: confOf(node) });
      last = outcome.text;
      return outcome.status === 0;
    },
    { timeoutMs: 40_000, stepMs: 250, context: () => `${last}\n${node.log().slice(-4_000)}` },
  );
}

test.unless(
  needsShim,
  'routed: pods of two nodes reach each other, both families',
  async (t) => {
    const scene = await createScene(t, {
      kinds: ['port', 'restricted'],
      ipv6: true,
      node: { provider: 'LXBR' },
    });
    const { lab } = scene;
    const [a, b] = [0, 1].map((index) =>
      scene.start(index, {
        address6: `fd77::${index + 1}`,
        config: {
          Cni: {
            Overlays: {
              lab: {
                PodCIDRs: [`10.42.${index + 1}.0/24`, `fd42:0:0:${index + 1}::/64`],
                ClusterCIDRs: ['10.42.0.0/16', 'fd42::/48'],
              },
            },
          },
        },
      }),
    );
    assert.ok(a !== undefined && b !== undefined);
    await Promise.all([waitReady(a), waitReady(b)]);
    await a.waitUp('b');
    const p = await makePod(lab, 'p1');
    const q = await makePod(lab, 'p2');
    const rp = resultOf(
      await callCni({ command: 'ADD', containerId: 'one', netns: p.netns, config: confOf(a) }),
    );
    const rq = resultOf(
      await callCni({ command: 'ADD', containerId: 'two', netns: q.netns, config: confOf(b) }),
    );
    process.stdout.write(`${JSON.stringify(rp)}\n`);
    await waitFor(
      'pod to pod',
      async () => (await ping(lab, p.ns, addressOf(rq, 4), { count: 1, waitS: 1 })).received === 1,
      { timeoutMs: 15_000, context: () => a.log().slice(-3000) },
    );
    assert.equal((await ping(lab, q.ns, addressOf(rp, 4), { count: 5 })).received, 5);
    assert.equal((await ping(lab, q.ns, addressOf(rp, 6), { count: 5 })).received, 5);
  },
  90_000,
);
