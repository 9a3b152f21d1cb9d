/**
 * Two complete bridge cores, real ICE, real DTLS, the native datapath, over the addresses of this
 * machine: they find each other, carry frames, refuse a wrong key, and recover from a restart.
 */
import { strict as assert } from 'node:assert';
import { loadavg } from 'node:os';
import { exec } from '../../base/exec.ts';
import type { RecordKeys } from '../../tincan-bridge/datapath/datapath.ts';
import {
  carry,
  connect,
  newBridge,
  noServers,
  type TestBridge,
  until,
} from '../support/bridge-pair.ts';
import { suite, type T } from '../support/harness.ts';
import { newIdentity } from '../support/identity.ts';
import { assertWithin } from '../support/pace.ts';

const test = suite('session-pair');
const why = process.getuid?.() === 0 ? null : 'needs root for the TAP';

async function onlinePair(
  t: T,
  more: Parameters<typeof newBridge>[4] = {},
): Promise<readonly [TestBridge, TestBridge]> {
  const a = await newBridge(t, await newIdentity('a'));
  const b = await newBridge(t, await newIdentity('b'), noServers, null, more);
  carry(t, a, b);
  carry(t, b, a);
  await connect(a, b);
  await connect(b, a);
  await until(t, 'both online', () => a.ups.length === 1 && b.ups.length === 1);
  return [a, b];
}

test.unless(
  why,
  'two bridges that know each other are online within a second',
  async (t) => {
    const [a, b] = await onlinePair(t);
    process.stdout.write(`set-up ${a.ups[0]?.setUpMs} ms, load ${loadavg()[0]}\n`);
    await assertWithin('the set-up', a.ups[0]?.setUpMs ?? 99_999, 1_000);
    const session = await a.session(b.identity.nodeId);
    assert.equal(session?.state, 'online');
    assert.equal(session?.path.kind, 'direct-host');
    assert.match(session?.cipher ?? '', /^ECDHE-ECDSA-/);
    for (const [x, y] of [
      [a, b],
      [b, a],
    ] as const) {
      await until(
        t,
        'a round trip time',
        async () => (await x.session(y.identity.nodeId))?.rttMs != null,
      );
    }
  },
  10_000,
);

test.unless(
  why,
  'one end without instructions for AES is enough for ChaCha20, which leaves frames 8 bytes more',
  async (t) => {
    const [a, b] = await onlinePair(t, { preferChaCha: true });
    const session = await a.session(b.identity.nodeId);
    assert.equal(session?.cipher, 'ECDHE-ECDSA-CHACHA20-POLY1305');
    const withAes = session?.path.remote.startsWith('[') ? 1_400 : 1_420;
    assert.equal(session?.mtu, withAes + 8);
    const rtt = async () => (await a.session(b.identity.nodeId))?.rttMs != null;
    await until(t, 'a round trip under these keys', rtt);
  },
  10_000,
);

test.unless(
  why,
  'a frame of one TAP comes out of the other, and its station is learnt',
  async (t) => {
    const [a, b] = await onlinePair(t);
    await exec(['ip', 'addr', 'add', '10.214.7.1/24', 'dev', a.tap]);
    // Nobody answers: what matters is the ARP question, a broadcast.
    await exec(['ping', '-c', '1', '-W', '1', '-I', a.tap, '10.214.7.2']).catch(() => {});
    await until(t, 'the station is known', async () => {
      const { stations } = await b.bridge.handlers.status({});
      return stations.some((s) => s.node === a.identity.nodeId);
    });
    const { counters } = await b.bridge.handlers.status({});
    assert.ok((counters['tapWrittenFrames'] ?? 0) > 0);
  },
  10_000,
);

test.unless(
  why,
  'a peer with another key than its node id is refused, and not hammered',
  async (t) => {
    const a = await newIdentity('a');
    const b = await newBridge(t, await newIdentity('b'));
    let other = await newIdentity('other');
    while (other.nodeId < b.identity.nodeId !== a.nodeId < b.identity.nodeId) {
      other = await newIdentity('other'); // the roles depend on the order of the ids
    }
    const c = await newBridge(t, other);
    carry(t, b, c);
    c.deliver = (_peer, description) => {
      b.bridge.handlers.describe({ peer: a.nodeId, description }).catch(() => {});
    };
    await b.bridge.handlers.connect({ peer: a.nodeId });
    await connect(c, b);
    await until(t, 'refused', async () => {
      return (await b.session(a.nodeId))?.lastError?.includes(other.nodeId) === true;
    });
    const session = await b.session(a.nodeId);
    assert.equal(b.ups.length, 0);
    assert.notEqual(session?.state, 'online');
    const attempts = session?.history.filter(({ what }) => what.startsWith('attempt:')).length ?? 0;
    assert.ok(attempts <= 3, `${attempts} attempts`);
  },
  15_000,
);

