/**
 * Host side by Open vSwitch (userspace datapath) and bridges for applications, on real parts: what
 * is made, kept, refused and removed, and that traffic crosses it with right checksums.
 */
import assert from 'node:assert/strict';
import { suite, type T } from '../support/harness.ts';
import type { EvioNode, NodeOptions } from '../support/node.ts';
import { noOvs, type Ovs, startOvs } from '../support/ovs.ts';
import { waitFor } from '../support/scope.ts';
import { iperf, ping } from '../support/traffic.ts';
import { createScene, type Scene } from '../support/two-nodes.ts';

const test = suite('open vswitch');

interface Bridges {
  readonly provider: 'LXBR' | 'OVS';
  readonly ovs?: Ovs;
  /** Address of this host, on a bridge for applications. */
  readonly app?: string;
  readonly keep?: boolean;
  readonly tree?: boolean;
}

function optionsOf({
  provider,
  ovs,
  app,
  keep = false,
  tree = false,
}: Bridges): Partial<NodeOptions> {
  const autoDelete = { AutoDelete: !keep };
  const netdev = ovs === undefined ? {} : { DatapathType: 'netdev' };
  const moved = app === undefined ? {} : { IP4: undefined, PrefixLen: undefined };
  const entry = {
    NetDevice: { SwitchProtocol: tree ? 'STP' : 'none', ...netdev, ...moved, ...autoDelete },
    ...(app === undefined ? {} : { AppBridge: { IP4: app, PrefixLen: 24, ...autoDelete } }),
  };
  const database = ovs === undefined ? {} : { OvsDatabase: ovs.database };
  return { provider, config: { BridgeController: { ...database, Overlays: { lab: entry } } } };
}

async function twoNodes(t: T, provider: 'LXBR' | 'OVS') {
  const scene = await createScene(t, { kinds: ['open', 'port', 'open'] });
  const [nsA = '', nsB = ''] = scene.sites.map(({ host }) => host);
  const switches =
    provider === 'LXBR' ? [] : [await startOvs(scene.lab, nsA), await startOvs(scene.lab, nsB)];
  const with_ = (ovs: Ovs | undefined) => (ovs === undefined ? {} : { ovs });
  const a = scene.start(0, optionsOf({ provider, ...with_(switches[0]) }));
  const b = scene.start(
    1,
    optionsOf({ provider, ...with_(switches[1]), app: '10.77.0.2', keep: true }),
  );
  await a.waitUp('b');
  await b.waitUp('a');
  return { scene, a, b, switches };
}

/** Checksums found wrong by the kernel of a namespace, of TCP, UDP and ICMP. */
async function wrongChecksums({ lab }: Scene, ns: string): Promise<number> {
  const text = await lab.exec(ns, ['nstat', '-asz']);
  const counts = [...text.matchAll(/^\w*CsumErrors +(\d+)/gm)].map((m) => Number(m[1]));
  assert.ok(counts.length >= 3, text);
  return counts.reduce((sum, count) => sum + count, 0);
}

/** TCP and UDP both ways; figures are printed. */
async function carries(scene: Scene, a: EvioNode, b: EvioNode): Promise<void> {
  const { lab } = scene;
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    const pings = await lab.exec(from.ns, ['ping', '-nc5', '-i0.1', '-W2', to.address]);
    assert.match(pings, /5 packets transmitted, 5 received/);
    assert.doesNotMatch(pings, /DUP/);
    // The largest packet passes whole: 20 bytes of IPv4 and 8 of ICMP stand before its data.
    const mtu = (await from.status()).overlays[0]?.device?.mtu ?? 0;
    const largest = { count: 3, df: true, sizeBytes: mtu - 28 };
    assert.equal((await ping(lab, from.ns, to.address, largest)).received, 3, `mtu ${mtu}`);
    const tcp = await iperf(lab, { from: from.ns, to: to.ns, address: to.address, seconds: 2 });
    process.stdout.write(`tcp ${from.name} to ${to.name}: ${tcp.mbps.toFixed(0)} Mbit/s\n`);
    assert.ok(tcp.mbps > 50, `${tcp.mbps} Mbit/s`);
    const udp = await iperf(lab, {
      ...{ from: from.ns, to: to.ns, address: to.address, seconds: 1 },
      ...{ udpBytes: 1_200, bitrate: '5M' },
    });
    // The userspace datapath polls on a core that it shares with everything else here.
    assert.ok(udp.lossPercent < 20, `${udp.lossPercent} % lost`);
  }
  for (const { ns } of [a, b]) assert.equal(await wrongChecksums(scene, ns), 0);
}

