/**
 * Several bridge cores in one process, joined in a chain A–B–C by cutting what is between A and C: the
 * ring carries frames, broadcasts, messages, pings and handshakes.
 */
import { strict as assert } from 'node:assert';
import { join } from 'node:path';
import { Mac, NodeId, SessionNonce } from '../../base/ids.ts';
import { distance } from '../../base/ring.ts';
import { encodeRingSetup } from '../../tincan-bridge/session/core/ring-setup.ts';
import { until } from '../support/bridge-pair.ts';
import { isOwn, numbersOf, type RingBridge, RingLab, testFrame } from '../support/bridge-ring.ts';
import { suite, type T } from '../support/harness.ts';
import { temporaryFolder } from '../support/identities.ts';
import { newIdentity, type TestIdentity } from '../support/identity.ts';
import { makeOverlayCa } from '../support/overlay-ca.ts';

const test = suite('bridge-ring');
const macA = Mac.parse('02:00:00:00:00:0a');
const macC = Mac.parse('02:00:00:00:00:0c');

interface Chain {
  readonly lab: RingLab;
  readonly a: RingBridge;
  readonly b: RingBridge;
  readonly c: RingBridge;
}

async function chain(t: T): Promise<Chain> {
  const lab = new RingLab(t);
  const a = await lab.add('a');
  const b = await lab.add('b');
  const c = await lab.add('c');
  lab.cut(a, c);
  await lab.members([a, b, c]);
  await lab.link(a, b);
  await lab.link(b, c);
  return { lab, a, b, c };
}

const inject = (bridge: RingBridge, bytes: Uint8Array): void =>
  bridge.datapath.inject({ bytes, offload: null });

/** A's broadcast and C's answer: each knows the other's station, and a session is there. */
async function acquainted(t: T, { a, c }: Chain): Promise<void> {
  inject(a, testFrame('all', macA, 1));
  await until(t, 'the broadcast reaches C', () => numbersOf(c.frames).includes(1));
  inject(c, testFrame(macA, macC, 2));
  await until(t, 'the answer reaches A', () => numbersOf(a.frames).includes(2));
}

test('a broadcast of A reaches C once, the answer comes in a session of its own over B', async (t) => {
  const made = await chain(t);
  const { a, b, c } = made;
  await acquainted(t, made);
  assert.equal(a.pathTo(c.id), 'ring');
  assert.equal(c.pathTo(a.id), 'ring');
  assert.equal((await a.session(c.id))?.path.remote, b.id);
  assert.equal(numbersOf(c.frames).filter((n) => n === 1).length, 1);
  assert.equal(numbersOf(b.frames).filter((n) => n === 2).length, 0, 'B cannot read it');
  const relayed = b.datapath.counters().relayed;
  for (let n = 100; n < 150; n += 1) inject(a, testFrame(macC, macA, n));
  await until(t, 'all are there', () => numbersOf(c.frames).filter((n) => n >= 100).length === 50);
  assert.ok(b.datapath.counters().relayed - relayed >= 50, 'relayed by the tables');
}, 20_000);

test('a ping over the ring names the nodes between, messages and routes go the same way', async (t) => {
  const { a, b, c } = await chain(t);
  const pinged = await a.bridge.handlers.ping({ peer: c.id, timeoutMs: 5_000 });
  assert.ok((pinged.rttMs ?? 9_999) < 2_000);
  assert.deepEqual(pinged.hops, [b.id, c.id]);
  assert.equal(pinged.path.kind, 'ring');
  const direct = await a.bridge.handlers.ping({ peer: b.id, timeoutMs: 2_000 });
  assert.deepEqual(direct.hops, [b.id]);
  assert.ok(isOwn(direct.path.kind));

  const body = JSON.stringify({ text: 'ä€'.repeat(6_000) });
  assert.deepEqual(await c.bridge.handlers.sendMessage({ peer: a.id, body }), { sent: true });
  assert.deepEqual(a.messages, [{ peer: c.id, body }]);

  const { neighbours, ways } = await a.bridge.handlers.routes({});
  assert.deepEqual(
    neighbours.map(({ node }) => node),
    [b.id],
  );
  assert.equal(ways.find(({ destination }) => destination === c.id)?.via, b.id);
}, 20_000);

