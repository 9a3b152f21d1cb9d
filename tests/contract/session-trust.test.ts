/**
 * Trust policy `ca` in the handshake: both ends judge the other's certificate, whatever the
 * controllers were told.
 */
import { strict as assert } from 'node:assert';
import { join } from 'node:path';
import { readPemCertificate, serialOf } from '../../base/overlay-certificate.ts';
import { carry, connect, newBridge, until } from '../support/bridge-pair.ts';
import { suite } from '../support/harness.ts';
import { temporaryFolder } from '../support/identities.ts';
import { newIdentity, type TestIdentity } from '../support/identity.ts';
import { makeOverlayCa } from '../support/overlay-ca.ts';

const test = suite('session-trust');
const why = process.getuid?.() === 0 ? null : 'needs root for the TAP';

test.unless(
  why,
  'with a CA both ends judge the certificate in the handshake',
  async (t) => {
    const ca = await makeOverlayCa(join(temporaryFolder(t), 'ca'), Date.now(), 'test');
    const signed = async (name: string): Promise<TestIdentity> => {
      const made = await newIdentity(name);
      const { pem } = await ca.sign({ node: made.nodeId, certificatePem: made.certificate }, name);
      return { ...made, certificate: pem };
    };
    const anchors = { ca: ca.certificatePem, revoked: [] };
    const a = await newBridge(t, await signed('a'), undefined, anchors);
    const b = await newBridge(t, await signed('b'), undefined, anchors);
    // Its controller was told lies, so it believes anybody and is believed to be a member.
    const stranger = await newBridge(t, await newIdentity('stranger'));
    for (const other of [b, stranger]) {
      carry(t, a, other);
      carry(t, other, a);
      await connect(a, other);
      await connect(other, a);
      const { nodeId } = other.identity;
      if (other === b) {
        await until(t, 'b online', async () => (await a.session(nodeId))?.state === 'online');
        continue;
      }
      const refused = async (): Promise<boolean> =>
        /not signed by the CA of overlay test/.test((await a.session(nodeId))?.lastError ?? '');
      await until(t, 'the stranger is refused', refused);
      assert.equal(a.ups.filter(({ peer }) => peer === nodeId).length, 0);
    }
    const late = await newBridge(t, await signed('late'), undefined, anchors);
    const revoked = [serialOf(readPemCertificate(late.identity.certificate))];
    await a.bridge.handlers.setTrust({ trust: { ...anchors, revoked } });
    carry(t, a, late);
    carry(t, late, a);
    await connect(a, late);
    await connect(late, a);
    await until(t, 'the revoked one is refused', async () =>
      /is revoked/.test((await a.session(late.identity.nodeId))?.lastError ?? ''),
    );
    assert.equal(a.ups.length, 1);

    // One that is up ends with the call, on both sides, and does not come back.
    const serial = serialOf(readPemCertificate(b.identity.certificate));
    await a.bridge.handlers.setTrust({ trust: { ...anchors, revoked: [...revoked] } });
    assert.equal((await a.session(b.identity.nodeId))?.state, 'online', 'it is none of those');
    await a.bridge.handlers.setTrust({ trust: { ...anchors, revoked: [serial] } });
    assert.match(
      a.downs.find(({ peer }) => peer === b.identity.nodeId)?.reason ?? '',
      /is revoked/,
    );
    await until(t, 'the far side has noticed', () => b.downs.length === 1, 2_000);
    await until(t, 'it is refused from now on', async () => {
      const session = await a.session(b.identity.nodeId);
      return session?.state !== 'online' && /is revoked/.test(session?.lastError ?? '');
    });
    assert.equal(a.ups.length, 1);
  },
  20_000,
);
