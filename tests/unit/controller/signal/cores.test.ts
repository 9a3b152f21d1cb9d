/** The smaller cores of signal: JIDs, roster, back-off, rates, outbox, external services. */
import assert from 'node:assert/strict';
import { NodeId } from '../../../../base/ids.ts';
import type { PeerMessage } from '../../../../controller/peer-messages.ts';
import {
  type Backoff,
  defaultBackoff,
  nextTry,
  noFailures,
} from '../../../../controller/signal/core/backoff.ts';
import {
  dateTimeMs,
  readServices,
  servicesNamespace,
} from '../../../../controller/signal/core/external-services.ts';
import { parseJid } from '../../../../controller/signal/core/jid.ts';
import {
  emptyOutbox,
  maxWaitingPeers,
  maxWaitMs,
  putMessage,
  takeMessages,
} from '../../../../controller/signal/core/outbox.ts';
import { type Buckets, takeToken } from '../../../../controller/signal/core/rate.ts';
import {
  isRosterPush,
  readRoster,
  rosterNamespace,
} from '../../../../controller/signal/core/roster.ts';
import {
  clientNamespace,
  element,
  printable,
  type Stanza,
} from '../../../../controller/signal/core/stanza.ts';
import { suite } from '../../../support/harness.ts';

const test = suite('cores of signal');
const node = (n: number): NodeId => NodeId.parse(n.toString(16).padStart(32, '0'));

for (const [text, bare, resource] of [
  ['a@b', 'a@b', null],
  ['A@B.Test/Res', 'a@b.test', 'Res'],
  ['b.test', 'b.test', null],
  ['a@b/r/with@slash', 'a@b', 'r/with@slash'],
] as const) {
  test(`"${text}" is an address`, () => {
    const jid = parseJid(text);
    assert.equal(jid?.bare, bare);
    assert.equal(jid?.resource, resource);
  });
}
for (const text of [
  '',
  '@',
  '@b',
  'a@',
  'a@b@c',
  'a b@c',
  'a@b/',
  'a<@b',
  'a@b/\u0000',
  `${'a'.repeat(1_024)}@b`,
]) {
  test(`${JSON.stringify(text.slice(0, 20))} is none`, () => assert.equal(parseJid(text), null));
}

const rosterIq = (...items: readonly Stanza[]): Stanza =>
  element('iq', clientNamespace, { type: 'set' }, element('query', rosterNamespace, {}, ...items));
const item = (jid: string, subscription: string, ...groups: readonly string[]): Stanza =>
  element(
    'item',
    rosterNamespace,
    { jid, subscription },
    ...groups.map((g) => element('group', rosterNamespace, {}, g)),
  );

for (const [subscription, member] of [
  ['both', true],
  ['to', true],
  ['from', true],
  ['none', false],
  ['remove', false],
  ['other', false],
] as const) {
  test(`a roster item with subscription ${subscription} is ${member ? 'a' : 'no'} member`, () => {
    const items = readRoster(rosterIq(item('Bob@Lab.test', subscription)), null);
    assert.deepEqual(items, [{ account: 'bob@lab.test', member }]);
  });
}

test('with a group configured only its items are members', () => {
  const iq = rosterIq(
    item('a@b', 'both', 'x', 'lab'),
    item('c@b', 'both', 'Lab'),
    item('d@b', 'both'),
  );
  assert.deepEqual(
    readRoster(iq, 'lab').map((i) => i.member),
    [true, false, false],
  );
});

test('items that are no bare JIDs are left out', () => {
  assert.deepEqual(readRoster(rosterIq(item('a@b/c', 'both'), item('', 'both')), null), []);
});

test('a roster push counts from our own account or without a sender only', () => {
  const from = (jid: string): Stanza => ({
    ...push,
    attributes: new Map([...push.attributes, ['from', jid]]),
  });
  const push = rosterIq();
  assert.ok(isRosterPush(push, 'me@lab.test'));
  assert.ok(isRosterPush(from('Me@lab.test'), 'me@lab.test'));
  for (const jid of ['eve@lab.test', 'me@lab.test/other', 'lab.test', '']) {
    assert.ok(!isRosterPush(from(jid), 'me@lab.test'), jid);
  }
});