test('a message to a node without a session makes one first; to a stranger there is none', async (t) => {
  const { a, b, c } = await chain(t);
  assert.deepEqual(await a.bridge.handlers.sendMessage({ peer: c.id, body: 'x' }), { sent: true });
  assert.equal(c.messages[0]?.body, 'x');
  await a.bridge.handlers.setMembers({
    members: [a.id, b.id],
    leaves: [],
    away: [],
    addresses: [],
  });
  await until(t, 'gone with its membership', () => a.pathTo(c.id) === 'none');
  assert.deepEqual(await a.bridge.handlers.sendMessage({ peer: c.id, body: 'y' }), { sent: false });
  const pinged = await a.bridge.handlers.ping({ peer: c.id, timeoutMs: 300 });
  assert.deepEqual(pinged, {
    rttMs: null,
    path: { kind: 'none', local: '', remote: '' },
    hops: [],
  });
}, 20_000);

test('payload is counted by peer, transit and control are not', async (t) => {
  const made = await chain(t);
  const { a, b, c } = made;
  await acquainted(t, made);
  for (let n = 100; n < 120; n += 1) inject(a, testFrame(macC, macA, n, 500));
  await until(t, 'all are there', () => numbersOf(c.frames).includes(119));
  const bytesOf = async (x: RingBridge, y: RingBridge): Promise<number> => {
    const { peers } = await x.bridge.handlers.traffic({});
    return peers.find(({ peer }) => peer === y.id)?.bytes ?? -1;
  };
  assert.equal(await bytesOf(a, c), 20 * 500 + 60);
  assert.equal(await bytesOf(c, a), 20 * 500 + 60);
  assert.equal(await bytesOf(a, b), 0);
  assert.equal(await bytesOf(b, c), 0);
}, 20_000);

/** A frame a moment from A to C, until `stop`; the numbers that did not arrive. */
function stream(t: T, { a, c }: Chain): { stop(): Promise<number[]> } {
  let n = 1_000;
  const sending = setInterval(() => inject(a, testFrame(macC, macA, n++)), 10);
  t.defer(() => clearInterval(sending));
  return {
    stop: async () => {
      await until(t, 'some are on their way', () => n > 1_020);
      clearInterval(sending);
      await until(t, 'the last one', () => numbersOf(c.frames).includes(n - 1));
      const there = new Set(numbersOf(c.frames));
      return Array.from({ length: n - 1_000 }, (_, i) => 1_000 + i).filter((x) => !there.has(x));
    },
  };
}

test('what is on the ring moves to its own path without a lost frame, and back within 5 s', async (t) => {
  const made = await chain(t);
  const { lab, a, c } = made;
  await acquainted(t, made);
  lab.signalling = false;
  lab.mend(a, c);
  const first = stream(t, made);
  await lab.want(a, c);
  await until(t, 'a path of its own', () => isOwn(a.pathTo(c.id)) && isOwn(c.pathTo(a.id)), 9_000);
  assert.deepEqual(await first.stop(), []);
  const downs = [a, c].flatMap(({ told }) => told.filter(({ kind }) => kind === 'down'));
  assert.deepEqual(downs, []);

  lab.cut(a, c);
  const cutMs = performance.now();
  await until(t, 'on the ring again', () => a.pathTo(c.id) === 'ring' && c.pathTo(a.id) === 'ring');
  inject(a, testFrame(macC, macA, 7));
  await until(t, 'a frame crosses', () => numbersOf(c.frames).includes(7));
  const backMs = performance.now() - cutMs;
  process.stdout.write(`back on the ring after ${Math.round(backMs)} ms\n`);
  assert.ok(backMs < 5_000);
  lab.mend(a, c);
  await until(t, 'its own path is found again', () => isOwn(a.pathTo(c.id)), 30_000);
}, 60_000);

