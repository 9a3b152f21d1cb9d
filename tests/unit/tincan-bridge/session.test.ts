/**
 * The session machine as tables of (state, input, moment) → step: set-up, failure, liveness,
 * replacement. Time and randomness are numbers here.
 */
import { strict as assert } from 'node:assert';
import { NodeId, SessionNonce } from '../../../base/ids.ts';
import { lookAfterLink } from '../../../tincan-bridge/session/core/liveness.ts';
import { nextSession } from '../../../tincan-bridge/session/core/session.ts';
import {
  type Effect,
  type Input,
  initialSession,
  phaseOf,
  type SessionState,
} from '../../../tincan-bridge/session/core/session-state.ts';
import * as timers from '../../../tincan-bridge/session/core/timers.ts';
import { Traffic } from '../../../tincan-bridge/session/traffic.ts';
import { suite } from '../../support/harness.ts';

const test = suite('session machine');
const peer = NodeId.parse('0b'.repeat(16));
const nonce = (n: number): SessionNonce => SessionNonce.parse(n.toString(16).padStart(16, '0'));
const theirs = nonce(0xb00);
const remote = { ufrag: 'uuuu', password: 'p'.repeat(22), candidates: ['c'] };

/** Runs inputs at their times; nonces and numbers count up from 1. */
class Run {
  state: SessionState = initialSession(peer, 0);
  effects: readonly Effect[] = [];
  #count = 0;

