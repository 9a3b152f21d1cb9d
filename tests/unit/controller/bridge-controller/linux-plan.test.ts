/** Plans for the host's devices: what is made, kept, refused and removed. */
import assert from 'node:assert/strict';
import { Mac, NodeId, OverlayId } from '../../../../base/ids.ts';
import type {
  BridgeWish,
  DeviceWish,
  ObservedDevice,
} from '../../../../controller/bridge-controller/core/devices.ts';
import { planDeletion } from '../../../../controller/bridge-controller/core/devices.ts';
import {
  type LinuxPlan,
  planLinux,
} from '../../../../controller/bridge-controller/core/linux-plan.ts';
import {
  appBridgeName,
  bridgeName,
  hostMac,
  innerMac,
  patchNames,
  tapName,
} from '../../../../controller/bridge-controller/core/names.ts';
import { suite } from '../../../support/harness.ts';

const test = suite('linux device plans');
const overlay = OverlayId.parse('lab');
const tap = tapName(overlay);
const bridge = bridgeName(overlay);
const mac = Mac.parse('02:aa:00:00:00:01');
const inner = Mac.parse('06:aa:00:00:00:01');
const bridgeWish: BridgeWish = { name: bridge, mac, mtu: 1420, spanningTree: false };
const vnic: DeviceWish = {
  overlay,
  tap,
  bridge: null,
  app: null,
  mac,
  addresses: ['10.77.0.1/24', 'fd77::1/64'],
  mtu: 1420,
};
const lxbr: DeviceWish = { ...vnic, bridge: bridgeWish };
const app: DeviceWish = {
  ...vnic,
  bridge: { ...bridgeWish, mac: inner },
  app: { ...bridgeWish, name: appBridgeName(overlay), mtu: 1400 },
};
const device = (d: Partial<ObservedDevice>): ObservedDevice => ({
  name: tap,
  alias: 'evio:lab',
  kind: 'tun',
  mac,
  mtu: 1420,
  up: true,
  master: '',
  spanningTree: false,
  addresses: [],
  ...d,
});
const lines = (plan: LinuxPlan): string[] =>
  plan.kind === 'do' ? plan.commands.map((c) => c.join(' ')) : [plan.refusal.code];

test('on an empty host a TAP with the addresses is made', () => {
  assert.deepEqual(lines(planLinux(vnic, [])), [
    'tuntap add dev ev-lab mode tap vnet_hdr',
    'link set dev ev-lab alias evio:lab',
    'link set dev ev-lab address 02:aa:00:00:00:01',
    'link set dev ev-lab mtu 1420',
    'link set dev ev-lab up',
    'address add 10.77.0.1/24 dev ev-lab',
    'address add fd77::1/64 dev ev-lab nodad',
  ]);
});

test('with a bridge the TAP is a port and the bridge holds the addresses', () => {
  const made = lines(planLinux(lxbr, []));
  assert.ok(made.includes('link set dev ev-lab master evbr-lab'));
  assert.ok(made.includes('address add 10.77.0.1/24 dev evbr-lab'));
  assert.ok(made.includes('link set dev evbr-lab up'));
});

test('what stands already is left as it is', () => {
  const tapThere = device({ master: bridge, mtu: 9000 });
  const bridgeThere = device({ name: bridge, kind: 'bridge', addresses: vnic.addresses });
  assert.deepEqual(lines(planLinux(lxbr, [tapThere, bridgeThere])), []);
  assert.deepEqual(lines(planLinux(vnic, [device({ addresses: vnic.addresses })])), []);
});

test('a port of the bridge takes what guests send, the bridge has the MTU of the paths', () => {
  const made = lines(planLinux(lxbr, []));
  assert.ok(made.includes('link set dev ev-lab mtu 9000'));
  assert.ok(made.includes('link set dev evbr-lab mtu 1420'));
});

test('a changed MTU is the only change', () => {
  const there = device({ addresses: vnic.addresses });
  assert.deepEqual(lines(planLinux({ ...vnic, mtu: 1400 }, [there])), [
    'link set dev ev-lab mtu 1400',
  ]);
});

test('an address of an earlier configuration goes, a /32 of somebody else stays', () => {
  const there = device({ addresses: [...vnic.addresses, '10.5.0.1/24', '10.6.0.1/32'] });
  assert.deepEqual(lines(planLinux(vnic, [there])), ['address delete 10.5.0.1/24 dev ev-lab']);
});