test('with two ways the loss of a transit node is got over within 5 s', async (t) => {
  const made = await chain(t);
  const { lab, a, b, c } = made;
  const d = await lab.add('d');
  await lab.members([a, b, c, d]);
  await lab.link(a, d);
  await lab.link(d, c);
  await acquainted(t, made);
  const via = (await a.session(c.id))?.path.remote;
  const lost = via === b.id ? b : d;
  await lost.crash();
  const lostMs = performance.now();
  let n = 10_000;
  const back = async (): Promise<boolean> => {
    inject(a, testFrame(macC, macA, n++));
    inject(c, testFrame(macA, macC, n++));
    return (
      numbersOf(c.frames).some((x) => x > 10_010) && numbersOf(a.frames).some((x) => x > 10_010)
    );
  };
  await until(t, 'both directions again', back, 10_000);
  const backMs = performance.now() - lostMs;
  process.stdout.write(`around the dead node after ${Math.round(backMs)} ms\n`);
  assert.ok(backMs < 5_500);
  assert.equal(a.pathTo(c.id), 'ring');
}, 30_000);

test('a node that restarts is reached again though the other side has its old keys', async (t) => {
  const made = await chain(t);
  const { lab, a, b, c } = made;
  await acquainted(t, made);
  await c.crash();
  const again = await lab.add('c', { identity: c.identity });
  lab.cut(a, again);
  await lab.members([a, b, again]);
  await lab.link(b, again);
  const pinged = async (from: RingBridge, to: RingBridge): Promise<boolean> =>
    (await from.bridge.handlers.ping({ peer: to.id, timeoutMs: 1_000 })).rttMs !== null;
  await until(t, 'the new one is heard by A', () => pinged(again, a), 15_000);
  await until(t, 'and answers it', () => pinged(a, again), 15_000);
  inject(again, testFrame('all', macC, 50));
  await until(t, 'C is known again', () => numbersOf(a.frames).includes(50));
  inject(a, testFrame(macC, macA, 51));
  await until(t, 'frames cross', () => numbersOf(again.frames).includes(51));
}, 40_000);

test('with a tenth of all datagrams lost, both ends begin at once and converge', async (t) => {
  const { lab, a, c } = await chain(t);
  lab.loss = 0.1;
  let n = 0;
  const both = async (): Promise<boolean> => {
    n += 1;
    const sent = await Promise.all([
      a.bridge.handlers.sendMessage({ peer: c.id, body: `from a ${n}` }),
      c.bridge.handlers.sendMessage({ peer: a.id, body: `from c ${n}` }),
    ]);
    return sent.every((each) => each.sent);
  };
  await until(t, 'both are sent', both, 25_000);
  assert.ok(c.messages.some(({ body }) => body === `from a ${n}`));
  assert.ok(a.messages.some(({ body }) => body === `from c ${n}`));
  for (const { messages } of [a, c]) {
    assert.equal(new Set(messages.map(({ body }) => body)).size, messages.length, 'each once');
  }
}, 40_000);

test('a leaf relays nothing', async (t) => {
  const lab = new RingLab(t);
  const a = await lab.add('a');
  const b = await lab.add('b', { transit: false });
  const c = await lab.add('c');
  lab.cut(a, c);
  await lab.members([a, b, c], [b]);
  await lab.link(a, b);
  await lab.link(b, c);
  const pinged = await a.bridge.handlers.ping({ peer: c.id, timeoutMs: 1_500 });
  assert.equal(pinged.rttMs, null);
  assert.equal(b.datapath.counters().relayed, 0);
}, 20_000);

test('a released link goes on over the ring while frames flow, else it ends after a drain', async (t) => {
  const lab = new RingLab(t);
  const a = await lab.add('a');
  const b = await lab.add('b');
  const c = await lab.add('c');
  const made = { lab, a, b, c };
  await lab.members([a, b, c]);
  await lab.link(a, b);
  await lab.link(b, c);
  await lab.link(a, c);
  await acquainted(t, made);
  const sending = stream(t, made);
  await a.bridge.handlers.disconnect({ peer: c.id, reason: 'test' });
  await until(t, 'A goes over the ring', () => a.pathTo(c.id) === 'ring', 2_000);
  await c.bridge.handlers.disconnect({ peer: a.id, reason: 'test' });
  await until(t, 'and so does C', () => c.pathTo(a.id) === 'ring', 2_000);
  assert.deepEqual(await sending.stop(), []);

  await a.bridge.handlers.disconnect({ peer: b.id, reason: 'idle link' });
  await until(t, 'the other ends', () => a.pathTo(b.id) === 'none', 3_000);
  const down = a.told.findLast((each) => each.kind === 'down' && each.peer === b.id);
  assert.equal(down?.kind === 'down' ? down.reason : '', 'idle link');
}, 30_000);