/** Delays of one problem after the other, each session having lived `livedMs`. */
function delays(code: Parameters<typeof nextTry>[1], times: number, random: number, livedMs = 0) {
  let backoff: Backoff = noFailures;
  return Array.from({ length: times }, () => {
    const next = nextTry(backoff, code, livedMs, random, defaultBackoff);
    backoff = next.backoff;
    return next.delayMs;
  });
}

test('the first retry is quick, then they double from a second to the cap, with jitter', () => {
  assert.deepEqual(
    delays('signal.unreachable', 9, 0.999999),
    [1_000, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 45_000, 45_000],
  );
  assert.deepEqual(delays('signal.unreachable', 4, 0), [0, 500, 1_000, 2_000]);
});

test('without a network of its own a node looks for it at least every ten seconds', () => {
  for (const code of ['signal.unresolvable', 'signal.no-network'] as const) {
    const waits = delays(code, 9, 0.999999);
    assert.deepEqual(waits, [1_000, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000, 10_000]);
  }
});

test('with the longest wait and the longest try a node is back within a minute', () => {
  const [worst = 0] = delays('signal.unreachable', 99, 0.999999).slice(-1);
  assert.ok(worst + 10_000 < 60_000);
});

test('a session that lived long starts the count anew, a flapping one does not', () => {
  assert.deepEqual(
    delays('signal.disconnected', 4, 0.999999, 60_000),
    [1_000, 1_000, 1_000, 1_000],
  );
  assert.deepEqual(
    delays('signal.disconnected', 4, 0.999999, 59_999),
    [1_000, 1_000, 2_000, 4_000],
  );
});

for (const code of [
  'signal.auth-failed',
  'signal.no-mechanism',
  'signal.server-unproven',
] as const) {
  test(`${code} waits five minutes, doubling to thirty`, () => {
    assert.deepEqual(delays(code, 5, 0), [300_000, 600_000, 1_200_000, 1_800_000, 1_800_000]);
  });
}
for (const code of ['signal.certificate', 'signal.no-tls'] as const) {
  test(`${code} is tried again after a minute at the earliest`, () => {
    assert.deepEqual(delays(code, 3, 0), [60_000, 120_000, 240_000]);
  });
}

test('a sender has its burst, then its rate, and others are not touched by it', () => {
  const limit = { perSecond: 2, burst: 3, maxSenders: 2 };
  let buckets: Buckets = new Map();
  const take = (sender: string, nowMs: number): boolean => {
    const taken = takeToken(buckets, sender, nowMs, limit);
    buckets = taken.buckets;
    return taken.allowed;
  };
  assert.deepEqual(
    [1, 2, 3, 4].map(() => take('a', 0)),
    [true, true, true, false],
  );
  assert.ok(take('b', 0));
  assert.deepEqual([take('a', 499), take('a', 500), take('a', 501)], [false, true, false]);
  assert.ok(take('c', 501));
  assert.equal(buckets.size, 2);
});

const describe = (nonce: string): PeerMessage => ({
  kind: 'describe',
  description: {
    nonce: nonce.padStart(16, '0') as never,
    peerNonce: null,
    ufrag: 'abcd',
    password: 'a'.repeat(22),
    candidates: [],
    complete: true,
  },
});
const ended: PeerMessage = { kind: 'ended', reason: 'x' };

test('of waiting messages the latest of a kind is kept, and an end ends what was before', () => {
  let outbox = putMessage(emptyOutbox, node(1), describe('1'), 0).outbox;
  const second = putMessage(outbox, node(1), describe('2'), 1);
  assert.equal(second.dropped, 1);
  outbox = second.outbox;
  assert.deepEqual(takeMessages(outbox, node(1), 2).messages, [describe('2')]);
  outbox = putMessage(outbox, node(1), ended, 2).outbox;
  outbox = putMessage(outbox, node(1), describe('3'), 3).outbox;
  const taken = takeMessages(outbox, node(1), 4);
  assert.deepEqual(taken.messages, [ended, describe('3')]);
  assert.equal(taken.outbox.size, 0);
});