/** Devices of the overlay in a namespace, with their numbers, addresses and MTU. */
async function devicesOf({ lab }: Scene, ns: string): Promise<readonly string[]> {
  const text = await lab.exec(ns, ['ip', '-o', '-4', 'address', 'show']);
  const links = await lab.exec(ns, ['ip', '-o', 'link', 'show']);
  const ours = /\bev(|br|ap|pi|po)-lab\b/;
  return [...text.split('\n'), ...links.split('\n')]
    .filter((line) => ours.test(line))
    .map((line) => /^(\d+: \S+)(.*inet \S+)?/.exec(line)?.slice(1).join('') ?? line);
}

test.unless(
  noOvs(),
  'two nodes on open vswitch carry everything; bridges stay over a restart, or go at the end',
  async (t) => {
    const { scene, a, b, switches } = await twoNodes(t, 'OVS');
    const [ovsA, ovsB] = switches;
    assert.ok(ovsA !== undefined && ovsB !== undefined);
    await carries(scene, a, b);
    // The kernel of a node without Open vSwitch leaves checksums and segments to its TAP: they
    // must be made whole before Open vSwitch sees them.
    const c = scene.start(2, { provider: 'VNIC' });
    await c.waitUp('b');
    await carries(scene, c, b);
    assert.equal((await c.stop()).code, 0);

    // The host is known by the address of the bridge that holds its address, not by the port's.
    const mac = (await b.status()).overlays[0]?.device?.['mac'];
    const neighbour = await scene.lab.exec(a.ns, ['ip', 'neighbour', 'show', b.address]);
    assert.ok(neighbour.includes(`lladdr ${mac}`), neighbour);

    // A guest of b's bridge for applications. Open vSwitch's userspace datapath does not complete
    // checksums that a guest leaves to its device.
    await scene.lab.namespace('guest');
    const guest = { ns: 'guest', dev: 'eth0', addresses: ['10.77.0.50/24'] };
    await scene.lab.cable({ ns: b.ns, dev: 'guest0' }, guest);
    await scene.lab.exec('guest', ['ethtool', '-K', 'eth0', 'tx', 'off']);
    await scene.lab.exec(b.ns, ['ethtool', '-K', 'guest0', 'tx', 'off']);
    await ovsB.vsctl('add-port', 'evap-lab', 'guest0');
    await waitFor(
      'the guest is reached',
      async () => (await ping(scene.lab, a.ns, '10.77.0.50', { count: 1, waitS: 1 })).received > 0,
    );
    const toGuest = { from: a.ns, to: 'guest', address: '10.77.0.50', seconds: 1 };
    assert.ok((await iperf(scene.lab, toGuest)).mbps > 20);

    await ovsA.restartSwitch();
    await waitFor(
      'traffic after the restart of ovs-vswitchd',
      async () => (await ping(scene.lab, b.ns, a.address, { count: 1, waitS: 1 })).received > 0,
      { timeoutMs: 10_000 },
    );

    const before = await devicesOf(scene, b.ns);
    const rows = await ovsB.vsctl('list', 'bridge');
    assert.equal((await b.stop()).code, 0);
    assert.deepEqual(await devicesOf(scene, b.ns), before);
    b.start();
    await b.waitUp('a');
    assert.equal(await ovsB.vsctl('list', 'bridge'), rows);
    assert.deepEqual(await devicesOf(scene, b.ns), before);
    assert.equal((await ping(scene.lab, a.ns, b.address, { count: 3 })).received, 3);

    assert.equal((await a.stop()).code, 0);
    assert.deepEqual(await devicesOf(scene, a.ns), []);
    assert.equal(await ovsA.vsctl('list-br'), '');
  },
  120_000,
);

