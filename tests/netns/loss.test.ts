/** Links over paths that lose and reorder. */
import assert from 'node:assert/strict';
import { z } from 'zod';
import { exec } from '../../base/exec.ts';
import { until } from '../support/bridge-pair.ts';
import { carryBetween, newSite, startBridge, wire } from '../support/bridge-process.ts';
import { suite } from '../support/harness.ts';
import { newIdentity } from '../support/identity.ts';
import { assertWithin } from '../support/pace.ts';
import { ping, quantile } from '../support/traffic.ts';
import { createScene } from '../support/two-nodes.ts';
import { wobblyCable } from '../support/wobbly-cable.ts';

const test = suite('loss');

test('of 20 sessions set up under 20 % loss each way half take less than 3 s', async (t) => {
  const sites = [
    await newSite(t, 'a', '10.77.0.1/24'),
    await newSite(t, 'b', '10.77.0.2/24'),
  ] as const;
  await wire([sites[0], '198.18.0.1/24'], [sites[1], '198.18.0.2/24'], 'evsw');
  const drop = 'meta l4proto udp numgen random mod 100 < 20 drop';
  const rules = `table inet trouble { chain in { type filter hook input priority 0; ${drop}; }; }`;
  for (const ns of sites) {
    await exec(['ip', 'netns', 'exec', ns, 'nft', '-f', '-'], { input: rules });
  }
  const ids = [await newIdentity('a'), await newIdentity('b')] as const;
  const noServers = { stun: [], turn: [] };
  const one = await startBridge(t, sites[0], ids[0], noServers);
  const two = await startBridge(t, sites[1], ids[1], noServers);
  carryBetween(one, ids[0], () => two);
  carryBetween(two, ids[1], () => one);
  const timesMs: number[] = [];
  for (let round = 1; round <= 20; round += 1) {
    await one.client.call('connect', { peer: ids[1].nodeId }, 10_000);
    await two.client.call('connect', { peer: ids[0].nodeId }, 10_000);
    const up = (): boolean => one.ups.length >= round && two.ups.length >= round;
    await until(t, `session ${round}`, up, 30_000);
    timesMs.push(Math.max(one.ups.at(-1)?.setUpMs ?? 0, two.ups.at(-1)?.setUpMs ?? 0));
    await one.client.call('disconnect', { peer: ids[1].nodeId, reason: 'again' }, 10_000);
    await two.client.call('disconnect', { peer: ids[0].nodeId, reason: 'again' }, 10_000);
    // A link that is wanted again while the old one still drains is that one.
    const down = (): boolean => one.downs.length >= round && two.downs.length >= round;
    await until(t, `end of session ${round}`, down, 30_000);
  }
  timesMs.sort((x, y) => x - y);
  const [median, worst] = [quantile(timesMs, 0.5), timesMs.at(-1)];
  process.stdout.write(`20 % loss: median ${median} ms, worst ${worst} ms\n`);
  await assertWithin('the median handshake', median, 3_000, () => `${timesMs}`);
}, 90_000);

const IperfIntervals = z.looseObject({
  intervals: z.array(z.looseObject({ sum: z.looseObject({ bytes: z.number() }) })),
});

test('5 % loss with reordering: TCP goes on, and the tunnel adds no loss of its own', async (t) => {
  const scene = await createScene(t, { kinds: ['open', 'open'] });
  const { lab } = scene;
  await lab.ip('hA', 'link del eth0');
  await wobblyCable(
    lab,
    [
      { ns: 'rA', dev: 'lan', addresses: ['10.98.1.1/24'] },
      { ns: 'hA', dev: 'eth0', addresses: ['10.98.1.10/24'] },
    ],
    { lossPercent: 5, latePercent: 10, lateMs: 5 },
  );
  await lab.ip('hA', 'route add default via 10.98.1.1');
  const [a, b] = [scene.start(0), scene.start(1)];
  await a.waitUp('b', 40_000);
  await ping(lab, a.ns, b.address, { count: 5, waitS: 1 }); // neighbours know each other
  const count = 400;
  const outside = await ping(lab, 'hA', '10.98.2.10', { count, intervalS: 0.01, waitS: 1 });
  const inside = await ping(lab, a.ns, b.address, { count, intervalS: 0.01, waitS: 1 });
  const losses = `${inside.lossPercent.toFixed(1)} % inside, ${outside.lossPercent.toFixed(1)} % outside`;
  // 1 - 0.95² = 9.75 % there and back; of 400 pings 4 standard deviations are 6 %.
  for (const { lossPercent } of [outside, inside]) {
    assert.ok(Math.abs(lossPercent - 9.75) <= 6, losses);
  }
  const server = lab.spawn(b.ns, ['iperf3', '-s', '-1', '--forceflush']);
  await server.waitLog('listening');
  const argv = ['iperf3', '-c', b.address, '-J', '-t', '5', '-i', '1'];
  const report = await lab.exec(a.ns, argv, { timeoutMs: 40_000 });
  const { intervals } = IperfIntervals.parse(JSON.parse(report));
  const bytes = intervals.map(({ sum }) => sum.bytes);
  process.stdout.write(
    `${losses}; TCP ${bytes.map((n) => Math.round(n / 1024)).join(' ')} KiB/s\n`,
  );
  assert.ok(bytes.length >= 5 && bytes.every((n) => n > 0), `${bytes}`);
  assert.equal((await a.peer('b'))?.state, 'online');
}, 90_000);
