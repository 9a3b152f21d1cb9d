/** The section Cni: what it takes, what it refuses with the line, what the controller is given. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig } from '../../../config/load.ts';
import { suite, type T } from '../../support/harness.ts';

const test = suite('config cni');

const device = { NetDevice: { IP4: '10.77.0.1', PrefixLen: 24 } };

function load(
  t: T,
  cni: object,
  environment: Record<string, string> = {},
  netDevice: object = device,
) {
  const folder = mkdtempSync(join(tmpdir(), 'evio-config-'));
  t.defer(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'config.json');
  const signal = { HostAddress: 'h', Username: 'a@h', PasswordEnv: 'P' };
  writeFileSync(
    file,
    JSON.stringify({
      Broker: { Overlays: ['farm'] },
      Signal: { Overlays: { farm: signal } },
      BridgeController: { Overlays: { farm: netDevice } },
      Cni: { Overlays: { farm: cni } },
    }),
  );
  return loadConfig(file, { P: 'x', ...environment }).config.overlays[0]?.cni;
}

test('each source of ranges is taken as it is meant', (t) => {
  assert.deepEqual(load(t, { PodCIDRs: ['10.42.1.0/24'], ServiceCIDRs: ['10.96.0.0/12'] }), {
    mode: 'routed',
    source: { kind: 'config', ranges: ['10.42.1.0/24'] },
    clusterRanges: [],
    serviceRanges: ['10.96.0.0/12'],
    masquerade: true,
  });
  assert.deepEqual(load(t, { PodPool: ['10.42.0.0/16'], NodePrefixLen: 25 })?.source, {
    kind: 'pool',
    pool: ['10.42.0.0/16'],
    nodeLength: { 4: 25, 6: 64 },
  });
  const kubernetes = { Kubeconfig: '/etc/kubernetes/kubelet.conf', NodeNameEnv: 'NODE_NAME' };
  assert.deepEqual(load(t, { Kubernetes: kubernetes }, { NODE_NAME: 'barn' })?.source, {
    kind: 'kubernetes',
    kubeconfig: '/etc/kubernetes/kubelet.conf',
    nodeName: 'barn',
  });
  assert.deepEqual(load(t, { PodCIDRs: [] })?.source, { kind: 'config', ranges: [] });
});

test('what cannot work is refused by name', (t) => {
  const cases: readonly (readonly [object, RegExp])[] = [
    [{}, /farm: needs one of PodCIDRs, PodPool, Kubernetes/],
    [
      { PodCIDRs: ['10.42.1.0/24'], Kubernetes: {} },
      /Kubernetes: is one source of pod ranges too many/,
    ],
    [{ PodCIDRs: ['10.42.1.1/24'] }, /must be an address range/],
    [{ PodCIDRs: ['127.0.0.0/24'] }, /is not for pods/],
    [{ PodCIDRs: ['10.77.0.0/25'] }, /overlaps the overlay's own subnet/],
    [{ PodCIDRs: ['10.42.1.0/31'] }, /no room for a gateway and a pod/],
    [{ PodCIDRs: ['10.42.1.0/24', '10.42.2.0/24'] }, /second IPv4 range/],
    [{ PodCIDRs: ['fd42::/64'] }, /needs IP6 of this host/],
    [{ PodPool: ['10.42.0.0/26'] }, /no room for a node's range, a \/24/],
    [{ Mode: 'bridged', PodCIDRs: ['10.42.1.0/24'] }, /needs PodPool or ClusterCIDRs/],
    [{ Kubernetes: { NodeName: 'a', NodeNameEnv: 'B' } }, /one name too many/],
    [{ Kubernetes: { NodeNameEnv: 'NODE_NAME' } }, /environment variable is not set/],
  ];
  for (const [cni, why] of cases) assert.throws(() => load(t, cni), why, JSON.stringify(cni));
});

test('bridged needs a Linux bridge', (t) => {
  const vnic = { NetDevice: { ...device.NetDevice, BridgeProvider: 'VNIC' } };
  const cni = { Mode: 'bridged', PodPool: ['10.42.0.0/16'] };
  assert.throws(() => load(t, cni, {}, vnic), /needs BridgeProvider "LXBR"/);
});
