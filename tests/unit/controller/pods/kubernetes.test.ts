/** Pod ranges from a Kubernetes API: kubeconfig files, the certificate, what the node says. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseKubeconfig, parseYaml } from '../../../../controller/pods/core/kubeconfig.ts';
import { readPodRanges } from '../../../../controller/pods/kubernetes.ts';
import { createCa } from '../../../support/ca.ts';
import { suite, type T } from '../../../support/harness.ts';

const test = suite('pod ranges of kubernetes');

/** As kubeadm writes it. */
const kubelet = (server: string, ca: string): string => `apiVersion: v1
kind: Config
clusters:
- cluster:
    certificate-authority-data: ${Buffer.from(ca).toString('base64')}
    server: ${server}
  name: kubernetes
contexts:
- context:
    cluster: kubernetes
    user: system:node:barn   # the kubelet
  name: system:node:barn@kubernetes
current-context: "system:node:barn@kubernetes"
preferences: {}
users:
- name: system:node:barn
  user:
    tokenFile: token
`;

test('the YAML of kubeconfigs is read, anything else is named with its line', () => {
  assert.deepEqual(
    parseYaml("a:\n  - x: 1\n    y: 'it''s'\n  -\n    x: \"2\\n\"\nb: []\nc: null\n"),
    {
      a: [{ x: '1', y: "it's" }, { x: '2\n' }],
      b: [],
      c: null,
    },
  );
  assert.deepEqual(parseYaml('{"a": [1]}'), { a: [1] });
  for (const [text, line] of [
    ['a: &x 1', 1],
    ['a:\n  b: |\n    c', 2],
    ['a: 1\n    b: 2', 2],
    ['a: {b: 1}', 1],
  ] as const) {
    assert.throws(() => parseYaml(text), new RegExp(`line ${line} is not understood`), text);
  }
});

test('a kubeconfig without TLS or without a credential is refused', () => {
  const good = kubelet('https://10.0.0.1:6443', 'x');
  assert.equal(parseKubeconfig(good).server, 'https://10.0.0.1:6443');
  assert.throws(() => parseKubeconfig(good.replace('https:', 'http:')), /kubeconfig: .*https/s);
  assert.throws(() => parseKubeconfig(good.replace('tokenFile', 'exec')), /neither a token/);
  assert.throws(
    () => parseKubeconfig(good.replace('user: system:node:barn', 'user: other')),
    /no user has the name "other"/,
  );
});

/** An API server that knows one node, and whom it was asked by. */
async function serve(t: T) {
  const folder = mkdtempSync(join(tmpdir(), 'evio-kube-'));
  t.defer(() => rmSync(folder, { recursive: true }));
  const ca = await createCa(join(folder, 'ca'));
  const { certFile, keyFile } = await ca.issue({ name: 'api', ips: ['127.0.0.1'] });
  const asked: string[] = [];
  let spec: object = { podCIDR: '10.42.3.0/24', podCIDRs: ['10.42.3.0/24', 'fd42:3::/64'] };
  const server = createServer(
    { cert: readFileSync(certFile), key: readFileSync(keyFile) },
    (request, response) => {
      asked.push(`${request.url} ${request.headers.authorization}`);
      response.statusCode = request.url?.endsWith('/barn') === true ? 200 : 404;
      response.end(JSON.stringify({ kind: 'Node', spec }));
    },
  );
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.defer(() => void server.close());
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  writeFileSync(join(folder, 'token'), 'secret\n');
  const kubeconfig = join(folder, 'kubelet.conf');
  const write = (caText: string): void =>
    writeFileSync(kubeconfig, kubelet(`https://127.0.0.1:${address.port}`, caText));
  write(readFileSync(ca.certFile, 'utf8'));
  const ask = (nodeName: string) =>
    readPodRanges({ kubeconfig, nodeName }, {}, AbortSignal.timeout(5_000));
  const set = (to: object): void => {
    spec = to;
  };
  return { ask, asked, write, folder, set };
}

test('the ranges of the node come over TLS, with the token from its file', async (t) => {
  const { ask, asked, set } = await serve(t);
  assert.deepEqual(await ask('barn'), ['10.42.3.0/24', 'fd42:3::/64']);
  assert.deepEqual(asked, ['/api/v1/nodes/barn Bearer secret']);
  set({ podCIDR: '10.42.4.0/24' });
  assert.deepEqual(await ask('barn'), ['10.42.4.0/24']);
  set({});
  assert.deepEqual(await ask('barn'), []);
  await assert.rejects(ask('mill'), /answers 404/);
});

test('a server whose certificate another CA has signed is told nothing', async (t) => {
  const { ask, asked, write, folder } = await serve(t);
  const other = await createCa(join(folder, 'other'), 'other CA');
  write(readFileSync(other.certFile, 'utf8'));
  await assert.rejects(ask('barn'), /certificate|self-signed|issuer/i);
  assert.deepEqual(asked, []);
});

test('outside of a pod there is no service account', async () => {
  const source = { kubeconfig: null, nodeName: 'barn' };
  await assert.rejects(readPodRanges(source, {}, AbortSignal.timeout(1_000)), /not in a pod/);
});
