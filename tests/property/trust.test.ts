/** Whatever bytes a certificate, request or revocation list is made of: an answer, never a crash. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { EvioError } from '../../base/errors.ts';
import { OverlayId } from '../../base/ids.ts';
import { readOverlayCa } from '../../base/overlay-certificate.ts';
import { inspectRequest } from '../../controller/identity/ca/index.ts';
import { readRevocationList } from '../../controller/identity/ca/revocation-list.ts';
import { peerProblem } from '../../tincan-bridge/session/peer-certificate.ts';
import { suite, type T } from '../support/harness.ts';
import { load, startMs, temporaryFolder } from '../support/identities.ts';
import { makeOverlayCa } from '../support/overlay-ca.ts';

const test = suite('trust properties');

async function stage(t: T) {
  const ca = await makeOverlayCa(join(temporaryFolder(t), 'ca'), startMs);
  const identity = await load(temporaryFolder(t));
  const { pem } = await ca.sign(identity, 'barn');
  await ca.revoke(identity.node);
  const crl = readFileSync(ca.crlFile, 'utf8');
  return { ca: readOverlayCa(ca.certificatePem), identity, pem, crl };
}

const derOf = (pem: string): Buffer => Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64');
const pemOf = (kind: string, der: Uint8Array): string =>
  `-----BEGIN ${kind}-----\n${Buffer.from(der).toString('base64')}\n-----END ${kind}-----\n`;

/** Some bytes of `der` changed, or its end cut off, or any bytes at all. */
const damaged = (der: Buffer): fc.Arbitrary<Uint8Array> =>
  fc.oneof(
    fc
      .array(fc.tuple(fc.nat(der.length - 1), fc.integer({ min: 1, max: 255 })), {
        minLength: 1,
        maxLength: 4,
      })
      .map((changes) => {
        const copy = Buffer.from(der);
        for (const [at, mask] of changes) copy[at] = (copy[at] ?? 0) ^ mask;
        return copy;
      })
      .filter((copy) => !copy.equals(der)),
    fc.nat(der.length - 1).map((length) => der.subarray(0, length)),
    fc.uint8Array({ maxLength: 400 }),
  );

test('a damaged certificate is never good in a handshake', async (t) => {
  const { ca, identity, pem } = await stage(t);
  const trust = { ca, overlay: OverlayId.parse('lab'), revoked: new Set<string>() };
  const der = derOf(pem);
  assert.equal(peerProblem(der, identity.node, trust, startMs), null);
  fc.assert(
    fc.property(damaged(der), (bytes) => {
      assert.equal(typeof peerProblem(bytes, identity.node, trust, startMs), 'string');
    }),
    { numRuns: 2_000 },
  );
}, 20_000);

// DER readers forgive a wrong length around the signature's numbers; what is signed stays what it was.
test('a damaged revocation list is refused, or says what the whole one says', async (t) => {
  const { ca, crl } = await stage(t);
  const whole = await readRevocationList(crl, ca);
  assert.equal(whole.revoked.length, 1);
  await fc.assert(
    fc.asyncProperty(damaged(derOf(crl)), async (bytes) => {
      const read = await readRevocationList(pemOf('X509 CRL', bytes), ca).catch(
        (error: unknown) => error,
      );
      if (!(read instanceof Error)) assert.deepEqual(read, whole);
    }),
    { numRuns: 300 },
  );
}, 20_000);

test('any text as a request is refused by name', async (t) => {
  const { pem } = await stage(t);
  const kinds = fc.constantFrom('CERTIFICATE', 'CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST');
  const texts = fc.oneof(
    fc.string(),
    fc.tuple(kinds, damaged(derOf(pem))).map(([kind, der]) => pemOf(kind, der)),
  );
  await fc.assert(
    fc.asyncProperty(texts, async (text) => {
      await assert.rejects(inspectRequest(text, 'x'), (error) => {
        assert.ok(error instanceof EvioError);
        assert.equal(error.code, 'ca.refused');
        return true;
      });
    }),
    { numRuns: 300 },
  );
}, 20_000);