test('a device of the same name that is not ours is refused by name, also with another kind', () => {
  assert.deepEqual(lines(planLinux(vnic, [device({ alias: '' })])), ['host.device-foreign']);
  assert.deepEqual(lines(planLinux(vnic, [device({ kind: 'veth' })])), ['host.device-foreign']);
  const foreign = device({ name: bridge, kind: 'bridge', alias: 'evio:other' });
  assert.deepEqual(lines(planLinux(lxbr, [foreign])), ['host.device-foreign']);
});

test('an address that another device has is refused', () => {
  const eth0 = device({ name: 'eth0', alias: '', kind: '', addresses: ['10.77.0.1/8'] });
  assert.deepEqual(lines(planLinux(vnic, [eth0])), ['host.address-in-use']);
});

test('removal takes our devices and no others', () => {
  const observed = [device({}), device({ name: bridge, kind: 'bridge', alias: 'mine' })];
  assert.deepEqual(planDeletion(overlay, [bridge, tap], observed), [
    ['link', 'delete', 'dev', tap],
  ]);
});

test('a bridge for applications holds the addresses and is patched to the first by a veth pair', () => {
  const made = lines(planLinux(app, []));
  for (const command of [
    'link add name evbr-lab address 06:aa:00:00:00:01 type bridge stp_state 0 forward_delay 0',
    'link add name evap-lab address 02:aa:00:00:00:01 type bridge stp_state 0 forward_delay 0',
    'link set dev evap-lab mtu 1400',
    'link add name evpi-lab type veth peer name evpo-lab',
    'link set dev evpi-lab master evbr-lab',
    'link set dev evpo-lab master evap-lab',
    'address add 10.77.0.1/24 dev evap-lab',
  ]) {
    assert.ok(made.includes(command), command);
  }
  assert.equal(
    made.some((command) => /^address add .* dev evbr-lab/.test(command)),
    false,
  );
});

const { inner: patchInner, outer: patchOuter } = patchNames(overlay);
const appThere: readonly ObservedDevice[] = [
  device({ master: bridge, mtu: 9000 }),
  device({ name: bridge, kind: 'bridge', mac: inner }),
  device({
    name: appBridgeName(overlay),
    kind: 'bridge',
    mtu: 1400,
    addresses: vnic.addresses,
  }),
  device({ name: patchInner, kind: 'veth', mtu: 9000, master: bridge }),
  device({ name: patchOuter, kind: 'veth', mtu: 9000, master: appBridgeName(overlay) }),
];

test('a bridge for applications that stands is left, and goes when it is no longer configured', () => {
  assert.deepEqual(lines(planLinux(app, appThere)), []);
  assert.deepEqual(lines(planLinux(lxbr, appThere)), [
    'link set dev evbr-lab address 02:aa:00:00:00:01',
    'address add 10.77.0.1/24 dev evbr-lab',
    'address add fd77::1/64 dev evbr-lab nodad',
    'link delete dev evpi-lab',
    'link delete dev evap-lab',
  ]);
});

test('a spanning tree is switched on and off', () => {
  const there = [
    device({ master: bridge, mtu: 9000 }),
    device({ name: bridge, kind: 'bridge', addresses: vnic.addresses }),
  ];
  const tree = { ...lxbr, bridge: { ...bridgeWish, spanningTree: true } };
  assert.deepEqual(lines(planLinux(tree, there)), [
    'link set dev evbr-lab type bridge stp_state 1 forward_delay 1500',
  ]);
  const on = there.map((d) => (d.kind === 'bridge' ? { ...d, spanningTree: true } : d));
  assert.deepEqual(lines(planLinux(lxbr, on)), [
    'link set dev evbr-lab type bridge stp_state 0',
    'link set dev evbr-lab type bridge forward_delay 0',
  ]);
});

test('the longest overlay id still gives names that the kernel takes', () => {
  const long = OverlayId.parse('abcdefghij');
  const { inner: a, outer: b } = patchNames(long);
  for (const name of [tapName(long), bridgeName(long), appBridgeName(long), a, b]) {
    assert.ok(name.length <= 15, name);
  }
});

test('the address of the host is local, unicast and differs by node', () => {
  const node = (n: string): NodeId => NodeId.parse(n.repeat(32));
  assert.equal(hostMac(node('a'), 7), '02:07:aa:aa:aa:aa');
  assert.equal(innerMac(node('a'), 7), '06:07:aa:aa:aa:aa');
  assert.notEqual(hostMac(node('a'), 7), hostMac(node('b'), 7));
});
