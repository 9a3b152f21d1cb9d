/** The key and certificate files: made once, refused when anything about them is wrong. */
import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, X509Certificate } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { EvioError } from '../../../../base/errors.ts';
import { NodeId } from '../../../../base/ids.ts';
import { loadIdentity } from '../../../../controller/identity/index.ts';
import { suite } from '../../../support/harness.ts';
import { load, startMs, temporaryFolder } from '../../../support/identities.ts';

const test = suite('identity files');

const refuses = (folder: string, message: RegExp) =>
  assert.rejects(load(folder), (error) => {
    assert.ok(error instanceof EvioError);
    assert.equal(error.code, 'identity.unusable');
    assert.match(error.message, message);
    assert.doesNotMatch(error.message, /BEGIN/);
    return true;
  });
const modeOf = (path: string): number => statSync(path).mode & 0o777;

test('a first start makes key and certificate with tight modes, a second reads them', async (t) => {
  const folder = join(temporaryFolder(t), 'state');
  const first = await load(folder);
  assert.deepEqual(readdirSync(folder).sort(), ['certificate.pem', 'key.pem']);
  assert.equal(modeOf(folder), 0o700);
  assert.equal(modeOf(join(folder, 'key.pem')), 0o600);
  const second = await load(folder);
  assert.equal(second.node, first.node);
  assert.equal(second.certificatePem, first.certificatePem);
});

test('the node id is the hash of the key, and the certificate is fit for both DTLS roles', async (t) => {
  const { node, certificatePem } = await load(temporaryFolder(t));
  const certificate = new X509Certificate(certificatePem);
  const spki = certificate.publicKey.export({ type: 'spki', format: 'der' });
  assert.equal(node, createHash('sha256').update(spki).digest('hex').slice(0, 32));
  assert.equal(certificate.subject, `CN=${node}`);
  assert.ok(certificate.verify(certificate.publicKey));
  assert.deepEqual([...certificate.keyUsage].sort(), ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
  assert.equal(certificate.ca, false);
  assert.equal(certificate.validToDate.getUTCFullYear(), 2045);
  assert.ok(certificate.validFromDate.getTime() < startMs);
});

test('a key that others can read is refused with the command that helps', async (t) => {
  const folder = temporaryFolder(t);
  await load(folder);
  for (const mode of [0o644, 0o640, 0o604]) {
    chmodSync(join(folder, 'key.pem'), mode);
    await refuses(folder, /mode 0\d+.* chmod 600 .*key\.pem/);
  }
});

for (const name of ['key.pem', 'certificate.pem']) {
  for (const [what, damage] of [
    ['truncated', (text: string) => text.slice(0, 60)],
    ['empty', () => ''],
    ['replaced by something else', () => 'hello'],
  ] as const) {
    test(`a ${name} that is ${what} is refused and left alone`, async (t) => {
      const folder = temporaryFolder(t);
      await load(folder);
      const path = join(folder, name);
      const damaged = damage(readFileSync(path, 'utf8'));
      writeFileSync(path, damaged);
      await refuses(folder, new RegExp(name.replace('.', '\\.')));
      assert.equal(readFileSync(path, 'utf8'), damaged);
    });
  }
}

test('key and certificate of different nodes are refused', async (t) => {
  const [folder, other] = [temporaryFolder(t), temporaryFolder(t)];
  const [mine, theirs] = [await load(folder), await load(other)];
  copyFileSync(join(other, 'certificate.pem'), join(folder, 'certificate.pem'));
  await refuses(folder, new RegExp(`${theirs.node}.*${mine.node}`));
});

test('a certificate without its key is refused, and no new key is made', async (t) => {
  const [folder, other] = [temporaryFolder(t), temporaryFolder(t)];
  await load(other);
  copyFileSync(join(other, 'certificate.pem'), join(folder, 'certificate.pem'));
  await refuses(folder, /key\.pem is missing/);
  assert.deepEqual(readdirSync(folder), ['certificate.pem']);
});

test('a lost certificate is made again for the same node', async (t) => {
  const folder = temporaryFolder(t);
  const { node } = await load(folder);
  rmSync(join(folder, 'certificate.pem'));
  assert.equal((await load(folder)).node, node);
});

for (const [kind, make] of [
  ['secp384r1', () => generateKeyPairSync('ec', { namedCurve: 'secp384r1' }).privateKey],
  ['secp256k1', () => generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey],
  ['ed25519', () => generateKeyPairSync('ed25519').privateKey],
] as const) {
  test(`a key of ${kind} is refused`, async (t) => {
    const folder = temporaryFolder(t);
    const pem = make().export({ type: 'pkcs8', format: 'pem' });
    writeFileSync(join(folder, 'key.pem'), pem, { mode: 0o600 });
    await refuses(folder, new RegExp(`key of ${kind}`));
  });
}

test('a directory in place of the key is refused', async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'key.pem'));
  await refuses(folder, /not a regular file/);
});

test('a configured node id must be that of the key', async (t) => {
  const stateDirectory = temporaryFolder(t);
  const { node } = await load(stateDirectory);
  const options = { stateDirectory, nowMs: startMs };
  assert.equal((await loadIdentity({ ...options, expectedNode: node })).node, node);
  const other = NodeId.parse('0'.repeat(32));
  await assert.rejects(loadIdentity({ ...options, expectedNode: other }), {
    code: 'identity.mismatch',
  });
});

test('the key does not show when the identity is printed', async (t) => {
  const identity = await load(temporaryFolder(t));
  assert.doesNotMatch(JSON.stringify(identity), /PRIVATE/);
});