test('over the ring less fits, and the devices are told; a broadcast that does not fit lowers the MTU too', async (t) => {
  const made = await chain(t);
  const { a, b, c } = made;
  const { mtu: before } = await a.bridge.handlers.status({});
  const hop = (await a.session(b.id))?.mtu ?? 0;
  inject(a, testFrame('all', macA, 1, hop + 14));
  await until(t, 'told of the flood header', () => a.mtus.at(-1) === hop - 59);
  assert.ok((await a.counter('floodsTooBig')) >= 1);
  inject(a, testFrame('all', macA, 2, hop - 59 + 14));
  await until(t, 'what fits reaches C', () => numbersOf(c.frames).includes(2));

  inject(c, testFrame(macA, macC, 3));
  await until(t, 'an answer over the ring', () => numbersOf(a.frames).includes(3));
  const ring = (await a.session(c.id))?.mtu;
  assert.equal(ring, Math.min(hop, 1_420) - 71);
  await until(t, 'told of the ring', () => a.mtus.at(-1) === ring && c.mtus.at(-1) === ring);
  assert.ok(before >= hop);
  inject(a, testFrame(macC, macA, 4, (ring ?? 0) + 14));
  await until(t, 'the largest crosses', () => numbersOf(c.frames).includes(4));
  const silent = await a.counter('tooBigSilent');
  inject(a, testFrame(macC, macA, 5, (ring ?? 0) + 15));
  await until(t, 'a larger one does not', async () => (await a.counter('tooBigSilent')) > silent);
}, 20_000);

test('with a CA, who has no certificate of it is refused over the ring as well', async (t) => {
  const ca = await makeOverlayCa(join(temporaryFolder(t), 'ca'), Date.now(), 'test');
  const signed = async (name: string): Promise<{ readonly identity: TestIdentity }> => {
    const made = await newIdentity(name);
    const { pem } = await ca.sign({ node: made.nodeId, certificatePem: made.certificate }, name);
    return { identity: { ...made, certificate: pem } };
  };
  const lab = new RingLab(t);
  const trust = { ca: ca.certificatePem, revoked: [] };
  const a = await lab.add('a', { ...(await signed('a')), trust });
  const b = await lab.add('b', await signed('b'));
  const stranger = await lab.add('stranger');
  const good = await lab.add('good', await signed('good'));
  for (const far of [stranger, good]) lab.cut(a, far);
  await lab.members([a, b, stranger, good]);
  for (const other of [a, stranger, good]) await lab.link(b, other);
  const pinged = await a.bridge.handlers.ping({ peer: good.id, timeoutMs: 3_000 });
  assert.notEqual(pinged.rttMs, null);
  const refused = await a.bridge.handlers.ping({ peer: stranger.id, timeoutMs: 1_500 });
  assert.equal(refused.rttMs, null);
  assert.equal(a.pathTo(stranger.id), 'none');
  assert.match((await a.session(stranger.id))?.lastError ?? '', /not signed by the CA/);
}, 20_000);

test('a session over the ring that carries nothing ends after some minutes', async (t) => {
  const made = await chain(t);
  const { lab, a, c } = made;
  await acquainted(t, made);
  const isGone = (): boolean => {
    lab.aheadMs += 1_000; // in steps: what has crossed is looked at now and then
    return a.pathTo(c.id) === 'none' && c.pathTo(a.id) === 'none';
  };
  await until(t, 'it is gone', isGone, 9_000);
  const idle = (await a.counter('ringSessionsIdle')) + (await c.counter('ringSessionsIdle'));
  assert.ok(idle >= 1);
  inject(a, testFrame(macC, macA, 9));
  await until(t, 'and made again when needed', () => numbersOf(c.frames).includes(9));
}, 20_000);