test.unless(
  noOvs(),
  'a bridge or a port of somebody else is refused, a switch that does not answer is named',
  async (t) => {
    const scene = await createScene(t, { kinds: ['open'] });
    const ns = scene.sites[0]?.host ?? '';
    const ovs = await startOvs(scene.lab, ns);
    await ovs.vsctl(
      'add-br',
      'evbr-lab',
      '--',
      'set',
      'bridge',
      'evbr-lab',
      'datapath_type=netdev',
    );
    const rows = await ovs.vsctl('list', 'bridge');
    const node = scene.start(0, optionsOf({ provider: 'OVS', ovs, tree: true }));
    assert.match(await problemOf(node), /^host.device-foreign: .*ovs-vsctl del-br evbr-lab/);
    await node.stop();
    assert.equal(await ovs.vsctl('list', 'bridge'), rows);
    assert.deepEqual(
      (await devicesOf(scene, ns)).filter((line) => /: ev-lab/.test(line)),
      [],
    );

    await ovs.vsctl('del-br', 'evbr-lab');
    await ovs.stopSwitch();
    node.start();
    assert.match(await problemOf(node), /^host.no-ovs: ovs-vswitchd does not answer within 5 s/);
    await ovs.restartSwitch();
    await waitFor(
      'the device once open vswitch runs',
      async () => (await node.status()).overlays[0]?.device ?? undefined,
      { timeoutMs: 15_000, context: () => node.log() },
    );
    assert.equal((await ovs.vsctl('get', 'bridge', 'evbr-lab', 'stp_enable')).trim(), 'true');
    await node.stop();

    const elsewhere = { ...ovs, database: `${ovs.database}.none` };
    const other = scene.start(0, optionsOf({ provider: 'OVS', ovs: elsewhere }));
    assert.match(await problemOf(other), /^host.no-ovs: ovsdb-server does not answer at .*none/);
    await other.stop();
  },
  60_000,
);

const problemOf = (node: EvioNode): Promise<string> =>
  waitFor(
    'a problem with the device',
    async () => {
      const status = await node.status().catch(() => null);
      const problem = status?.overlays[0]?.['deviceProblem'];
      if (typeof problem !== 'object' || problem === null) return undefined;
      return 'code' in problem && 'message' in problem
        ? `${problem.code}: ${problem.message}`
        : undefined;
    },
    { timeoutMs: 15_000, context: () => node.log() },
  );

test('with linux bridges a guest of the bridge for applications is reached, and all stays or goes', async (t) => {
  const { scene, a, b } = await twoNodes(t, 'LXBR');
  await carries(scene, a, b);
  await scene.lab.namespace('guest');
  const guest = { ns: 'guest', dev: 'eth0', addresses: ['10.77.0.50/24'] };
  await scene.lab.cable({ ns: b.ns, dev: 'guest0', bridge: 'evap-lab' }, guest);
  await waitFor(
    'the guest is reached',
    async () => (await ping(scene.lab, a.ns, '10.77.0.50', { count: 1, waitS: 1 })).received > 0,
  );
  assert.equal((await ping(scene.lab, 'guest', a.address, { count: 3 })).received, 3);

  const before = await devicesOf(scene, b.ns);
  assert.equal((await b.stop()).code, 0);
  assert.deepEqual(await devicesOf(scene, b.ns), before);
  b.start();
  await b.waitUp('a');
  assert.deepEqual(await devicesOf(scene, b.ns), before);
  assert.equal((await ping(scene.lab, 'guest', a.address, { count: 3 })).received, 3);
  assert.equal((await a.stop()).code, 0);
  assert.deepEqual(await devicesOf(scene, a.ns), []);
}, 90_000);
