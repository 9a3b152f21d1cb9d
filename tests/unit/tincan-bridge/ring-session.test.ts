/**
 * What the ring means for the session machine: handshakes in envelopes, moving to the ring and away
 * from it, whose word counts.
 */
import { strict as assert } from 'node:assert';
import { NodeId, SessionNonce } from '../../../base/ids.ts';
import { nextSession } from '../../../tincan-bridge/session/core/session.ts';
import {
  defaultRekeyRules,
  type Effect,
  type Input,
  initialSession,
  type SessionState,
} from '../../../tincan-bridge/session/core/session-state.ts';
import * as timers from '../../../tincan-bridge/session/core/timers.ts';
import { suite } from '../../support/harness.ts';

const test = suite('session over the ring');
const peer = NodeId.parse('0b'.repeat(16));
const nonce = (n: number): SessionNonce => SessionNonce.parse(n.toString(16).padStart(16, '0'));
const theirs = nonce(0xb00);

class Run {
  state: SessionState;
  effects: readonly Effect[] = [];
  way = true;
  #count = 0;

  constructor(begins: boolean, wanted = false) {
    this.state = initialSession(peer, 0, { ...defaultRekeyRules, begins }, wanted);
  }
  at(nowMs: number, input: Input): this {
    this.#count += 1;
    const at = { nowMs, nonce: nonce(this.#count), random: 1, number: this.#count, way: this.way };
    const { state, effects } = nextSession(this.state, input, at);
    this.state = state;
    this.effects = effects;
    return this;
  }
  kinds(): string[] {
    return this.effects.filter((e) => e.kind !== 'note' && e.kind !== 'timer').map((e) => e.kind);
  }
}

const needed: Input = { kind: 'needed' };
const ringHeard = (id: SessionNonce | null, heardAgoMs = -1): Input => ({
  kind: 'ring-heard',
  id,
  heardAgoMs,
});
const path = ({ link }: SessionState): string => (link.kind === 'up' ? link.path : 'down');

/** A wanted link with a path of its own. */
function direct(begins: boolean): Run {
  const run = new Run(begins, true);
  run.at(0, { kind: 'wanted' });
  run.at(1, {
    kind: 'description',
    heard: { nonce: theirs, peerNonce: nonce(1) },
    remote: { ufrag: 'uuuu', password: 'p'.repeat(22), candidates: ['c'] },
  });
  run.at(2, { kind: 'validated', own: nonce(1) });
  return run.at(3, { kind: 'secured', own: nonce(1) });
}

test('the client begins and uses its keys at once, the server when it is heard', () => {
  const client = new Run(true).at(0, needed);
  assert.deepEqual(client.kinds(), ['start-rekey']);
  client.at(50, { kind: 'rekey-secured', id: nonce(1) });
  assert.deepEqual(client.kinds(), ['install', 'use', 'up', 'ask']);
  assert.equal(path(client.state), 'ring');

  const server = new Run(false).at(0, needed);
  assert.deepEqual(server.kinds(), ['ask-rekey']);
  server.at(10, ringHeard(theirs));
  assert.deepEqual(server.kinds(), ['start-rekey']);
  server.at(50, { kind: 'rekey-secured', id: theirs });
  assert.deepEqual(server.kinds(), ['install']);
  assert.equal(path(server.state), 'down');
  const { standby } = server.state;
  server.at(60, { kind: 'heard', number: standby?.number ?? 0 });
  assert.deepEqual(server.kinds(), ['use', 'up']);
});

test('both begin at once: it is one handshake, and a repeated question begins no other', () => {
  const client = new Run(true).at(0, needed);
  assert.deepEqual(client.at(5, ringHeard(null)).kinds(), []);
  const server = new Run(false).at(0, needed).at(5, ringHeard(theirs));
  assert.deepEqual(server.at(6, ringHeard(theirs)).kinds(), []);
});

test('one that is declined for there are too many begins when it is repeated', () => {
  const server = new Run(false).at(0, needed).at(10, ringHeard(theirs));
  server.at(10, { kind: 'rekey-declined', id: theirs, reason: 'too many handshakes at once' });
  assert.deepEqual(server.kinds(), ['stop-rekey']);
  assert.deepEqual(server.at(210, ringHeard(theirs)).kinds(), ['start-rekey']);
  server.at(220, { kind: 'rekey-failed', id: theirs, reason: 'no' });
  assert.deepEqual(server.at(620, ringHeard(theirs)).kinds(), [], 'that one has failed');
});

test('without a way it waits for one, as long as something waits for it', () => {
  const run = new Run(true);
  run.way = false;
  assert.deepEqual(run.at(0, needed).kinds(), []);
  run.way = true;
  assert.deepEqual(run.at(1_000, { kind: 'ways-changed' }).kinds(), ['start-rekey']);
  const late = new Run(true);
  late.way = false;
  late.at(0, needed);
  late.way = true;
  assert.deepEqual(late.at(timers.ringNeedMs + 1, { kind: 'ways-changed' }).kinds(), []);
});

test('a peer that is there is not replaced on the word of an envelope; one that fell silent is', () => {
  const server = direct(false);
  assert.deepEqual(server.at(5_000, ringHeard(theirs, 100)).kinds(), []);
  assert.deepEqual(server.at(9_000, ringHeard(nonce(0xc00), 4_000)).kinds(), ['start-rekey']);
  assert.deepEqual(server.at(9_100, ringHeard(nonce(0xc01), 4_100)).kinds(), [], 'too soon');
  server.at(9_200, { kind: 'rekey-secured', id: nonce(0xc00) });
  assert.deepEqual(server.kinds(), ['install'], 'beside the old ones, until it is heard');
});

test('a link whose path falls silent goes on over the ring, and seeks a path of its own', () => {
  const run = direct(true);
  let moved = 0;
  for (let now = 500; now <= 6_000 && moved === 0; now += timers.tickMs) {
    run.at(now, { kind: 'timer', id: 'tick', heardAgoMs: now - 3 });
    if (run.kinds().includes('use-ring')) moved = now;
  }
  assert.ok(
    moved >= timers.deadPathMs && moved <= timers.deadPathMs + 2 * timers.tickMs,
    `${moved}`,
  );
  assert.ok(run.kinds().includes('path-changed') && run.kinds().includes('start-ice'));
  assert.equal(path(run.state), 'ring');
  const own = run.state.setup.kind === 'offered' ? run.state.setup.own : nonce(0);
  run.at(moved + 100, { kind: 'timer', id: 'tick', heardAgoMs: 50 });
  run.at(moved + 200, { kind: 'ice-failed', own, reason: 'x' });
  assert.equal(path(run.state), 'ring', 'a failed attempt does not touch it');
  assert.ok(run.effects.some((e) => e.kind === 'timer' && e.id === 'improve'));
});

test('a peer that has moved is followed at once', () => {
  const run = direct(true);
  const number = run.state.link.kind === 'up' ? run.state.link.number : 0;
  assert.ok(run.at(1_000, { kind: 'peer-on-ring', number }).kinds().includes('use-ring'));
  const again = direct(true);
  assert.deepEqual(again.at(1_000, { kind: 'peer-on-ring', number: 99 }).kinds(), [], 'old keys');
});

test('a released link stops its attempts; it moves when it is to be kept, else it stays as it is', () => {
  const kept = direct(true).at(1_000, { kind: 'released', keep: true });
  assert.deepEqual(kept.kinds(), ['use-ring', 'path-changed', 'ask']);
  assert.ok(!kept.effects.some((e) => e.kind === 'timer' && e.id === 'improve'));
  const left = direct(true).at(1_000, { kind: 'released', keep: false });
  assert.deepEqual(left.kinds(), []);
  const building = new Run(true, true).at(0, { kind: 'wanted' });
  assert.deepEqual(building.at(1, { kind: 'released', keep: false }).kinds(), ['stop-ice']);
  for (const id of ['pause', 'improve', 'deadline', 'repeat'] as const) {
    const effects = building.at(60_000, { kind: 'timer', id, heardAgoMs: -1 }).kinds();
    assert.deepEqual(effects, [], id);
  }
});

test('handshakes that fail are tried again in growing steps', () => {
  const run = new Run(true).at(0, needed);
  let now = 0;
  const pauses: number[] = [];
  for (let n = 0; n < 9; n += 1) {
    const id = run.state.rekey.kind === 'running' ? run.state.rekey.id : nonce(0);
    run.at(now, { kind: 'rekey-failed', id, reason: 'x' });
    pauses.push(run.state.ring.retryMs - now);
    assert.deepEqual(run.at(now, needed).kinds(), [], 'not at once');
    now = run.state.ring.retryMs;
    assert.deepEqual(run.at(now, needed).kinds(), ['start-rekey']);
  }
  assert.equal(pauses.at(0), 500);
  assert.equal(pauses.at(-1), timers.ringRetryMaxMs);
});