  at(nowMs: number, input: Input, random = 1): this {
    this.#count += 1;
    const moment = { nowMs, nonce: nonce(this.#count), random, number: this.#count };
    const { state, effects } = nextSession(this.state, input, moment);
    this.state = state;
    this.effects = effects;
    return this;
  }
  kinds(): string[] {
    return this.effects.filter((e) => e.kind !== 'note' && e.kind !== 'timer').map((e) => e.kind);
  }
  timer(id: string): number | null {
    const found = this.effects.find((e) => e.kind === 'timer' && e.id === id);
    return found?.kind === 'timer' ? found.atMs : null;
  }
}

const heard = (own: SessionNonce | null, from = theirs): Input => ({
  kind: 'description',
  heard: { nonce: from, peerNonce: own },
  remote,
});
const tick = (heardAgoMs: number): Input => ({ kind: 'timer', id: 'tick', heardAgoMs });

function online(run = new Run()): Run {
  run.at(0, { kind: 'wanted' });
  run.at(10, heard(nonce(1)));
  run.at(50, { kind: 'validated', own: nonce(1) });
  run.at(60, { kind: 'secured', own: nonce(1) });
  return run;
}

test('a wanted session gathers, describes itself, pairs, secures and is up', () => {
  const run = new Run();
  assert.deepEqual(run.at(0, { kind: 'wanted' }).kinds(), ['start-ice']);
  assert.equal(phaseOf(run.state), 'waiting');
  run.at(2, { kind: 'candidates', own: nonce(1) });
  assert.deepEqual(run.effects, [{ kind: 'describe', own: nonce(1), peerNonce: null }]);
  assert.deepEqual(run.at(10, heard(nonce(1))).kinds(), ['pair-ice']);
  assert.equal(phaseOf(run.state), 'connecting');
  assert.deepEqual(run.at(50, { kind: 'validated', own: nonce(1) }).kinds(), ['start-handshake']);
  assert.deepEqual(run.at(60, { kind: 'secured', own: nonce(1) }).kinds(), [
    'install',
    'use',
    'up',
  ]);
  assert.equal(phaseOf(run.state), 'online');
  assert.deepEqual(run.effects[0], {
    kind: 'install',
    own: nonce(1),
    number: 5,
    rekey: null,
    ring: false,
  });
});

test('being described to, a session answers and pairs in one step', () => {
  const run = new Run().at(0, heard(null));
  assert.deepEqual(run.kinds(), ['start-ice', 'pair-ice']);
  run.at(1, { kind: 'candidates', own: nonce(1) });
  assert.deepEqual(run.effects, [{ kind: 'describe', own: nonce(1), peerNonce: theirs }]);
});

test('what is not answered is repeated after 1, 2, 4, 8 and at most 16 s, then given up', () => {
  const run = new Run().at(0, { kind: 'wanted' });
  const times: number[] = [];
  let at = run.timer('repeat');
  while (at !== null && at < timers.offeredMs) {
    times.push(at);
    run.at(at, { kind: 'timer', id: 'repeat', heardAgoMs: -1 });
    at = run.timer('repeat');
  }
  assert.deepEqual(times, [1_000, 3_000, 7_000, 15_000]);
  run.at(timers.offeredMs, { kind: 'timer', id: 'deadline', heardAgoMs: -1 });
  assert.deepEqual(run.kinds(), ['stop-ice']);
  assert.equal(phaseOf(run.state), 'retrying');
  assert.equal(run.timer('pause'), timers.offeredMs + 1_000);
});

test('failures wait longer each time, never above 60 s, and a pause ends in a new attempt', () => {
  const run = new Run().at(0, { kind: 'wanted' });
  const delays: number[] = [];
  for (let now = 0; delays.length < 9; ) {
    const { setup } = run.state;
    if (!('own' in setup)) throw new Error('no attempt');
    run.at(now, { kind: 'ice-failed', own: setup.own, reason: 'test' });
    const until = run.timer('pause') ?? 0;
    delays.push(until - now);
    now = until;
    assert.deepEqual(run.at(now, { kind: 'timer', id: 'pause', heardAgoMs: -1 }).kinds(), [
      'start-ice',
    ]);
  }
  assert.deepEqual(
    delays,
    [1, 2, 4, 8, 16, 32, 60, 60, 60].map((s) => s * 1_000),
  );
});

test('a peer with a wrong key is not listened to before the pause ends', () => {
  const run = new Run().at(0, { kind: 'wanted' });
  run.at(1, heard(nonce(1))).at(2, { kind: 'validated', own: nonce(1) });
  run.at(3, { kind: 'insecure', own: nonce(1), reason: 'wrong key', refused: true });
  assert.deepEqual(run.kinds(), ['stop-ice']);
  assert.deepEqual(run.at(4, heard(null, nonce(0xb01))).effects, []);
  const pause = run.at(1_003, { kind: 'timer', id: 'pause', heardAgoMs: -1 });
  assert.deepEqual(pause.kinds(), ['start-ice']);
});

test('a peer that starts anew gets a new attempt beside the link, which takes over when secure', () => {
  const run = online();
  assert.deepEqual(run.at(1_000, heard(null, nonce(0xb01))).kinds(), ['start-ice', 'pair-ice']);
  assert.equal(phaseOf(run.state), 'online');
  const own = nonce(5);
  run.at(1_050, { kind: 'validated', own });
  run.at(1_060, { kind: 'secured', own });
  assert.deepEqual(run.kinds(), ['install'], 'the peer may not have the keys yet');
  run.at(1_062, { kind: 'heard', number: 7 });
  assert.deepEqual(run.effects[0], { kind: 'use', number: 7, from: 4 });
  assert.deepEqual(run.kinds(), ['use', 'path-changed']);
  assert.equal(run.timer('retire-4'), 1_062 + timers.retireMs);
  run.at(1_062 + timers.retireMs, { kind: 'timer', id: 'retire-4', heardAgoMs: -1 });
  assert.deepEqual(run.effects, [{ kind: 'remove', number: 4 }]);
  run.at(1_062 + timers.retireMs, { kind: 'timer', id: 'retire-7', heardAgoMs: 0 });
  assert.deepEqual(run.effects, [], 'the one in use is never retired');
});

test('a new attempt that fails leaves a healthy link alone', () => {
  const run = online();
  run.at(1_000, heard(null, nonce(0xb01)));
  run.at(1_000 + timers.connectingMs, { kind: 'timer', id: 'deadline', heardAgoMs: 5 });
  assert.deepEqual(run.kinds(), ['stop-ice']);
  assert.equal(run.state.setup.kind, 'none');
  assert.equal(run.state.link.kind, 'up');
});

const heardAgo = (heardAgoMs: number) => ({ heardAgoMs, pace: 'used' as const });

test('silence is asked about, then suspected within 5 s, then the session ends within 30 s', () => {
  const run = online();
  const told: Array<readonly [number, string]> = [];
  for (let now = 1_060; now < 30_000 && run.state.link.kind === 'up'; now += timers.tickMs) {
    run.at(now, tick(now - 60));
    for (const kind of run.kinds()) {
      if (!told.some(([, k]) => k === kind)) told.push([now - 60, kind]);
    }
  }
  assert.deepEqual(told, [
    [1_000, 'ask'],
    [3_000, 'start-ice'],
    [20_000, 'remove'],
    [20_000, 'down'],
  ]);
});

test('a link on which something is heard is asked only to measure, every 5 s', () => {
  const run = online();
  let asks = 0;
  for (let now = 1_060; now <= 20_060; now += timers.tickMs) {
    run.at(now, tick(10));
    asks += run.kinds().filter((k) => k === 'ask').length;
  }
  assert.equal(asks, 4);
  assert.equal(run.state.setup.kind, 'none');
});

test('our own clock standing still proves nothing: two questions must have gone unanswered', () => {
  const run = online();
  run.at(60_000, tick(59_000));
  assert.equal(run.state.link.kind, 'up');
  assert.deepEqual(run.kinds(), ['ask']);
});

test('a suspect link that is heard again is healthy again', () => {
  const { state } = online();
  if (state.link.kind !== 'up') throw new Error('down');
  const suspect = { ...state.link, suspectSinceMs: 5_000, unanswered: 3, askedMs: 5_000 };
  assert.equal(lookAfterLink(suspect, heardAgo(6_000), 6_060).verdict, 'suspect');
  assert.equal(lookAfterLink(suspect, heardAgo(100), 6_060).verdict, 'healthy');
});

test('a session that rests is asked every 10 s, and silence before it was asked proves nothing', () => {
  const { state } = online();
  if (state.link.kind !== 'up') throw new Error('down');
  const asked: number[] = [];
  let link = { ...state.link, sinceMs: 0, askedMs: 0 };
  const look = (nowMs: number, heardAgoMs: number) => {
    const health = lookAfterLink(link, { heardAgoMs, pace: 'resting' }, nowMs);
    if (health.asks) asked.push(nowMs);
    link = health.link;
    return health.verdict;
  };
  // It answers each question, and is silent from 25 s on.
  let heardMs = 0;
  const suspected: number[] = [];
  for (let now = 0; now <= 36_000; now += timers.tickMs) {
    if (now <= 25_000 && asked.at(-1) === now - timers.tickMs) heardMs = now - timers.tickMs + 20;
    if (look(now, now - heardMs) !== 'healthy') suspected.push(now);
  }
  assert.deepEqual(asked.slice(0, 3), [10_000, 20_500, 31_000]);
  assert.ok((suspected[0] ?? 0) >= 31_000 + 1_500, `suspected at ${suspected[0]}`);
  assert.ok((suspected[0] ?? 99_999) <= 31_000 + 2_500, `suspected at ${suspected[0]}`);
});

test('a session that rests with a peer that has left is asked at once, and ends with the first silence', () => {
  const look = (away: boolean): ReadonlyArray<readonly [number, string]> => {
    const run = online();
    if (run.state.link.kind === 'up')
      run.state = { ...run.state, link: { ...run.state.link, path: 'ring' } };
    const told: (readonly [number, string])[] = [];
    for (let now = 1_060; now < 30_000 && run.state.link.kind === 'up'; ) {
      run.at(now, { kind: 'timer', id: 'tick', heardAgoMs: now - 60, calm: true, away });
      for (const kind of run.kinds()) told.push([now - 60, kind]);
      now = run.timer('tick') ?? now + timers.tickMs;
    }
    return told.filter(([, kind]) => kind === 'ask' || kind === 'down');
  };
  const resting = look(false);
  assert.ok(resting[0]?.[1] === 'ask' && (resting[0][0] ?? 0) >= timers.restQuietMs);
  assert.ok(
    resting.at(-1)?.[1] === 'down' && (resting.at(-1)?.[0] ?? 0) >= timers.deadSessionMs,
    `${resting}`,
  );
  const away = look(true);
  assert.ok(away[0]?.[1] === 'ask' && (away[0][0] ?? 0) <= 2_000, `${away}`);
  assert.ok(away.at(-1)?.[1] === 'down' && (away.at(-1)?.[0] ?? 0) <= 4_500, `${away}`);
});

test('a link that is heard is looked at when it may be quiet, one whose answer is late twice a second', () => {
  const run = online();
  const lookAt = (now: number, heardAgoMs: number): number => {
    run.at(now, { kind: 'timer', id: 'tick', heardAgoMs });
    return (run.timer('tick') ?? now) - now;
  };
  assert.equal(lookAt(2_000, 0), timers.quietMs);
  assert.equal(lookAt(3_000, 600), timers.tickMs);
  assert.equal(
    lookAt(3_500, 400),
    timers.quietMs,
    'not before a whole second of silence is possible',
  );
  assert.equal(lookAt(4_500, 1_000), timers.tickMs, 'a question was asked');
  assert.equal(lookAt(5_000, 1_500), timers.tickMs, 'and is not answered');
});

test('one in calm is asked after two seconds, unless its peer may be gone', () => {
  const run = online();
  const asksAt = (now: number, heardAgoMs: number, away = false): boolean => {
    run.at(now, { kind: 'timer', id: 'tick', heardAgoMs, calm: true, away });
    return run.kinds().includes('ask');
  };
  run.at(1_060, { kind: 'timer', id: 'ask', heardAgoMs: 0 });
  assert.equal(asksAt(3_000, 1_500), false);
  assert.equal(asksAt(3_500, 1_000, true), true);
  assert.equal(asksAt(4_000, 100), false);
  assert.equal(run.timer('tick'), 6_000);
  assert.equal(asksAt(6_000, 2_100), true);
});

test('frames say whether a session is used: they flow, or one waits for its answer', () => {
  const traffic = new Traffic(0);
  const look = (nowMs: number, sent: number, received: number) =>
    traffic.useOf({ sent, received }, nowMs);
  assert.equal(look(10_000, 0, 0), 'unused');
  assert.equal(look(12_000, 100, 100), 'calm', 'an exchange that is over');
  assert.equal(look(13_000, 200, 200), 'used', 'the second in a row');
  assert.equal(look(14_500, 200, 200), 'used');
  assert.equal(look(15_000, 200, 200), 'unused');
  assert.equal(look(20_000, 200, 300), 'calm', 'nothing of ours waits');
  assert.equal(look(30_000, 300, 300), 'used', 'not answered yet');
  assert.equal(look(30_000 + timers.lateMs - 1, 300, 300), 'used');
  assert.equal(look(30_000 + timers.lateMs, 300, 300), 'unused');
});

test('sessions look at themselves at the same moments, about every half second', () => {
  for (const now of [0.2, 499.9, 500.3, 624, 626, 1_000_000.7]) {
    const next = timers.nextTickMs(now);
    assert.equal(next % timers.tickMs, 0);
    assert.ok(next - now >= timers.tickMs / 2 && next - now <= 1.5 * timers.tickMs, `${now}`);
  }
});

test('consent that expires starts another path at once', () => {
  const run = online().at(5_000, { kind: 'ice-failed', own: nonce(1), reason: 'consent expired' });
  assert.deepEqual(run.kinds(), ['start-ice']);
  assert.equal(run.state.link.kind, 'up');
});

test('a peer that ends is left alone for a minute, unless it describes itself', () => {
  const run = online().at(5_000, { kind: 'ended', reason: 'leaving' });
  assert.deepEqual(run.kinds(), ['remove', 'down']);
  assert.equal(run.timer('pause'), 5_000 + timers.endedMs);
  assert.deepEqual(run.at(6_000, heard(null, nonce(0xb02))).kinds(), ['start-ice', 'pair-ice']);
});

test('a peer that is trusted no more is taken down, for the reason that is given', () => {
  const run = online().at(5_000, { kind: 'distrusted', reason: 'the certificate is revoked' });
  assert.deepEqual(run.kinds(), ['remove', 'down']);
  assert.equal(run.state.lastError, 'the certificate is revoked');
  assert.equal(run.timer('pause'), 5_000 + timers.endedMs);
});

test('a session that is not wanted any more takes everything down', () => {
  const run = online().at(1_000, heard(null, nonce(0xb01)));
  run.at(2_000, { kind: 'unwanted', reason: 'test' });
  assert.deepEqual(run.kinds(), ['stop-ice', 'remove', 'down']);
});

test('a peer that describes a new attempt again and again is slowed down', () => {
  const run = online();
  let started = 0;
  for (let n = 0; n < 100; n += 1) {
    run.at(100 + n, heard(null, nonce(0xc00 + n)));
    started += run.kinds().filter((k) => k === 'start-ice').length;
  }
  assert.equal(started, timers.startsAllowed);
});

test('inputs of attempts that were given up change nothing', () => {
  const run = online();
  const { state } = run;
  for (const input of [
    { kind: 'validated', own: nonce(99) },
    { kind: 'secured', own: nonce(99) },
    { kind: 'ice-failed', own: nonce(99), reason: 'x' },
    { kind: 'insecure', own: nonce(99), reason: 'x', refused: true },
    { kind: 'candidates', own: nonce(99) },
  ] as const) {
    run.at(100, input);
    assert.deepEqual([run.state, run.effects], [state, []]);
  }
});

test('a deadline that wakes a fraction too early is not lost', () => {
  const run = new Run().at(0, { kind: 'wanted' });
  run.at(timers.offeredMs - 0.4, { kind: 'timer', id: 'deadline', heardAgoMs: -1 });
  assert.equal(run.timer('deadline'), timers.offeredMs);
  run.at(timers.offeredMs, { kind: 'timer', id: 'deadline', heardAgoMs: -1 });
  assert.equal(run.state.setup.kind, 'pause');
});

test('a change of the network starts an attempt beside what there is, at once', () => {
  const up = online().at(1_000, { kind: 'network-changed' });
  assert.deepEqual(up.kinds(), ['start-ice']);
  assert.equal(up.state.link.kind, 'up');
  up.at(1_400, { kind: 'network-changed' });
  assert.deepEqual(up.kinds(), ['stop-ice', 'start-ice'], 'the addresses of before are no use');
  const waiting = new Run().at(0, { kind: 'wanted' });
  waiting.at(10, heard(nonce(1)));
  waiting.at(9_000, { kind: 'ice-failed', own: nonce(1), reason: 'x' });
  assert.equal(waiting.state.setup.kind, 'pause');
  assert.deepEqual(waiting.at(9_100, { kind: 'network-changed' }).kinds(), ['start-ice']);
});

test('a peer that comes back to the signalling is told again what it may have missed', () => {
  const run = new Run().at(0, { kind: 'wanted' });
  assert.deepEqual(run.at(500, { kind: 'wanted' }).kinds(), ['describe']);
  assert.deepEqual(online().at(500, { kind: 'wanted' }).kinds(), []);
});

function relayed(): Run {
  const run = new Run().at(0, { kind: 'wanted' });
  run.at(10, heard(nonce(1)));
  run.at(50, { kind: 'validated', own: nonce(1) });
  return run.at(60, { kind: 'secured', own: nonce(1), relayed: true });
}
const improve: Input = { kind: 'timer', id: 'improve', heardAgoMs: 10 };

test('a relayed link seeks a direct path in growing steps that stay below 60 s', () => {
  const run = relayed();
  let atMs = run.timer('improve') ?? 0;
  assert.ok(atMs <= 60 + timers.improveFirstMs);
  for (let round = 0; round < 8; round += 1) {
    run.at(atMs, improve);
    assert.deepEqual(run.effects.filter((e) => e.kind === 'start-ice').length, 1);
    const setup = run.state.setup;
    assert.ok(setup.kind === 'offered' && setup.direct);
    run.at(atMs + 10, heard(setup.own, nonce(0xc00 + round)));
    const deadlineMs = run.timer('deadline') ?? 0;
    run.at(deadlineMs, { kind: 'timer', id: 'deadline', heardAgoMs: 10 });
    assert.equal(run.state.setup.kind, 'none');
    assert.equal(run.state.lastError, null, 'nothing is wrong');
    const nextMs = run.timer('improve') ?? Number.POSITIVE_INFINITY;
    assert.ok(nextMs - atMs <= 60_000, `${nextMs - atMs} ms`);
    atMs = nextMs;
  }
  run.at(atMs, { kind: 'network-changed' });
  assert.ok(run.state.setup.kind === 'offered' && !run.state.setup.direct);
});

test('a direct link seeks nothing; a peer that seeks is met by an attempt without relays', () => {
  assert.equal(online().timer('improve'), null);
  assert.deepEqual(online().at(9_000, improve).kinds(), []);
  const asked: Input = {
    kind: 'description',
    heard: { nonce: nonce(0xd00), peerNonce: null },
    remote: { ...remote, directOnly: true },
  };
  const run = relayed().at(5_000, asked);
  assert.ok(run.effects.some((e) => e.kind === 'start-ice' && e.direct));
  const fresh = new Run().at(0, asked);
  assert.ok(
    fresh.effects.some((e) => e.kind === 'start-ice' && !e.direct),
    'without a link of ours any path will do',
  );
});
