/** The main job on real parts: two nodes behind NATs share one encrypted layer-2 segment. */
import assert from 'node:assert/strict';
import { suite } from '../support/harness.ts';
import { assertWithin } from '../support/pace.ts';
import { waitFor } from '../support/scope.ts';
import {
  capture,
  iperf,
  ping,
  receiveUdp,
  requestLease,
  sendUdp,
  startDhcpServer,
} from '../support/traffic.ts';
import { createScene, startTwo } from '../support/two-nodes.ts';

const test = suite('two nodes');

test('cone × cone connects directly within 3 s of the second start, and carries everything', async (t) => {
  const scene = await createScene(t, {
    kinds: ['port', 'restricted'],
    ipv6: true,
    node: { provider: 'LXBR' },
  });
  const { lab } = scene;
  const a = scene.start(0, { address6: 'fd77::1' });
  await waitFor(
    'a is online',
    async () => {
      const status = await a.status().catch(() => null);
      return status?.overlays[0]?.signal?.state === 'online';
    },
    { timeoutMs: 15_000, context: () => a.log() },
  );
  const startedMs = performance.now();
  const b = scene.start(1, { address6: 'fd77::2' });
  await waitFor(
    'the first ping',
    async () => (await ping(lab, a.ns, b.address, { count: 1, waitS: 1 })).received === 1,
    {
      timeoutMs: 20_000,
      context: () => `${a.log()}\n${b.log()}`,
    },
  );
  const connectMs = performance.now() - startedMs;
  process.stdout.write(`second start to first ping: ${connectMs.toFixed(0)} ms\n`);
  await assertWithin('second start to first ping', connectMs, 3_000);
  const peer = await a.waitUp('b');
  assert.equal(peer.path?.kind, 'direct-reflexive');

  assert.match(await lab.exec(a.ns, ['ip', 'link', 'show', 'dev', 'ev-lab']), / qdisc noqueue /);
  assert.equal((await ping(lab, a.ns, '10.77.0.2', { count: 20 })).received, 20);
  assert.equal((await ping(lab, b.ns, 'fd77::1', { count: 5 })).received, 5);
  assert.ok((await iperf(lab, { from: a.ns, to: b.ns, address: b.address, seconds: 2 })).mbps > 50);
  assert.ok((await iperf(lab, { from: b.ns, to: a.ns, address: a.address, seconds: 1 })).mbps > 50);
  const udp = await iperf(lab, {
    from: a.ns,
    to: b.ns,
    address: b.address,
    seconds: 1,
    udpBytes: 1200,
    bitrate: '5M',
  });
  // A second in which a busy machine runs the receiver late costs some of its buffer.
  assert.ok(udp.lossPercent < 10, `${udp.lossPercent} % lost`);

  const group = { address: '239.7.7.7', dev: 'evbr-lab' };
  const listener = await receiveUdp(lab, b.ns, 7007, group);
  await sendUdp(
    lab,
    a.ns,
    { address: group.address, port: 7007, dev: group.dev },
    'multicast-says-hello',
  );
  await waitFor('the multicast datagram', () => listener.log().includes('multicast-says-hello'));

  // A host attached to b's bridge gets its address from a DHCP server on a's side.
  await startDhcpServer(lab, a.ns, 'evbr-lab', { first: '10.77.0.100', last: '10.77.0.110' });
  await lab.namespace('guest');
  await lab.cable({ ns: b.ns, dev: 'guest0', bridge: 'evbr-lab' }, { ns: 'guest', dev: 'eth0' });
  const lease = await requestLease(lab, 'guest', 'eth0');
  assert.equal(lease.server, '10.77.0.1');
  assert.equal((await ping(lab, 'guest', '10.77.0.1', { count: 3 })).received, 3);
}, 90_000);

test('symmetric × symmetric connects over TURN on UDP', async (t) => {
  const { lab, a, b } = await startTwo(t, { kinds: ['symmetric', 'symmetric'] });
  const peer = await a.waitUp('b');
  assert.equal(peer.path?.kind, 'turn');
  await b.waitUp('a', 10_000, 'turn');
  assert.equal((await ping(lab, a.ns, b.address, { count: 20 })).received, 20);
  const there = await iperf(lab, { from: a.ns, to: b.ns, address: b.address, seconds: 2 });
  const back = await iperf(lab, { from: b.ns, to: a.ns, address: a.address, seconds: 2 });
  assert.ok(there.mbps > 20 && back.mbps > 20, `${there.mbps} and ${back.mbps} Mbit/s`);
}, 60_000);

test('on the wire there is no byte of what is inside', async (t) => {
  const { lab, sites, a, b } = await startTwo(t, { kinds: ['port', 'port'] });
  const router = sites[0]?.router ?? '';
  const wire = await capture(lab, router, 'wan', 'udp');
  await a.waitUp('b');
  const listener = await receiveUdp(lab, b.ns, 7008);
  const secret = 'attack-at-dawn-0123456789';
  for (let n = 0; n < 5; n += 1) {
    await sendUdp(lab, a.ns, { address: b.address, port: 7008 }, secret);
  }
  await waitFor('the datagrams', () => listener.log().includes(secret));
  const records = await wire.read(['dtls.record.content_type', 'udp.payload'], 'dtls');
  assert.ok(
    records.some(([type]) => type === '23'),
    'tshark sees application data records',
  );
  const packets = await wire.read(['udp.payload']);
  assert.ok(packets.length > 10);
  const inner = Buffer.from(secret).toString('hex');
  // An inner ARP or IPv4 header would show a's and b's overlay addresses, 10.77.0.1 and .2.
  for (const needle of [inner, '0a4d00010a4d0002', '0a4d00020a4d0001']) {
    assert.equal(
      packets.some(([payload]) => payload?.includes(needle)),
      false,
      needle,
    );
  }
}, 60_000);

test('SIGTERM leaves nothing of ours behind, and the other side notices', async (t) => {
  const { lab, a, b } = await startTwo(t, { kinds: ['open', 'port'], node: { provider: 'LXBR' } });
  await a.waitUp('b');
  await b.waitUp('a');
  const stopMs = performance.now();
  const exit = await a.stop();
  assert.equal(exit.code, 0, a.log());
  await assertWithin('the stop', performance.now() - stopMs, 10_000);
  const left = await lab.exec(a.ns, ['ip', '-brief', 'link']);
  assert.doesNotMatch(left, /ev-lab|evbr-lab/);
  assert.equal((await lab.exec('', ['ip', 'netns', 'pids', lab.fullName(a.ns)])).trim(), '');
  await waitFor(
    'b has lost a',
    async () => ((await b.peer('a'))?.path?.kind ?? 'none') === 'none',
    { timeoutMs: 5_000 },
  );
}, 60_000);
