/** Trust policy `ca` in the controller: verdicts, the list that is reread, what is reported. */
import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EvioError } from '../../../../base/errors.ts';
import { OverlayId } from '../../../../base/ids.ts';
import { silentLogger } from '../../../../base/log.ts';
import { readNodeCertificate } from '../../../../base/node-certificate.ts';
import { CaTrust } from '../../../../controller/identity/ca-trust.ts';
import type { NodeIdentity } from '../../../../controller/identity/index.ts';
import { suite, type T } from '../../../support/harness.ts';
import { load, setClock, startMs, temporaryFolder } from '../../../support/identities.ts';
import { makeOverlayCa } from '../../../support/overlay-ca.ts';
import { waitFor } from '../../../support/scope.ts';

const test = suite('trust policy ca');
const overlay = OverlayId.parse('lab');
const dayMs = 86_400_000;

async function stage(t: T) {
  const folder = temporaryFolder(t);
  const ca = await makeOverlayCa(join(folder, 'ca'), startMs);
  const [me, bob] = [await load(join(folder, 'me')), await load(join(folder, 'bob'))];
  const own = await ca.sign(me, 'me');
  const ofBob = await ca.sign(bob, 'bob', { days: 100 });
  const crlFile = join(folder, 'crl.pem');
  copyFileSync(ca.crlFile, crlFile);
  const ticks: (() => void)[] = [];
  const clock = Object.assign(setClock(), {
    after: (_ms: number, _signal: AbortSignal, call: () => void) => void ticks.push(call),
  });
  let changes = 0;
  const config = { overlay, ca: ca.certificatePem, certificate: own.pem, crlFile };
  const open = (change: object = {}, self: NodeIdentity = me): Promise<CaTrust> =>
    CaTrust.open({
      config: { ...config, ...change },
      self: self.node,
      clock,
      log: silentLogger,
      changed: () => {
        changes += 1;
      },
    });
  const claim = (pem: string, name = 'bob') => {
    const { node, x509: certificate } = readNodeCertificate(pem);
    return { overlay, account: 'x@lab.test', name, node, certificate };
  };
  return {
    ...{ folder, ca, bob, ofBob, crlFile, clock, open, claim, me },
    changes: () => changes,
    /** Time for another look at the file; one that is under way still hides it. */
    tick: () => ticks.splice(0).forEach((call) => void call()),
  };
}

const reasonOf = (verdict: ReturnType<CaTrust['judge']>): string =>
  verdict.accepted ? 'accepted' : verdict.reason;

test('a peer is in by its certificate, under the name in it, until it ends', async (t) => {
  const { open, claim, ofBob, bob, clock } = await stage(t);
  const trust = await open();
  assert.equal(reasonOf(trust.judge(claim(ofBob.pem))), 'accepted');
  assert.match(reasonOf(trust.judge(claim(bob.certificatePem))), /not signed by the CA/);
  assert.match(reasonOf(trust.judge(claim(ofBob.pem, 'me'))), /its certificate says "bob"/);
  clock.wallMs = startMs + 101 * dayMs;
  assert.match(reasonOf(trust.holds(claim(ofBob.pem))), /expired/);
}, 20_000);

test('a list that is replaced counts at the next look, and others are told', async (t) => {
  const { open, claim, ofBob, bob, ca, crlFile, tick, changes } = await stage(t);
  const trust = await open();
  trust.watch(t.signal);
  await ca.revoke(bob.node);
  tick();
  assert.equal(reasonOf(trust.holds(claim(ofBob.pem))), 'accepted');
  copyFileSync(ca.crlFile, crlFile);
  await waitFor('the list is read', () => {
    tick();
    return changes() === 1;
  });
  assert.match(reasonOf(trust.holds(claim(ofBob.pem))), /is revoked/);
  assert.deepEqual(trust.anchors().revoked, [ofBob.issued.serial]);
  assert.deepEqual([trust.snapshot().crlNumber, trust.snapshot().revoked], [2, 1]);
}, 20_000);

test('a list that is damaged, foreign, older or gone leaves the last one in use', async (t) => {
  const { folder, open, claim, ofBob, bob, ca, crlFile, tick, changes } = await stage(t);
  const first = readFileSync(crlFile);
  await ca.revoke(bob.node);
  copyFileSync(ca.crlFile, crlFile);
  const trust = await open();
  trust.watch(t.signal);
  const other = await makeOverlayCa(join(folder, 'other'), startMs);
  const problem = (): string => trust.snapshot().problem?.message ?? '';
  const steps: readonly (readonly [() => void, RegExp])[] = [
    [() => writeFileSync(crlFile, 'nonsense'), /holds no PEM revocation list/],
    [() => copyFileSync(other.crlFile, crlFile), /did not sign/],
    [() => writeFileSync(crlFile, first), /number 1 is older than 2/],
    [() => rmSync(crlFile), /ENOENT/],
  ];
  for (const [step, why] of steps) {
    step();
    await waitFor(String(why), () => {
      tick();
      return why.test(problem());
    });
    assert.match(problem(), /the list before it is still used/);
    assert.match(reasonOf(trust.holds(claim(ofBob.pem))), /is revoked/);
  }
  assert.equal(changes(), 0);
  copyFileSync(ca.crlFile, crlFile);
  await waitFor('all is well', () => {
    tick();
    return trust.snapshot().problem === null;
  });
}, 20_000);

test('a list that is out of date still revokes, and is reported', async (t) => {
  const { open, claim, ofBob, bob, ca, crlFile, clock } = await stage(t);
  await ca.revoke(bob.node);
  copyFileSync(ca.crlFile, crlFile);
  const trust = await open();
  clock.wallMs = startMs + 31 * dayMs;
  assert.match(reasonOf(trust.holds(claim(ofBob.pem))), /is revoked/);
  assert.equal(trust.snapshot().problem?.code, 'trust.stale');
  assert.match(trust.snapshot().problem?.message ?? '', /out of date since 2026-01-31/);
}, 20_000);

test('the end of the own certificate is reported before and after', async (t) => {
  const { open, clock, ca, me, crlFile } = await stage(t);
  const trust = await open({ crlFile: null });
  assert.equal(trust.snapshot().problem, null);
  clock.wallMs = startMs + 800 * dayMs;
  assert.match(trust.snapshot().problem?.message ?? '', /ends in 25 days/);
  clock.wallMs = startMs + 826 * dayMs;
  assert.match(trust.snapshot().problem?.message ?? '', /refused by its peers: .*expired/);
  clock.wallMs = startMs;
  await ca.revoke(me.node);
  copyFileSync(ca.crlFile, crlFile);
  assert.match((await open()).snapshot().problem?.message ?? '', /is revoked/);
}, 20_000);

test('what could never work stops the start', async (t) => {
  const { open, ofBob, bob, folder } = await stage(t);
  const fails = async (change: object, why: RegExp, self?: NodeIdentity): Promise<void> => {
    await assert.rejects(open(change, self), (error) => {
      assert.ok(error instanceof EvioError);
      assert.equal(error.code, 'trust.unusable');
      assert.match(error.message, why);
      return true;
    });
  };
  await fails({ certificate: ofBob.pem }, /certificate is of node/);
  await fails({}, /certificate is of node/, bob);
  await fails({ ca: ofBob.pem }, /not the certificate of a CA/);
  await fails({ crlFile: join(folder, 'none') }, /revocation list .*ENOENT/);
  const other = await makeOverlayCa(join(folder, 'other'), startMs);
  await fails({ ca: other.certificatePem }, /not signed by the CA/);
  await fails({ crlFile: other.crlFile }, /did not sign/);
}, 20_000);
