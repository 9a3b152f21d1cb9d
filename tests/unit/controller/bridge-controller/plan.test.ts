/** Plans for the host's devices: what is made, kept, refused and removed. */
import assert from 'node:assert/strict';
import { Mac, NodeId, OverlayId } from '../../../../base/ids.ts';
import {
  bridgeName,
  hostMac,
  tapName,
} from '../../../../controller/bridge-controller/core/names.ts';
import {
  type DevicePlan,
  type DeviceWish,
  type ObservedDevice,
  planDevices,
  planRemoval,
} from '../../../../controller/bridge-controller/core/plan.ts';
import { suite } from '../../../support/harness.ts';

const test = suite('device plans');
const overlay = OverlayId.parse('lab');
const tap = tapName(overlay);
const bridge = bridgeName(overlay);
const mac = Mac.parse('02:aa:00:00:00:01');
const vnic: DeviceWish = {
  overlay,
  tap,
  bridge: null,
  mac,
  addresses: ['10.77.0.1/24', 'fd77::1/64'],
  mtu: 1420,
};
const lxbr: DeviceWish = { ...vnic, bridge };
const device = (d: Partial<ObservedDevice>): ObservedDevice => ({
  name: tap,
  alias: 'evio:lab',
  kind: 'tun',
  mac,
  mtu: 1420,
  up: true,
  master: '',
  addresses: [],
  ...d,
});
const lines = (plan: DevicePlan): string[] =>
  plan.kind === 'do' ? plan.commands.map((c) => c.join(' ')) : [plan.refusal.code];

test('on an empty host a TAP with the addresses is made', () => {
  assert.deepEqual(lines(planDevices(vnic, [])), [
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
  const made = lines(planDevices(lxbr, []));
  assert.ok(made.includes('link set dev ev-lab master evbr-lab'));
  assert.ok(made.includes('address add 10.77.0.1/24 dev evbr-lab'));
  assert.ok(made.includes('link set dev evbr-lab up'));
});

test('what stands already is left as it is', () => {
  const tapThere = device({ master: bridge, mtu: 9000 });
  const bridgeThere = device({ name: bridge, kind: 'bridge', addresses: vnic.addresses });
  assert.deepEqual(lines(planDevices(lxbr, [tapThere, bridgeThere])), []);
  assert.deepEqual(lines(planDevices(vnic, [device({ addresses: vnic.addresses })])), []);
});

test('a changed MTU is the only change', () => {
  const there = device({ addresses: vnic.addresses });
  assert.deepEqual(lines(planDevices({ ...vnic, mtu: 1400 }, [there])), [
    'link set dev ev-lab mtu 1400',
  ]);
});

test('a port of the bridge takes what guests send, the bridge has the MTU of the paths', () => {
  const made = lines(planDevices({ ...lxbr, mtu: 1400 }, []));
  assert.ok(made.includes('link set dev ev-lab mtu 9000'));
  assert.ok(made.includes('link set dev evbr-lab mtu 1400'));
});

test('an address of an earlier configuration goes, a /32 of somebody else stays', () => {
  const there = device({ addresses: [...vnic.addresses, '10.5.0.1/24', '10.6.0.1/32'] });
  assert.deepEqual(lines(planDevices(vnic, [there])), ['address delete 10.5.0.1/24 dev ev-lab']);
});

test('a device of the same name that is not ours is refused by name, also with another kind', () => {
  assert.deepEqual(lines(planDevices(vnic, [device({ alias: '' })])), ['host.device-foreign']);
  assert.deepEqual(lines(planDevices(vnic, [device({ kind: 'veth' })])), ['host.device-foreign']);
  const foreign = device({ name: bridge, kind: 'bridge', alias: 'evio:other' });
  assert.deepEqual(lines(planDevices(lxbr, [foreign])), ['host.device-foreign']);
});

test('an address that another device has is refused', () => {
  const eth0 = device({ name: 'eth0', alias: '', kind: '', addresses: ['10.77.0.1/8'] });
  assert.deepEqual(lines(planDevices(vnic, [eth0])), ['host.address-in-use']);
});

test('removal takes our devices and no others', () => {
  const observed = [device({}), device({ name: bridge, kind: 'bridge', alias: 'mine' })];
  assert.deepEqual(planRemoval(overlay, [bridge, tap], observed), [['link', 'delete', 'dev', tap]]);
});

test('the address of the host is local, unicast and differs by node', () => {
  const node = (n: string): NodeId => NodeId.parse(n.repeat(32));
  assert.equal(hostMac(node('a'), 7), '02:07:aa:aa:aa:aa');
  assert.notEqual(hostMac(node('a'), 7), hostMac(node('b'), 7));
});
