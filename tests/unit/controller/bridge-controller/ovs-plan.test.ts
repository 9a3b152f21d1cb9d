/** Plans for Open vSwitch: one transaction from what the database has to what is wanted. */
import assert from 'node:assert/strict';
import { Mac, OverlayId } from '../../../../base/ids.ts';
import type { ObservedDevice } from '../../../../controller/bridge-controller/core/devices.ts';
import {
  appBridgeName,
  bridgeName,
  tapName,
} from '../../../../controller/bridge-controller/core/names.ts';
import {
  type ObservedOvsBridge,
  type OvsPlan,
  type OvsWish,
  planOvs,
  planOvsRemoval,
  planUnpatch,
} from '../../../../controller/bridge-controller/core/ovs-plan.ts';
import { suite } from '../../../support/harness.ts';

const test = suite('open vswitch plans');
const overlay = OverlayId.parse('lab');
const tap = tapName(overlay);
const bridge = bridgeName(overlay);
const app = appBridgeName(overlay);
const mac = Mac.parse('02:aa:00:00:00:01');
const inner = Mac.parse('06:aa:00:00:00:01');
const wish: OvsWish = {
  overlay,
  tap,
  mtu: 1420,
  mac,
  bridge: { name: bridge, mac, mtu: 1420, spanningTree: false },
  app: null,
  addresses: ['10.77.0.1/24'],
  datapathType: 'netdev',
};
const withApp: OvsWish = {
  ...wish,
  bridge: { ...wish.bridge, mac: inner },
  app: { ...wish.bridge, name: app, mtu: 1400 },
};
const device = (d: Partial<ObservedDevice>): ObservedDevice => ({
  name: tap,
  alias: 'evio:lab',
  kind: 'tun',
  mac,
  mtu: 9000,
  up: true,
  master: '',
  spanningTree: false,
  addresses: [],
  ...d,
});
const known = (b: Partial<ObservedOvsBridge>): ObservedOvsBridge => ({
  name: bridge,
  overlay: 'lab',
  datapathType: 'netdev',
  mac,
  spanningTree: false,
  mtuRequest: 1420,
  ports: [bridge, tap],
  ...b,
});
const devices = [device({}), device({ name: bridge, addresses: wish.addresses })];

const lines = (commands: readonly (readonly string[])[]): string[] =>
  commands.map((c) => c.join(' '));
function told(plan: OvsPlan): Record<'before' | 'database' | 'after', string[]> {
  assert.ok(plan.kind === 'do', JSON.stringify(plan));
  const { before, database, after } = plan;
  return { before: lines(before), database: lines(database), after: lines(after) };
}
const refusedBy = (plan: OvsPlan): string =>
  plan.kind === 'refused' ? `${plan.refusal.code}: ${plan.refusal.message}` : 'not refused';

test('on an empty host TAP, bridge and addresses are made in that order', () => {
  assert.deepEqual(told(planOvs(wish, [], [])), {
    before: [
      'tuntap add dev ev-lab mode tap vnet_hdr',
      'link set dev ev-lab alias evio:lab',
      'link set dev ev-lab addrgenmode none',
      'link set dev ev-lab mtu 9000',
      'link set dev ev-lab up',
    ],
    database: [
      'add-br evbr-lab',
      'set bridge evbr-lab external_ids:evio-overlay=lab datapath_type=netdev other_config:hwaddr="02:aa:00:00:00:01"',
      'set interface evbr-lab mtu_request=1420',
      'add-port evbr-lab ev-lab',
    ],
    after: [
      'link set dev evbr-lab alias evio:lab',
      'link set dev evbr-lab up',
      'address add 10.77.0.1/24 dev evbr-lab',
    ],
  });
});

test('what stands already is left as it is', () => {
  const nothing = { before: [], database: [], after: [] };
  assert.deepEqual(told(planOvs(wish, devices, [known({})])), nothing);
  const system = { ...wish, datapathType: 'system' } as const;
  assert.deepEqual(told(planOvs(system, devices, [known({ datapathType: '' })])), nothing);
});

