/**
 * Two complete bridge cores, real ICE, real DTLS, the native datapath, over the addresses of this
 * machine: they find each other, carry frames, refuse a wrong key, and recover from a restart.
 */
import { strict as assert } from 'node:assert';
import { loadavg } from 'node:os';
import { carry, connect, newBridge, until } from '../support/bridge-pair.ts';
import { suite } from '../support/harness.ts';
import { newIdentity } from '../support/identity.ts';

const test = suite('session-pair');
const why = process.getuid?.() === 0 ? null : 'needs root for the TAP';

test.unless(why, 'two bridges that know each other are online within a second', async (t) => {
  const a = await newBridge(t, await newIdentity('a'));
  const b = await newBridge(t, await newIdentity('b'));
  carry(t, a, b);
  carry(t, b, a);
  await connect(a, b);
  await connect(b, a);
  await until(t, 'both online', () => a.ups.length + b.ups.length === 2);
  process.stdout.write(`set-up ${a.ups[0]?.setUpMs} ms, load ${loadavg()[0]}\n`);
  assert.ok((a.ups[0]?.setUpMs ?? 9_999) < 1_000);
  const session = await a.session(b.identity.nodeId);
  assert.equal(session?.state, 'online');
  assert.equal(session?.path.kind, 'direct-host');
  await until(
    t,
    'a round trip time',
    async () => (await a.session(b.identity.nodeId))?.rttMs !== null,
  );
});
