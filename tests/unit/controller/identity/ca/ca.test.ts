/** The CA of an overlay, judged by the openssl program and by its refusals. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EvioError } from '../../../../../base/errors.ts';
import { exec } from '../../../../../base/exec.ts';
import { OverlayId } from '../../../../../base/ids.ts';
import { readOverlayCa } from '../../../../../base/overlay-certificate.ts';
import { Secret } from '../../../../../base/secret.ts';
import {
  initCa,
  inspectRequest,
  listCa,
  renewList,
  signNode,
} from '../../../../../controller/identity/ca/index.ts';
import { readRevocationList } from '../../../../../controller/identity/ca/revocation-list.ts';
import { suite } from '../../../../support/harness.ts';
import { load, temporaryFolder } from '../../../../support/identities.ts';
import { makeOverlayCa } from '../../../../support/overlay-ca.ts';

const test = suite('overlay CA');
const openssl = (...args: readonly string[]): Promise<string> => exec(['openssl', ...args]);
const now = Date.now();
const newFolder = (t: Parameters<typeof temporaryFolder>[0]): string =>
  join(temporaryFolder(t), 'ca');
const refusal = (code: string, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof EvioError, String(error));
  assert.equal(error.code, code);
  assert.match(error.message, message);
  return true;
};

test('openssl verifies what it signs, and sees the profile', async (t) => {
  const ca = await makeOverlayCa(newFolder(t), now);
  const barn = await load(temporaryFolder(t));
  const out = join(temporaryFolder(t), 'barn.pem');
  const { issued } = await ca.sign(barn, 'barn', { out });
  const verified = await openssl('verify', '-x509_strict', '-CAfile', ca.certificateFile, out);
  assert.match(verified, /barn\.pem: OK/);
  const text = await openssl('x509', '-in', out, '-noout', '-text');
  assert.match(text, new RegExp(`Subject: CN = ?${barn.node}`));
  assert.match(text, /URI:evio:\/\/lab\/barn/);
  assert.match(text, /CA:FALSE/);
  assert.match(text, /Authority Key Identifier/);
  assert.equal(Math.round((Date.parse(issued.notAfter) - now) / 86_400_000), 825);
  const own = await openssl('x509', '-in', ca.certificateFile, '-noout', '-text');
  assert.match(own, /CA:TRUE, pathlen:0/);
  assert.match(own, /Certificate Sign, CRL Sign/);
  assert.equal(statSync(join(ca.directory, 'ca.key')).mode & 0o777, 0o600);
}, 20_000);

test('openssl takes the revocation list, and refuses who is on it', async (t) => {
  const ca = await makeOverlayCa(newFolder(t), now);
  const [barn, mill] = [await load(temporaryFolder(t)), await load(temporaryFolder(t))];
  const first = await ca.sign(barn, 'barn');
  const second = await ca.sign(mill, 'mill');
  const check = (file: string): Promise<string> =>
    openssl('verify', '-crl_check', '-CRLfile', ca.crlFile, '-CAfile', ca.certificateFile, file);
  assert.match(await check(first.file), /OK/);
  await ca.revoke(barn.node);
  await assert.rejects(check(first.file), /certificate revoked/);
  assert.match(await check(second.file), /OK/);
  const crl = ['crl', '-in', ca.crlFile, '-noout'];
  await openssl(...crl, '-verify', '-CAfile', ca.certificateFile);
  const text = await openssl(...crl, '-text');
  assert.match(text, /CRL Number:\s+2\b/);
  assert.match(text, /Next Update/);
  const list = await readRevocationList(
    readFileSync(ca.crlFile, 'utf8'),
    readOverlayCa(ca.certificatePem),
  );
  assert.deepEqual([list.number, list.revoked], [2, [first.issued.serial]]);
}, 20_000);

test('a request by openssl is signed, and one that proves no key is not', async (t) => {
  const folder = temporaryFolder(t);
  const ca = await makeOverlayCa(join(folder, 'ca'), now);
  const [key, csr] = [join(folder, 'k'), join(folder, 'r.csr')];
  await openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', key);
  await openssl('req', '-new', '-key', key, '-subj', '/CN=whatever', '-out', csr);
  const request = readFileSync(csr, 'utf8');
  const { node } = await inspectRequest(request, csr);
  const place = { directory: ca.directory, passphrase: null, nowMs: now, days: 10, out: null };
  const signed = await signNode({ ...place, request, from: csr, node, name: 'mill' });
  assert.match(await openssl('verify', '-CAfile', ca.certificateFile, signed.file), /OK/);

  const der = Buffer.from(request.replace(/-----.*-----/g, ''), 'base64');
  der[der.length - 5] = (der[der.length - 5] ?? 0) ^ 1;
  const pem = `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
  await assert.rejects(
    inspectRequest(pem, 'r'),
    refusal('ca.refused', /not signed by its own key/),
  );
  // Another node's certificate, signed by somebody else: whoever brings it has proved nothing.
  const foreign = readFileSync(signed.file, 'utf8');
  await assert.rejects(inspectRequest(foreign, 'f'), refusal('ca.refused', /proves nothing/));
  const rsa = join(folder, 'rsa.csr');
  await openssl(
    ...['req', '-new', '-newkey', 'rsa:2048', '-nodes', '-keyout', join(folder, 'rk')],
    ...['-subj', '/CN=x', '-out', rsa],
  );
  await assert.rejects(
    inspectRequest(readFileSync(rsa, 'utf8'), 'rsa'),
    refusal('ca.refused', /not ECDSA P-256/),
  );
  for (const text of ['', 'nonsense', readFileSync(key, 'utf8'), `${request}${request}`]) {
    await assert.rejects(inspectRequest(text, 'x'), refusal('ca.refused', /^x: /));
  }
}, 20_000);

test('another node id, name or time than it should be is not signed', async (t) => {
  const ca = await makeOverlayCa(newFolder(t), now);
  const [barn, mill] = [await load(temporaryFolder(t)), await load(temporaryFolder(t))];
  await assert.rejects(
    ca.sign({ ...barn, node: mill.node }, 'barn'),
    refusal('ca.refused', /--node-id says/),
  );
  await assert.rejects(ca.sign(barn, 'a b'), refusal('ca.refused', /is not 1 to 63 letters/));
  await assert.rejects(
    ca.sign(barn, 'barn', { days: 4_000 }),
    refusal('ca.refused', /CA itself ends in 36\d\d days/),
  );
  await ca.sign(barn, 'barn');
  await ca.sign(barn, 'barn'); // a renewal
  await assert.rejects(ca.sign(mill, 'barn'), refusal('ca.refused', /revoke that one first/));
  await ca.revoke(barn.node);
  await ca.sign(mill, 'barn');
  const { certificates } = await listCa(ca.directory, now);
  assert.deepEqual(
    certificates.map(({ state }) => state),
    ['revoked', 'revoked', 'valid'],
  );
  await assert.rejects(ca.revoke(barn.node), refusal('ca.refused', /revoked already/));
  await assert.rejects(ca.revoke('f'.repeat(32)), refusal('ca.refused', /nothing was signed/));
}, 20_000);

test('nothing is ever overwritten', async (t) => {
  const folder = newFolder(t);
  const ca = await makeOverlayCa(folder, now);
  await assert.rejects(makeOverlayCa(folder, now), refusal('ca.unusable', /holds a CA already/));
  const out = join(temporaryFolder(t), 'precious');
  writeFileSync(out, 'precious');
  const barn = await load(temporaryFolder(t));
  await assert.rejects(ca.sign(barn, 'barn', { out }), refusal('ca.unusable', /not overwritten/));
  assert.equal(readFileSync(out, 'utf8'), 'precious');
  assert.equal((await listCa(folder, now)).certificates.length, 0, 'and nothing was signed');
}, 20_000);

test('an encrypted key needs its passphrase', async (t) => {
  const directory = newFolder(t);
  const overlay = OverlayId.parse('lab');
  const right = new Secret('correct horse');
  const place = { directory, nowMs: now, crlDays: 30 };
  await initCa({ ...place, passphrase: right, overlay, days: 100 });
  assert.match(readFileSync(join(directory, 'ca.key'), 'utf8'), /BEGIN ENCRYPTED PRIVATE KEY/);
  await assert.rejects(
    renewList({ ...place, passphrase: null }),
    refusal('ca.unusable', /is encrypted/),
  );
  await assert.rejects(
    renewList({ ...place, passphrase: new Secret('wrong') }),
    refusal('ca.unusable', /passphrase is wrong/),
  );
  await renewList({ ...place, passphrase: right });
  assert.equal((await listCa(directory, now)).crlNumber, 2);
}, 20_000);

test('many at once sign one after the other, and leave no lock', async (t) => {
  const ca = await makeOverlayCa(newFolder(t), now);
  const nodes = await Promise.all(Array.from({ length: 8 }, () => load(temporaryFolder(t))));
  await Promise.all(nodes.map((node, n) => ca.sign(node, `n${n}`)));
  const { certificates } = await listCa(ca.directory, now);
  assert.equal(new Set(certificates.map(({ serial }) => serial)).size, 8);
  assert.deepEqual(
    readdirSync(ca.directory).filter((name) => /lock|tmp/.test(name)),
    [],
  );
}, 20_000);

test('a lock that nobody gives back, and a damaged record, are named', async (t) => {
  const ca = await makeOverlayCa(newFolder(t), now);
  const barn = await load(temporaryFolder(t));
  writeFileSync(join(ca.directory, 'lock'), '4242\n');
  await assert.rejects(ca.sign(barn, 'barn'), refusal('ca.busy', /lock is held by process 4242/));
  writeFileSync(join(ca.directory, 'issued.json'), '{');
  await assert.rejects(
    listCa(ca.directory, now),
    refusal('ca.unusable', /issued\.json is damaged/),
  );
}, 20_000);
