/**
 * Pods on two nodes behind NATs, attached by the real executable and real controllers.
 *
 *   pod ─ evpd-lab ─ hA ── rA ──┐
 *                               ├── pub
 *   pod ─ evpd-lab ─ hB ── rB ──┘
 */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  addressOf,
  callCni,
  errorOf,
  makePod,
  needsShim,
  type Result,
  resultOf,
} from '../support/cni.ts';
import type { T } from '../support/harness.ts';
import { suite } from '../support/harness.ts';
import type { EvioNode } from '../support/node.ts';
import { waitFor } from '../support/scope.ts';
import { capture, ping } from '../support/traffic.ts';
import { createScene, type Scene } from '../support/two-nodes.ts';

const test = suite('cni');

const confOf = (node: EvioNode, more: object = {}): object => ({
  cniVersion: '1.1.0',
  name: 'evio',
  type: 'evio-cni',
  socket: join(node.folder, 'run', 'controller.sock'),
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
    { timeoutMs: 60_000, stepMs: 250, context: () => `${last}\n${node.log().slice(-4_000)}` },
  );
}

type Cni = (index: number) => Readonly<Record<string, unknown>>;

/** Two nodes that can attach pods and have a path between them. */
async function twoNodes(t: T, cni: Cni): Promise<{ scene: Scene; a: EvioNode; b: EvioNode }> {
  const scene = await createScene(t, {
    kinds: ['port', 'restricted', 'full'],
    ipv6: true,
    node: { provider: 'LXBR' },
  });
  const start = (index: number): EvioNode =>
    scene.start(index, {
      address6: `fd77::${index + 1}`,
      config: { Cni: { Overlays: { lab: cni(index) } } },
    });
  const [a, b] = [start(0), start(1)];
  await Promise.all([waitReady(a), waitReady(b)]);
  await a.waitUp('b', 60_000);
  return { scene, a, b };
}

interface Pod {
  readonly ns: string;
  readonly netns: string;
  readonly containerId: string;
  readonly result: Result;
}

async function addPod(scene: Scene, node: EvioNode, name: string): Promise<Pod> {
  const { ns, netns } = await makePod(scene.lab, name);
  const containerId = `container-${name}`;
  const outcome = await callCni({ command: 'ADD', containerId, netns, config: confOf(node) });
  return { ns, netns, containerId, result: resultOf(outcome) };
}

async function reach(scene: Scene, from: Pod, address: string): Promise<void> {
  const { lab } = scene;
  await waitFor(
    `${from.ns} reaches ${address}`,
    async () => (await ping(lab, from.ns, address, { count: 1, waitS: 1 })).received === 1,
    { timeoutMs: 30_000 },
  );
  assert.equal((await ping(lab, from.ns, address, { count: 5 })).received, 5, address);
}

/** Packets that the node's table has masqueraded, by family. */
async function masqueraded(scene: Scene, node: EvioNode): Promise<readonly number[]> {
  const rules = await scene.lab.exec(node.ns, ['nft', 'list', 'table', 'inet', 'evio_pods_lab']);
  return [...rules.matchAll(/counter packets (\d+)/g)].map((match) => Number(match[1]));
}

/** What pods of both nodes can do in either mode. */
async function bothWays(scene: Scene, a: EvioNode, p: Pod, q: Pod): Promise<void> {
  const { lab } = scene;
  const seen = await capture(lab, q.ns, 'eth0', 'icmp or icmp6');
  for (const family of [4, 6] as const) {
    await reach(scene, p, addressOf(q.result, family));
    await reach(scene, q, addressOf(p.result, family));
  }
  assert.deepEqual(await masqueraded(scene, a), [0, 0], 'pod to pod keeps its source');
  const sources = new Set(
    (await seen.read(['ip.src'], 'icmp.type == 8')).map(([source]) => source),
  );
  assert.deepEqual([...sources].sort(), [addressOf(p.result, 4), addressOf(q.result, 4)].sort());

  const outside = await capture(lab, scene.pub, 'any', 'icmp');
  await reach(scene, p, scene.publicAddress);
  assert.ok(((await masqueraded(scene, a))[0] ?? 0) > 0, 'pod to outside is masqueraded');
  const inside = await outside.read(['ip.src'], `ip.addr == ${addressOf(p.result, 4)}`);
  assert.deepEqual(inside, [], 'no address of a pod is seen outside');

  const mtu = p.result.interfaces.at(-1)?.mtu ?? 0;
  const size = mtu - 28;
  const largest = await ping(lab, p.ns, addressOf(q.result, 4), {
    count: 2,
    sizeBytes: size,
    df: true,
  });
  assert.equal(largest.received, 2, `${size} bytes pass`);
  const larger = await ping(lab, p.ns, addressOf(q.result, 4), {
    count: 1,
    sizeBytes: size + 1,
    df: true,
    waitS: 1,
  });
  assert.equal(larger.received, 0);
}