test('what a neighbour makes up costs little and changes nothing', async (t) => {
  const made = await chain(t);
  const { a, b, c } = made;
  await acquainted(t, made);
  const number = 1; // sessions are numbered by each process from 1 on
  const somebody = NodeId.parse('ee'.repeat(16));
  const hello = encodeRingSetup({
    id: SessionNonce.parse('ab'.repeat(8)),
    datagram: Uint8Array.of(22, 0xfe, 0xff, 0, 0),
  });
  for (let n = 0; n < 300; n += 1) {
    for (let via = number; via < 12; via += 1) {
      b.datapath.sendEnvelope(via, somebody, a.id, 9, hello);
      b.datapath.sendEnvelope(via, c.id, a.id, 9, hello);
      b.datapath.sendEnvelope(via, c.id, somebody, 9, hello);
    }
  }
  const { hops } = await a.bridge.handlers.ping({ peer: c.id, timeoutMs: 5_000 });
  assert.deepEqual(hops, [b.id, c.id], 'the session with C goes on');
  assert.equal(await a.session(somebody), undefined);
  assert.ok((await a.counter('envelopesUnreadable')) >= 300);
  const downs = a.told.filter(({ kind }) => kind === 'down');
  assert.deepEqual(downs, []);
}, 20_000);

test('where nobody in sight leads around a dead node, a way is searched for, within 5 s', async (t) => {
  // A is nearest to C: it sees nobody that is nearer, so all its ways but look-ahead end at once.
  const [nearest, ...others] = await identitiesByDistance(6);
  assert.ok(nearest);
  const [forA, ...rest] = others;
  const lab = new RingLab(t);
  const c = await lab.add('c', { identity: nearest });
  const a = await lab.add('a', { ...(forA && { identity: forA }) });
  const [b, d, e, f] = await Promise.all(
    ['b', 'd', 'e', 'f'].map((name, n) => lab.add(name, { ...(rest[n] && { identity: rest[n] }) })),
  );
  assert.ok(b && d && e && f);
  lab.cut(a, c);
  await lab.members([a, b, c, d, e, f]);
  for (const [x, y] of [
    [a, b],
    [b, c],
    [a, d],
    [d, e],
    [e, f],
    [f, c],
  ] as const) {
    await lab.link(x, y);
  }
  const made = { lab, a, b, c };
  await acquainted(t, made);
  assert.equal((await a.session(c.id))?.path.remote, b.id);
  await b.crash();
  const lostMs = performance.now();
  let n = 10_000;
  const back = async (): Promise<boolean> => {
    inject(a, testFrame(macC, macA, n++));
    inject(c, testFrame(macA, macC, n++));
    return [a, c].every(({ frames }) => numbersOf(frames).some((x) => x > 10_000));
  };
  const crossed = [a, c].map(({ frames }) => frames.length);
  await until(
    t,
    'both directions, the long way round',
    async () => {
      await back();
      return [a, c].every(({ frames }, i) => frames.length > (crossed[i] ?? 0) + 3);
    },
    12_000,
  );
  const backMs = performance.now() - lostMs;
  process.stdout.write(`by a search after ${Math.round(backMs)} ms\n`);
  assert.ok(backMs < 6_000);
  assert.deepEqual(
    a.told.filter(({ kind, peer }) => kind === 'down' && peer === c.id),
    [],
  );
}, 40_000);

/** The first, and the others by their distance to it. */
async function identitiesByDistance(count: number): Promise<TestIdentity[]> {
  const made: TestIdentity[] = [];
  for (let n = 0; n < count; n += 1) made.push(await newIdentity(`n${n}`));
  const [first, ...others] = made;
  if (first === undefined) return [];
  const to = ({ nodeId }: TestIdentity): bigint => distance(nodeId, first.nodeId);
  return [first, ...others.sort((x, y) => (to(x) < to(y) ? -1 : 1))];
}
