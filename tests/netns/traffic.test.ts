/**
 * Certifies the traffic helpers on a plain cable, so that a failure over the overlay is the
 * overlay's.
 *
 *   a eth0 10.1.0.1 ──── eth0 10.1.0.2 b
 */
import assert from 'node:assert/strict';
import { suite, type T } from '../support/harness.ts';
import { needsRoot } from '../support/needs.ts';
import { createLab, type Lab } from '../support/netns.ts';
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
import { endTrouble, makeTrouble } from '../support/trouble.ts';

const test = suite('traffic helpers');

async function cable(t: T): Promise<Lab> {
  const lab = await createLab(t);
  await lab.namespace('a');
  await lab.namespace('b');
  await lab.cable(
    { ns: 'a', dev: 'eth0', addresses: ['10.1.0.1/24'] },
    { ns: 'b', dev: 'eth0', addresses: ['10.1.0.2/24'] },
  );
  return lab;
}

test.unless(needsRoot, 'ping counts what is lost, and forbids fragments when told', async (t) => {
  const lab = await cable(t);
  const good = await ping(lab, 'a', '10.1.0.2', { count: 5, intervalS: 0.01 });
  assert.equal(good.received, 5);
  assert.ok(good.medianMs > 0 && good.medianMs <= good.p99Ms, JSON.stringify(good));
  const large = { count: 2, intervalS: 0.01, sizeBytes: 1473, waitS: 0.2 };
  assert.equal((await ping(lab, 'a', '10.1.0.2', large)).received, 2);
  assert.equal((await ping(lab, 'a', '10.1.0.2', { ...large, df: true })).received, 0);
  await lab.nft('b', 'table ip f { chain i { type filter hook input priority 0; drop; }; }');
  assert.equal((await ping(lab, 'a', '10.1.0.2', { count: 2, waitS: 0.2 })).lossPercent, 100);
});

test.unless(
  needsRoot,
  'iperf3 counts what arrived, TCP both ways and UDP',
  async (t) => {
    const lab = await cable(t);
    const pair = { from: 'a', to: 'b', address: '10.1.0.2', seconds: 1 };
    const limited = await iperf(lab, { ...pair, bitrate: '20M' });
    assert.ok(limited.mbps > 15 && limited.mbps < 25, `${limited.mbps} Mbit/s`);
    assert.ok((await iperf(lab, { ...pair, reverse: true })).mbps > 100);
    const udp = await iperf(lab, { ...pair, udpBytes: 1200, bitrate: '9.6M' });
    assert.ok(udp.deliveredPerSecond > 900 && udp.deliveredPerSecond < 1_100, JSON.stringify(udp));
  },
  20_000,
);

test.unless(
  needsRoot,
  'datagrams and multicast arrive, and tshark sees them',
  async (t) => {
    const lab = await cable(t);
    const seen = await capture(lab, 'b', 'eth0', 'udp');
    const plain = await receiveUdp(lab, 'b', 7000);
    const group = await receiveUdp(lab, 'b', 7001, { address: '239.1.1.1', dev: 'eth0' });
    await sendUdp(lab, 'a', { address: '10.1.0.2', port: 7000 }, 'one');
    await sendUdp(lab, 'a', { address: '239.1.1.1', port: 7001, dev: 'eth0' }, 'all');
    await plain.waitLog('one');
    await group.waitLog('all');
    const packets = await waitFor('captured', async () => {
      const found = await seen.read(['ip.dst', 'udp.dstport']);
      return found.length === 2 && found;
    });
    assert.deepEqual(packets, [
      ['10.1.0.2', '7000'],
      ['239.1.1.1', '7001'],
    ]);
  },
  20_000,
);

test.unless(
  needsRoot,
  'a DHCP lease is given and put on the device',
  async (t) => {
    const lab = await cable(t);
    await startDhcpServer(lab, 'b', 'eth0', { first: '10.1.0.100', last: '10.1.0.100' });
    await lab.ip('a', 'addr flush dev eth0');
    const lease = await requestLease(lab, 'a', 'eth0');
    assert.deepEqual(lease, { address: '10.1.0.100', mask: '255.255.255.0', server: '10.1.0.2' });
    await lab.waitDevice('a', 'eth0', '10.1.0.100/24');
  },
  20_000,
);

test.unless(
  needsRoot,
  'trouble loses the share that it is told, and ends',
  async (t) => {
    const lab = await cable(t);
    const many = { count: 400, intervalS: 0.002, waitS: 0.2 };
    await makeTrouble(lab, 'b', [{ match: 'ip saddr 10.1.0.1', lossPercent: 30 }]);
    const some = await ping(lab, 'a', '10.1.0.2', many);
    // Six standard deviations of the binomial: a false alarm in 500 million runs.
    assert.ok(some.lossPercent > 16 && some.lossPercent < 44, `${some.lossPercent} %`);
    await makeTrouble(lab, 'b', [{ match: 'meta l4proto icmp', lossPercent: 100 }]);
    assert.equal((await ping(lab, 'a', '10.1.0.2', { count: 3, waitS: 0.2 })).received, 0);
    await endTrouble(lab, 'b');
    assert.equal((await ping(lab, 'a', '10.1.0.2', { count: 3, waitS: 0.2 })).received, 3);
  },
  20_000,
);