const attachmentsOf = (node: EvioNode): readonly string[] =>
  readdirSync(join(node.folder, 'state', 'cni'));

test.unless(
  needsShim,
  'routed: pods of two nodes reach each other and the outside, and leave nothing',
  async (t) => {
    const { scene, a, b } = await twoNodes(t, (index) => ({
      PodCIDRs: [`10.42.${index + 1}.0/24`, `fd42:0:0:${index + 1}::/64`],
      ClusterCIDRs: ['10.42.0.0/16', 'fd42::/48'],
    }));
    const { lab } = scene;
    const p = await addPod(scene, a, 'p');
    const q = await addPod(scene, b, 'q');
    assert.deepEqual(
      p.result.ips.map(({ address }) => address),
      ['10.42.1.2/24', 'fd42:0:0:1::2/64'],
    );
    await bothWays(scene, a, p, q);
    await reach(scene, p, b.address);
    // A member without pods knows no way back to a pod: it sees the address of the node.
    const plain = scene.start(2);
    await a.waitUp('c', 60_000);
    await reach(scene, p, plain.address);
    const neighbour = await addPod(scene, a, 'p2');
    await reach(scene, neighbour, addressOf(p.result, 4));

    const call = { containerId: p.containerId, netns: p.netns };
    const checked = confOf(a, { prevResult: p.result });
    assert.equal((await callCni({ command: 'CHECK', ...call, config: checked })).text, '');
    await lab.ip(p.ns, 'address delete 10.42.1.2/24 dev eth0');
    assert.equal(errorOf(await callCni({ command: 'CHECK', ...call, config: checked })).code, 105);
    const twice = errorOf(await callCni({ command: 'ADD', ...call, config: confOf(a) }));
    assert.deepEqual([twice.code, twice.cniVersion], [101, '1.1.0']);

    // With a namespace, then as a runtime does it after the namespace is gone, then once more.
    assert.equal((await callCni({ command: 'DEL', ...call, config: checked })).text, '');
    assert.equal(
      (await callCni({ command: 'DEL', containerId: p.containerId, config: confOf(a) })).status,
      0,
    );
    const valid = [{ containerID: neighbour.containerId, ifname: 'eth0' }];
    const gc = confOf(a, { 'cni.dev/valid-attachments': valid });
    assert.equal((await callCni({ command: 'GC', config: gc })).text, '');
    assert.equal(attachmentsOf(a).length, 1);
    const none = confOf(a, { 'cni.dev/valid-attachments': [] });
    assert.equal((await callCni({ command: 'GC', config: none })).text, '');
    assert.deepEqual(attachmentsOf(a), []);
    assert.doesNotMatch(await lab.exec(a.ns, ['ip', '-br', 'link']), /evc[0-9a-f]/);
    assert.match(
      await lab.exec(a.ns, ['ip', 'route']),
      /^10\.42\.2\.0\/24 via 10\.77\.0\.2 dev evbr-lab proto 157/m,
    );
    await a.stop();
    const left = await lab.exec(a.ns, ['ip', '-br', 'link']);
    assert.doesNotMatch(left, /ev(pd|br)?-lab/);
    assert.doesNotMatch(await lab.exec(a.ns, ['nft', 'list', 'ruleset']), /evio_pods/);
  },
  180_000,
);

test.unless(
  needsShim,
  'bridged, ranges out of a pool: pods of two nodes are on one link',
  async (t) => {
    const { scene, a, b } = await twoNodes(t, () => ({
      Mode: 'bridged',
      PodPool: ['10.42.0.0/16', 'fd42::/48'],
    }));
    const p = await addPod(scene, a, 'p');
    const q = await addPod(scene, b, 'q');
    const third = (pod: Pod): string => addressOf(pod.result, 4).split('.')[2] ?? '';
    assert.notEqual(third(p), third(q), 'each node has taken a range of its own');
    assert.match(p.result.ips[0]?.address ?? '', /\/16$/);
    await bothWays(scene, a, p, q);
    // No router in between: the time to live is as it was sent.
    const seen = await capture(scene.lab, q.ns, 'eth0', 'icmp');
    await reach(scene, p, addressOf(q.result, 4));
    const hops = new Set((await seen.read(['ip.ttl'], 'icmp.type == 8')).map(([ttl]) => ttl));
    assert.deepEqual([...hops], ['64']);
    const before = addressOf(p.result, 4).split('.').slice(0, 3).join('.');
    await b.kill('SIGKILL');
    b.start();
    await waitReady(b);
    const again = await addPod(scene, b, 'q2');
    assert.equal(third(again), third(q), 'a restart keeps the range');
    assert.notEqual(addressOf(again.result, 4), addressOf(q.result, 4));
    assert.ok(before.startsWith('10.42.'));
  },
  180_000,
);