test('a message waits half a minute, not longer', () => {
  const { outbox } = putMessage(emptyOutbox, node(1), ended, 0);
  assert.equal(takeMessages(outbox, node(1), maxWaitMs).messages.length, 1);
  assert.equal(takeMessages(outbox, node(1), maxWaitMs + 1).messages.length, 0);
  assert.equal(putMessage(outbox, node(2), ended, maxWaitMs + 1).dropped, 1);
});

test('the outbox is bounded: the peer that waits longest gives way', () => {
  let outbox = emptyOutbox;
  for (let n = 0; n <= maxWaitingPeers; n += 1)
    outbox = putMessage(outbox, node(n), ended, 0).outbox;
  assert.equal(outbox.size, maxWaitingPeers);
  assert.ok(!outbox.has(node(0)));
});

const service = (attributes: Record<string, string>): Stanza =>
  element('service', servicesNamespace, attributes);
const services = (...list: readonly Stanza[]): Stanza =>
  element('iq', clientNamespace, {}, element('services', servicesNamespace, {}, ...list));
const credentials = { username: 'u', password: 'p' };

test('STUN and TURN services are read, with defaults', () => {
  const read = readServices(
    services(
      service({ type: 'stun', host: 's.test' }),
      service({ type: 'stun', host: 's.test', transport: 'tcp' }),
      service({ type: 'turn', host: '192.0.2.1', port: '1', transport: 'tcp', ...credentials }),
      service({ type: 'turns', host: '2001:db8::1', ...credentials }),
      service({ type: 'turn', host: 't.test' }),
      service({ type: 'ftp', host: 'f.test', ...credentials }),
    ),
    0,
  );
  assert.deepEqual(read.stun, [{ host: 's.test', port: 3_478 }]);
  assert.deepEqual(
    read.turn.map(({ host, port, transport, password }) => [
      host,
      port,
      transport,
      password.reveal(),
    ]),
    [
      ['192.0.2.1', 1, 'tcp', 'p'],
      ['2001:db8::1', 5_349, 'tls', 'p'],
    ],
  );
});

for (const [what, change] of [
  ['a port of 0', { port: '0' }],
  ['a port of 65536', { port: '65536' }],
  ['a port that is no number', { port: 'x' }],
  ['no host', { host: '' }],
  ['a host with spaces', { host: 'a b' }],
  ['TURN over DTLS', { type: 'turns', transport: 'udp' }],
  ['an endless password', { password: 'x'.repeat(513) }],
] as const) {
  test(`a service with ${what} is left out`, () => {
    const read = readServices(
      services(service({ type: 'turn', host: 'h', ...credentials, ...change })),
      0,
    );
    assert.deepEqual(read.turn, []);
  });
}

test('no more than eight servers of a kind are kept', () => {
  const many = Array.from({ length: 50 }, (_, i) => service({ type: 'stun', host: `h${i}` }));
  assert.equal(readServices(services(...many), 0).stun.length, 8);
});

test('services are asked for again at half of their life, within bounds', () => {
  const refresh = (expires: string): number =>
    readServices(services(service({ type: 'stun', host: 'h', expires })), Date.UTC(2026, 0, 1))
      .refreshInMs;
  assert.equal(refresh('2026-01-01T00:30:00Z'), 900_000);
  assert.equal(refresh('2026-01-01T00:00:10Z'), 30_000);
  assert.equal(refresh('2025-01-01T00:00:10Z'), 30_000);
  assert.equal(refresh('nonsense'), 3_600_000);
});

for (const text of [
  '2026-01-01T00:00:00Z',
  '2024-02-29T23:59:59Z',
  '1999-12-31T12:00:00.5Z',
  '2026-06-30T02:00:00+02:30',
]) {
  test(`${text} is read like the runtime reads it`, () => {
    assert.equal(dateTimeMs(text), Math.floor(Date.parse(text) / 1_000) * 1_000);
  });
}

test('what strangers wrote is printed without control characters, and short', () => {
  assert.equal(printable(' a\n\u001b[31mb\u202e '), 'a [31mb');
  assert.equal(printable('x'.repeat(1_000)).length, 200);
});
