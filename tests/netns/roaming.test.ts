/** A node whose network changes under it keeps its sessions: four switches between IPv4 and IPv6. */
import assert from 'node:assert/strict';
import { startGaps } from '../support/gaps.ts';
import { suite } from '../support/harness.ts';
import { addUplink } from '../support/nat-lab.ts';
import type { Lab } from '../support/netns.ts';
import { assertWithin } from '../support/pace.ts';
import { waitFor } from '../support/scope.ts';
import { iperf } from '../support/traffic.ts';
import { createScene } from '../support/two-nodes.ts';

const test = suite('roaming');

/** Site numbers of the two uplinks of node a. */
const uplinks = { eth0: 1, eth1: 3 } as const;
type Device = keyof typeof uplinks;
type Family = 'v4' | 'v6';

/** Lets a host have one address on one device, and the way out over it: as wifi to cable. */
async function use(
  lab: Lab,
  host: string,
  device: Device,
  families: readonly Family[],
): Promise<void> {
  const other = device === 'eth0' ? 'eth1' : 'eth0';
  const n = uplinks[device];
  const lines = [`addr flush dev ${other} scope global`, `addr flush dev ${device} scope global`];
  if (families.includes('v4')) {
    lines.push(`addr add 192.168.${n}.10/24 dev ${device}`);
    lines.push(`route replace default via 192.168.${n}.1 dev ${device}`);
  }
  if (families.includes('v6')) {
    lines.push(`addr add 2001:db8:${n}::10/64 dev ${device}`);
    lines.push(`-6 route replace default via 2001:db8:${n}::1 dev ${device}`);
  }
  await lab.ip(host, lines.filter((line) => !line.startsWith('-6')).join('\n'));
  for (const line of lines.filter((l) => l.startsWith('-6'))) {
    await lab.exec(host, ['ip', ...line.split(' ')]);
  }
}

test('an uplink is switched four times, v4 and v6, and the session lives: gap within 2 s', async (t) => {
  const scene = await createScene(t, { kinds: ['port', 'port'], underlay: 'dual' });
  const { lab } = scene;
  const host = scene.sites[0]?.host ?? '';
  await addUplink(lab, uplinks.eth1, 'port', host);
  await use(lab, host, 'eth0', ['v4']);
  const [a, b] = [scene.start(0), scene.start(1)];
  await a.waitUp('b');
  const gaps = await startGaps(lab, a.ns, b.address);
  const flow = iperf(lab, {
    from: a.ns,
    to: b.ns,
    address: b.address,
    seconds: 16,
    bitrate: '20M',
  });
  const steps = [
    ['eth1', 'v4'],
    ['eth0', 'v6'],
    ['eth1', 'v6'],
    ['eth0', 'v4'],
  ] as const;
  for (const [device, family] of steps) {
    const replies = gaps.replies();
    await waitFor('the ping runs', () => gaps.replies() > replies + 20, { timeoutMs: 10_000 });
    const sinceMs = Date.now();
    await use(lab, host, device, [family]);
    const before = gaps.replies();
    await waitFor('replies again', () => gaps.replies() > before + 30, {
      timeoutMs: 15_000,
      context: () => `${a.log().slice(-6_000)}\n--- b\n${b.log().slice(-4_000)}`,
    });
    const gap = gaps.longestMs(sinceMs);
    process.stdout.write(`to ${device} ${family}: gap ${gap.toFixed(0)} ms\n`);
    await assertWithin('the gap', gap, 2_000, () => a.log().slice(-5_000));
  }
  const { mbps } = await flow;
  assert.ok(mbps > 5, `the TCP flow lived, but at ${mbps} Mbit/s`);
  assert.equal((await gaps.stop()).sent > 100, true);
  for (const node of [a, b]) assert.doesNotMatch(node.log(), /link down/);
}, 90_000);
