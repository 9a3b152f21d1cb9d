/** Whether a certificate of an overlay's CA is good: one rule for all, as a table. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type NodeId, OverlayId } from '../../../base/ids.ts';
import { readNodeCertificate } from '../../../base/node-certificate.ts';
import {
  certificateProblem,
  readOverlayCa,
  readPemCertificate,
  serialOf,
} from '../../../base/overlay-certificate.ts';
import { peerProblem } from '../../../tincan-bridge/session/peer-certificate.ts';
import { suite, type T } from '../../support/harness.ts';
import { load, startMs, temporaryFolder } from '../../support/identities.ts';
import { makeOverlayCa, type OverlayCaFolder } from '../../support/overlay-ca.ts';

const test = suite('overlay certificate');
const dayMs = 86_400_000;
const lab = OverlayId.parse('lab');

interface Stage {
  readonly ca: OverlayCaFolder;
  readonly pem: string;
  readonly node: NodeId;
  readonly selfSigned: string;
  readonly judge: (change?: {
    readonly pem?: string;
    readonly caPem?: string;
    readonly overlay?: string;
    readonly node?: NodeId;
    readonly revoked?: readonly string[];
    readonly nowMs?: number;
  }) => string | null;
}

async function stage(t: T): Promise<Stage> {
  const ca = await makeOverlayCa(join(temporaryFolder(t), 'ca'), startMs);
  const identity = await load(temporaryFolder(t));
  const { pem } = await ca.sign(identity, 'barn', { days: 10 });
  return {
    ca,
    pem,
    node: identity.node,
    selfSigned: identity.certificatePem,
    judge: (change = {}) =>
      certificateProblem(
        readPemCertificate(change.pem ?? pem),
        {
          ca: readOverlayCa(change.caPem ?? ca.certificatePem),
          overlay: OverlayId.parse(change.overlay ?? 'lab'),
          node: change.node ?? identity.node,
          revoked: new Set(change.revoked ?? []),
        },
        change.nowMs ?? startMs,
      ),
  };
}

test('what the CA has signed is good, and each thing that is wrong is named', async (t) => {
  const { ca, judge, pem, selfSigned } = await stage(t);
  assert.equal(judge(), null);
  assert.match(judge({ pem: selfSigned }) ?? '', /not signed by the CA of overlay lab/);
  const other = await load(temporaryFolder(t));
  assert.match(judge({ node: other.node }) ?? '', /not of node/);
  assert.match(judge({ overlay: 'barn' }) ?? '', /is for overlay lab/);
  const serial = serialOf(readPemCertificate(pem));
  assert.match(judge({ revoked: [serial] }) ?? '', /is revoked/);
  assert.equal(judge({ revoked: [`${serial}0`] }), null);
  assert.match(judge({ pem: ca.certificatePem }) ?? '', /one of a CA/);
}, 20_000);

test('a CA of the same name and overlay with another key has signed nothing', async (t) => {
  const { judge } = await stage(t);
  const twin = await makeOverlayCa(join(temporaryFolder(t), 'ca'), startMs);
  assert.match(judge({ caPem: twin.certificatePem }) ?? '', /not signed by the CA/);
}, 20_000);

test('its time is exact at the end and lenient at the begin, and a wrong clock is named', async (t) => {
  const { judge } = await stage(t);
  assert.equal(judge({ nowMs: startMs + 10 * dayMs }), null);
  const late = judge({ nowMs: startMs + 10 * dayMs + 2_000 }) ?? '';
  assert.match(late, /expired at 2026-01-11T00:00:00Z, 2 s ago by our clock/);
  const beginMs = startMs - 3_600_000;
  assert.equal(judge({ nowMs: beginMs - 300_000 }), null);
  const early = judge({ nowMs: beginMs - 400_000 }) ?? '';
  assert.match(early, /400 s ahead of our clock: one of the clocks is wrong/);
}, 20_000);

test('only one self-signed CA certificate can be the CA of an overlay', async (t) => {
  const { ca, pem, selfSigned } = await stage(t);
  assert.throws(() => readOverlayCa(pem), /not the certificate of a CA/);
  assert.throws(() => readOverlayCa(selfSigned), /not the certificate of a CA/);
  assert.throws(() => readOverlayCa(`${ca.certificatePem}${pem}`), /2 PEM certificates/);
  assert.throws(() => readOverlayCa(''), /0 PEM certificates/);
  assert.throws(() => readOverlayCa('x'.repeat(9_000)), /at most 8192/);
}, 20_000);

test('both ends of a handshake judge the same, and without a CA only by the key', async (t) => {
  const { ca, pem, node, selfSigned } = await stage(t);
  const der = (text: string): Uint8Array => readNodeCertificate(text).der;
  const trust = { ca: readOverlayCa(ca.certificatePem), overlay: lab, revoked: new Set<string>() };
  assert.equal(peerProblem(der(pem), node, trust, startMs), null);
  assert.match(peerProblem(der(selfSigned), node, trust, startMs) ?? '', /not signed by the CA/);
  assert.equal(peerProblem(der(selfSigned), node, null, startMs), null);
  const other = await load(temporaryFolder(t));
  assert.match(peerProblem(der(pem), other.node, trust, startMs) ?? '', /shows the key of node/);
  assert.match(peerProblem(new Uint8Array([1]), node, null, startMs) ?? '', /unusable/);
}, 20_000);