/** A difference in the database, and what is told to it. */
const differences: readonly (readonly [string, Partial<ObservedOvsBridge>, readonly string[]])[] = [
  ['the MTU', { mtuRequest: 1400 }, ['set interface evbr-lab mtu_request=1420']],
  ['no MTU', { mtuRequest: null }, ['set interface evbr-lab mtu_request=1420']],
  ['the spanning tree', { spanningTree: true }, ['set bridge evbr-lab stp_enable=false']],
  ['a lost port', { ports: [bridge] }, ['add-port evbr-lab ev-lab']],
  ['the address', { mac: '' }, ['set bridge evbr-lab other_config:hwaddr="02:aa:00:00:00:01"']],
];
for (const [what, seen, commands] of differences) {
  test(`${what} is the only change`, () => {
    assert.deepEqual(told(planOvs(wish, devices, [known(seen)])), {
      before: [],
      database: commands,
      after: [],
    });
  });
}

test('another datapath makes the device anew, so that its addresses are set again', () => {
  const plan = told(planOvs(wish, devices, [known({ datapathType: 'system' })]));
  assert.deepEqual(plan.database, ['set bridge evbr-lab datapath_type=netdev']);
  assert.ok(plan.after.includes('address add 10.77.0.1/24 dev evbr-lab'));
});

test('a bridge for applications is patched to the first and holds the addresses', () => {
  const { database, after } = told(planOvs(withApp, [], []));
  for (const command of [
    'add-br evap-lab',
    'set interface evap-lab mtu_request=1400',
    'add-port evbr-lab evpi-lab',
    'set interface evpi-lab type=patch options:peer=evpo-lab',
    'add-port evap-lab evpo-lab',
    'set interface evpo-lab type=patch options:peer=evpi-lab',
  ]) {
    assert.ok(database.includes(command), command);
  }
  assert.ok(after.includes('address add 10.77.0.1/24 dev evap-lab'));
});

test('a bridge for applications of an earlier configuration goes with its patch', () => {
  const bridges = [
    known({ ports: [bridge, tap, 'evpi-lab'] }),
    known({ name: app, ports: [app, 'evpo-lab'] }),
  ];
  assert.deepEqual(told(planOvs(wish, devices, bridges)).database, [
    'del-br evap-lab',
    'del-port evbr-lab evpi-lab',
  ]);
});

test('bridges, devices and ports of somebody else are refused', () => {
  assert.match(
    refusedBy(planOvs(wish, [], [known({ overlay: '' })])),
    /^host.device-foreign: .*ovs-vsctl del-br evbr-lab/,
  );
  assert.match(
    refusedBy(planOvs(wish, [device({ name: bridge, kind: 'dummy', alias: '' })], [])),
    /^host.device-foreign: .*ip link delete evbr-lab/,
  );
  assert.match(refusedBy(planOvs(wish, [device({ alias: '' })], [])), /^host.device-foreign/);
  const br0 = known({ name: 'br0', overlay: '', ports: ['br0', tap] });
  assert.match(refusedBy(planOvs(wish, [], [br0])), /ovs-vsctl del-port br0 ev-lab/);
  const eth0 = device({ name: 'eth0', alias: '', kind: '', addresses: ['10.77.0.1/8'] });
  assert.match(refusedBy(planOvs(wish, [eth0], [])), /^host.address-in-use/);
});

test('a Linux bridge of ours makes room', () => {
  const linux = [device({ master: bridge }), device({ name: bridge, kind: 'bridge' })];
  const { before, database } = told(planOvs(wish, linux, []));
  assert.equal(before[0], 'link delete dev evbr-lab');
  assert.ok(database.includes('add-br evbr-lab'));
});

test('removal takes our bridges and no others, and the patch from the one that stays', () => {
  const bridges = [
    known({ ports: [bridge, tap, 'evpi-lab'] }),
    known({ name: app, overlay: 'other', ports: [app, 'evpo-lab'] }),
  ];
  assert.deepEqual(lines(planOvsRemoval(overlay, [bridge, app], bridges)), ['del-br evbr-lab']);
  assert.deepEqual(lines(planUnpatch(overlay, bridge, bridges)), ['del-port evbr-lab evpi-lab']);
  assert.deepEqual(lines(planUnpatch(overlay, app, bridges)), []);
});