test.unless(
  why,
  'a side that crashes and restarts is online again at once, over a new association',
  async (t) => {
    const [a, b] = await onlinePair(t);
    await a.crash();
    const again = await newBridge(t, a.identity);
    carry(t, again, b);
    carry(t, b, again);
    await connect(again, b);
    await until(t, 'online again', () => again.ups.length === 1 && b.paths.length === 1);
    assert.equal(b.downs.length, 0, 'the old association stayed until the new one was there');
    await until(
      t,
      'a round trip',
      async () => (await again.session(b.identity.nodeId))?.rttMs != null,
    );
  },
  15_000,
);

test.unless(
  why,
  'a side that stops in order says bye, and is answered when it is back',
  async (t) => {
    const [a, b] = await onlinePair(t);
    await a.bridge.stop();
    await until(t, 'down on the far side', () => b.downs.length === 1, 2_000);
    assert.match(b.downs[0]?.reason ?? '', /closed on the far side/);
    const again = await newBridge(t, a.identity);
    carry(t, again, b);
    carry(t, b, again);
    await connect(again, b);
    await until(t, 'online again', () => again.ups.length === 1 && b.ups.length === 2);
  },
  15_000,
);

test.unless(
  why,
  'a session that is not wanted any more leaves no socket',
  async (t) => {
    const [a, b] = await onlinePair(t);
    await a.bridge.handlers.disconnect({ peer: b.identity.nodeId, reason: 'test' });
    await until(t, 'drained', () => a.downs.length === 1);
    await until(t, 'its sockets are closed', async () => {
      const { counters, sessions } = await a.bridge.handlers.status({});
      return counters['sockets'] === 0 && sessions.length === 0;
    });
    assert.equal(a.downs[0]?.reason, 'test');
  },
  10_000,
);

test.unless(
  why,
  'a peer that falls silent is suspected within 5 s and given up within 30 s',
  async (t) => {
    const [a, b] = await onlinePair(t);
    a.deliver = () => {}; // nothing can be negotiated either
    b.deliver = () => {};
    const stopped = performance.now();
    await b.crash();
    const tried = async (): Promise<boolean> =>
      (await a.session(b.identity.nodeId))?.history.some((h) =>
        h.what.includes('nothing heard'),
      ) === true;
    await until(t, 'another path is sought', tried, 8_000);
    const suspectMs = performance.now() - stopped;
    await until(t, 'down', () => a.downs.length === 1, 30_000);
    const downMs = performance.now() - stopped;
    process.stdout.write(
      `suspected after ${Math.round(suspectMs)} ms, down after ${Math.round(downMs)}\n`,
    );
    await assertWithin('the suspicion', suspectMs, 6_500);
    await assertWithin('the end', downMs, 30_000);
  },
  45_000,
);

test.unless(
  why,
  'keys are replaced inside the link, each time by others, and no copy of them is kept',
  async (t) => {
    const given: RecordKeys[] = [];
    const seen = new Set<string>();
    const onKeys = (keys: RecordKeys): void => {
      given.push(keys);
      for (const key of [keys.sendKey, keys.receiveKey]) seen.add(Buffer.from(key).toString('hex'));
    };
    const rekey = { afterMs: 200, afterBytes: 2 ** 36 };
    const a = await newBridge(t, await newIdentity('a'), noServers, null, { rekey, onKeys });
    const b = await newBridge(t, await newIdentity('b'), noServers, null, { rekey });
    let described = 0;
    carry(t, a, b);
    carry(t, b, a);
    await connect(a, b);
    await connect(b, a);
    await until(t, 'both online', () => a.ups.length === 1 && b.ups.length === 1);
    const { deliver } = a;
    a.deliver = (...args) => {
      described += 1;
      deliver(...args);
    };
    const before = await a.session(b.identity.nodeId);
    await until(t, 'ten replacements', () => given.length >= 11, 10_000);
    await until(t, 'wiped', () =>
      given.every((keys) =>
        [keys.sendKey, keys.sendIv, keys.receiveKey, keys.receiveIv].every((bytes) =>
          bytes.every((byte) => byte === 0),
        ),
      ),
    );
    assert.equal(seen.size, 2 * given.length, 'no key is used twice: record numbers begin anew');
    const after = await a.session(b.identity.nodeId);
    assert.deepEqual(after?.path, before?.path);
    assert.equal(a.downs.length + b.downs.length, 0);
    assert.equal(described, 0, 'no signalling');
  },
  20_000,
);
