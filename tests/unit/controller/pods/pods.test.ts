/** The pods module on a bus, with a host that only writes down what is done to it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Exec } from '../../../../base/exec.ts';
import { InterfaceName, Mac, NodeId, OverlayId } from '../../../../base/ids.ts';
import { silentLogger } from '../../../../base/log.ts';
import { Bus } from '../../../../controller/bus.ts';
import type { BusEvent } from '../../../../controller/events.ts';
import { createPods, type RangeSource } from '../../../../controller/pods/index.ts';
import { suite, type T } from '../../../support/harness.ts';
import { VirtualTime } from '../../../support/virtual-time.ts';

const test = suite('pods module');

const overlay = OverlayId.parse('farm');
const node = (digit: string): NodeId => NodeId.parse(digit.repeat(32));
const [low, self, high] = [node('1'), node('8'), node('f')];
const pool: RangeSource = { kind: 'pool', pool: ['10.42.0.0/16'], nodeLength: { 4: 24, 6: 64 } };

/** A host with one device of its own, and routes of ours that an earlier run left. */
function fakeHost(routes: readonly string[]) {
  const done: string[] = [];
  const eth0 = { ifname: 'eth0', addr_info: [{ local: '192.168.1.2', prefixlen: 24 }] };
  const exec: Exec = async (argv, options = {}) => {
    const command = argv.join(' ');
    if (command.includes('address show')) return JSON.stringify([eth0]);
    if (command.includes('-4 route show')) {
      return JSON.stringify(routes.map((dst) => ({ dst, gateway: '10.77.0.9' })));
    }
    if (command.includes('route show')) return '[]';
    done.push(...(options.input ?? command).trim().split('\n'));
    return '';
  };
  return { exec, done };
}

function stage(
  t: T,
  source: RangeSource,
  options: { folder?: string; routes?: readonly string[] } = {},
) {
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'evio-pods-'));
  if (options.folder === undefined) t.defer(() => rmSync(folder, { recursive: true }));
  const bus = new Bus(silentLogger);
  const time = new VirtualTime();
  const seen: BusEvent[] = [];
  bus.tap(t.signal, (event) => seen.push(event));
  const host = fakeHost(options.routes ?? []);
  const set: string[] = [];
  const pods = createPods({
    port: bus.port('pods'),
    exec: host.exec,
    sysctls: {
      read: async () => '0',
      write: async (name, value) => void set.push(`${name}=${value}`),
      devices: async () => [],
    },
    clock: time.clock(),
    random: () => 0.5,
    log: silentLogger,
    self,
    stateDirectory: folder,
    environment: {},
    overlays: [
      {
        overlay,
        mode: 'routed',
        source,
        clusterRanges: [],
        serviceRanges: ['10.96.0.0/12'],
        masquerade: true,
        mtu: null,
        autoDelete: false,
      },
    ],
    mtuChanged: () => {},
    hostReady: () => {},
    attached: () => 0,
  });
  pods.start();
  t.defer(() => pods.stop());
  const ready = (): void =>
    bus.port('bridges').publish('bridges.deviceReady', {
      overlay,
      provider: 'vnic',
      tap: InterfaceName.parse('ev-farm'),
      bridge: null,
      appBridge: null,
      mac: Mac.parse('02:00:00:00:00:01'),
      addresses: ['10.77.0.1/24'],
      mtu: 1_420,
      offload: true,
    });
  const online = (): void =>
    bus
      .port('signal')
      .publish('signal.stateChanged', { overlay, state: 'online', problem: null, retryInMs: null });
  const announce = (peer: NodeId, range: string, address: string): void =>
    bus.port('signal').publish('signal.podsAnnounced', {
      overlay,
      peer,
      name: peer.slice(0, 1),
      pods: { addresses: [address], ranges: [range] },
    });
  const announced = (): readonly (readonly string[])[] =>
    seen.flatMap((e) => (e.name === 'pods.rangesChanged' ? [e.event.ranges ?? []] : []));
  return {
    ...host,
    pods,
    time,
    set,
    folder,
    ready,
    online,
    announce,
    announced,
    settle: () => pods.repair(overlay),
  };
}

test('a range of the pool is claimed after listening, kept over a restart, and given up to a lower id', async (t) => {
  const first = stage(t, pool);
  first.ready();
  first.online();
  await first.settle();
  assert.deepEqual(first.announced(), []);
  first.time.runUntil(3_000);
  await first.settle();
  const [[mine = ''] = []] = first.announced();
  assert.match(mine, /^10\.42\.\d+\.0\/24$/);

  const second = stage(t, pool, { folder: first.folder });
  second.ready();
  await second.settle();
  assert.deepEqual(second.announced(), [[mine]], 'at once, before any login');

  second.online();
  second.announce(high, mine, '10.77.0.3');
  await second.settle();
  assert.deepEqual(second.announced(), [[mine]]);
  assert.equal(second.pods.snapshot()[0]?.refused.length, 1);
  second.announce(low, mine, '10.77.0.2');
  await second.settle();
  const ranges = second.announced();
  assert.equal(ranges.length, 2);
  assert.notDeepEqual(ranges[1], [mine]);
  assert.deepEqual(
    second.pods.snapshot()[0]?.members.map(({ range, via }) => [range, via]),
    [[mine, '10.77.0.3']],
  );
});

test('the host gets bridge, routes, rules and settings, and only then are ranges announced', async (t) => {
  const { done, set, ready, announce, announced, settle, pods } = stage(t, {
    kind: 'config',
    ranges: ['10.42.1.0/24'],
  });
  await settle();
  assert.deepEqual([done, announced()], [[], []]);
  assert.match(pods.snapshot()[0]?.problem ?? '', /device of overlay farm does not stand/);
  announce(low, '10.42.2.0/24', '10.77.0.2');
  ready();
  await settle();
  assert.deepEqual(announced(), [['10.42.1.0/24']]);
  assert.equal(pods.snapshot()[0]?.problem, null);
  const text = done.join('\n');
  assert.match(text, /^link add name evpd-farm address 0a:59:88:88:88:88 type bridge/m);
  assert.match(text, /^address add 10\.42\.1\.1\/24 dev evpd-farm$/m);
  assert.match(
    text,
    /^route replace 10\.42\.2\.0\/24 via 10\.77\.0\.2 dev ev-farm proto 157 onlink$/m,
  );
  assert.match(text, /ip daddr != @cluster4 counter masquerade/);
  assert.ok(set.includes('ipv4/ip_forward=1') && set.every((each) => !each.startsWith('ipv6')));
});

test('routes that a run before left stay until the members had time to speak', async (t) => {
  const config: RangeSource = { kind: 'config', ranges: ['10.42.1.0/24'] };
  const { done, ready, online, settle, time } = stage(t, config, { routes: ['10.42.9.0/24'] });
  const removed = (): boolean => done.some((line) => line.startsWith('route delete 10.42.9.0/24'));
  ready();
  await settle();
  time.runUntil(600_000); // without a login nobody could have spoken
  await settle();
  assert.equal(removed(), false);
  online();
  time.runUntil(630_000);
  await settle();
  assert.equal(removed(), false);
  time.runUntil(700_000);
  await settle();
  assert.equal(removed(), true);
});

test('a range that is a network of this host is not used', async (t) => {
  const { ready, settle, pods, done } = stage(t, { kind: 'config', ranges: ['192.168.0.0/20'] });
  ready();
  await settle();
  assert.match(
    pods.snapshot()[0]?.problem ?? '',
    /overlaps 192\.168\.1\.0\/24, of eth0 on this host/,
  );
  assert.deepEqual(done, []);
});
