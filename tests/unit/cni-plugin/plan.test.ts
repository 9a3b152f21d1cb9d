/** The commands for a pod, and the results that runtimes get, for each version. */
import assert from 'node:assert/strict';
import {
  aliasOf,
  hostInterfaceOf,
  hostMac,
  planHost,
  planPod,
  podMac,
  type Wiring,
} from '../../../cni-plugin/core/plan.ts';
import { formatResult } from '../../../cni-plugin/core/result.ts';
import { suite } from '../../support/harness.ts';

const test = suite('cni plan');
const key = '0123456789abcdef'.repeat(4);
const addresses = [
  { address: '10.42.1.5/24', gateway: '10.42.1.1' },
  { address: 'fd42::5/64', gateway: 'fd42::1' },
];
const wiring: Wiring = {
  hostInterface: hostInterfaceOf(key),
  hostMac: hostMac(key),
  ifname: 'eth0',
  mac: podMac(addresses, key),
  netns: '/run/netns/x',
  bridge: 'evpd-farm',
  mtu: 1_420,
  alias: aliasOf(key),
  addresses,
};

test('the pair is made in one command, so that a failure leaves nothing', () => {
  const [first] = planHost(wiring);
  assert.equal(
    first?.join(' '),
    'link add name evc0123456789a address 0e:01:23:45:67:89 mtu 1420 type veth peer name eth0 address 0a:58:0a:2a:01:05 mtu 1420 netns /run/netns/x',
  );
  assert.ok(wiring.hostInterface.length <= 15);
});

test('the pod gets both families, IPv6 without waiting for duplicates', () => {
  assert.deepEqual(
    planPod(wiring).map((command) => command.join(' ')),
    [
      'link set dev lo up',
      'link set dev eth0 up',
      'address add 10.42.1.5/24 dev eth0',
      'route replace 0.0.0.0/0 via 10.42.1.1 dev eth0',
      'address add fd42::5/64 dev eth0 nodad',
      'route replace ::/0 via fd42::1 dev eth0',
    ],
  );
});

test('the mac follows from the IPv4 address, so that caches stay right when it is given again', () => {
  assert.equal(podMac(addresses, key), podMac(addresses, 'f'.repeat(64)));
  assert.notEqual(podMac(addresses.slice(1), key), podMac(addresses.slice(1), 'f'.repeat(64)));
});

const attached = {
  interfaces: [
    { name: 'evc0', mac: '0e:00:00:00:00:01', mtu: 1_420, sandbox: '' },
    { name: 'eth0', mac: '0a:58:0a:2a:01:05', mtu: 1_420, sandbox: '/run/netns/x' },
  ],
  ips: addresses,
  routes: [{ dst: '0.0.0.0/0', gw: '10.42.1.1' }],
  dns: {},
};
const ipVersions = (result: object): unknown =>
  Object.entries(result)
    .filter(([name]) => name === 'ips')
    .flatMap(([, ips]) => ips.map((ip: { version?: string }) => ip.version));

test('families stand in results of old versions only, the mtu in the newest', () => {
  for (const version of ['0.3.1', '0.4.0']) {
    assert.deepEqual(ipVersions(formatResult(version, attached, null)), ['4', '6']);
  }
  for (const version of ['1.0.0', '1.1.0']) {
    assert.deepEqual(ipVersions(formatResult(version, attached, null)), [undefined, undefined]);
  }
  const hasMtu = (version: string): boolean =>
    JSON.stringify(formatResult(version, attached, null)).includes('"mtu"');
  assert.deepEqual(['0.3.1', '0.4.0', '1.0.0', '1.1.0'].map(hasMtu), [false, false, false, true]);
});

test('behind other plugins our interfaces come after theirs', () => {
  const previous = {
    interfaces: [{ name: 'lo' }],
    ips: [{ address: '192.0.2.1/32' }],
    dns: { search: ['x'] },
  };
  assert.deepEqual(
    formatResult('1.0.0', { ...attached, dns: { nameservers: ['192.0.2.53'] } }, previous),
    {
      cniVersion: '1.0.0',
      interfaces: [
        { name: 'lo' },
        { name: 'evc0', mac: '0e:00:00:00:00:01' },
        { name: 'eth0', mac: '0a:58:0a:2a:01:05', sandbox: '/run/netns/x' },
      ],
      ips: [
        { address: '192.0.2.1/32' },
        { address: '10.42.1.5/24', gateway: '10.42.1.1', interface: 2 },
        { address: 'fd42::5/64', gateway: 'fd42::1', interface: 2 },
      ],
      routes: [{ dst: '0.0.0.0/0', gw: '10.42.1.1' }],
      dns: { search: ['x'], nameservers: ['192.0.2.53'] },
    },
  );
});
