/** What runtimes send: which of it is taken, and which code says what is wrong with the rest. */
import assert from 'node:assert/strict';
import { CniError, cniCodes } from '../../../cni-plugin/cni-error.ts';
import {
  checkContainerId,
  checkIfname,
  parseArgs,
  parseNetConf,
  parsePath,
} from '../../../cni-plugin/schema.ts';
import { suite } from '../../support/harness.ts';

const test = suite('cni schema');

const good = { cniVersion: '1.0.0', name: 'evio', type: 'evio-cni' };

function codeOf(run: () => unknown): number {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof CniError, String(error));
    return cniCodes[error.reason];
  }
  return 0;
}
const confCode = (value: unknown): number =>
  codeOf(() => parseNetConf(typeof value === 'string' ? value : JSON.stringify(value)));

test('what containerd and cnitool send is taken, in both spellings of capabilities', () => {
  const containerd = {
    ...good,
    capabilities: { portMappings: true },
    runtimeConfig: {
      portMappings: [{ HostPort: 8080, ContainerPort: 80, Protocol: 'tcp', HostIP: '' }],
      'io.kubernetes.cri.pod-annotations': null,
    },
    prevResult: null,
  };
  const cnitool = {
    ...good,
    cniVersion: '1.1.0',
    cniVersions: ['1.0.0', '1.1.0'],
    runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] },
    args: { cni: { ips: [] } },
    'cni.dev/valid-attachments': [{ containerID: 'x', ifname: 'eth0' }],
    prevResult: { cniVersion: '1.1.0', interfaces: [{ name: 'eth0', mtu: 1400 }], ips: [] },
  };
  assert.deepEqual([confCode(containerd), confCode(cnitool)], [0, 0]);
});

test('each fault has the code of the specification', () => {
  assert.equal(confCode('garbage'), 6);
  assert.equal(confCode(''), 6);
  for (const version of ['0.1.0', '0.2.0', '9.0.0', '']) {
    assert.equal(confCode({ ...good, cniVersion: version }), 1, version);
  }
  assert.equal(confCode({ name: 'evio', type: 'evio-cni' }), 1);
  assert.equal(confCode([]), 7);
  assert.equal(confCode('null'), 7);
  assert.equal(confCode({ ...good, name: '../x' }), 7);
  assert.equal(confCode({ ...good, name: undefined }), 7);
  assert.equal(confCode({ ...good, overlay: 'far too long a name' }), 7);
  assert.equal(confCode({ ...good, mtu: 100 }), 7);
  assert.equal(confCode({ ...good, ipam: { type: 'a/b' } }), 7);
});

test('an unsupported field is named with its value', () => {
  assert.throws(
    () => parseNetConf(JSON.stringify({ ...good, isGateway: true })),
    (error) =>
      error instanceof CniError &&
      cniCodes[error.reason] === 2 &&
      error.message === 'unsupported field "isGateway" with value true',
  );
});

test('CNI_ARGS: Kubernetes names its pod, unknown keys need IgnoreUnknown', () => {
  const text = 'K8S_POD_UID=u;IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web-0;X=y';
  assert.deepEqual(parseArgs(text), { namespace: 'ns', name: 'web-0', uid: 'u' });
  assert.equal(parseArgs(''), null);
  assert.equal(
    codeOf(() => parseArgs('X=y')),
    4,
  );
  assert.equal(
    codeOf(() => parseArgs('IgnoreUnknown=true;X=y')),
    0,
  );
  assert.equal(
    codeOf(() => parseArgs('IgnoreUnknown')),
    4,
  );
});

test('names that could leave their place are refused', () => {
  for (const id of ['', '../x', 'a b', '-a', 'x'.repeat(300)]) {
    assert.equal(
      codeOf(() => checkContainerId(id)),
      4,
      id,
    );
  }
  for (const name of ['', '.', '..', 'a/b', 'a:b', 'a b', 'sixteen-letters-', 'a\nb']) {
    assert.equal(
      codeOf(() => checkIfname(name)),
      4,
      name,
    );
  }
  assert.equal(
    codeOf(() => parsePath('/opt/cni/bin:relative')),
    4,
  );
  assert.deepEqual(parsePath('/opt/cni/bin::/usr/lib/cni'), ['/opt/cni/bin', '/usr/lib/cni']);
});
