/** STUN requests before werift sees them: proved, and bounded in rate and number of senders. */
import assert from 'node:assert/strict';
import { systemClock } from '../../../base/clock.ts';
import { CheckGate, maxCheckedFrom } from '../../../tincan-bridge/ice/check-gate.ts';
import { suite } from '../../support/harness.ts';
import { bindingRequest } from '../../support/stun.ts';

const test = suite('check gate');
const password = 'p'.repeat(24);

function newGate() {
  const seen: unknown[] = [];
  const counts = { refused: 0, nowMs: 0 };
  const gate = new CheckGate({
    ufrag: 'abcd',
    password,
    clock: { ...systemClock, now: () => counts.nowMs },
    remotes: () => [{ host: '192.0.2.1', port: 9 }],
    refused: () => {
      counts.refused += 1;
    },
  });
  const event = { execute: (...given: unknown[]): unknown => seen.push(given) };
  gate.guard(event);
  const send = (port: number, bytes = bindingRequest('abcd', password)): unknown =>
    event.execute({}, ['192.0.2.1', port], bytes);
  return { send, seen, counts };
}

test('a request without our credentials never passes', () => {
  const { send, seen, counts } = newGate();
  send(1, bindingRequest('abcd', 'q'.repeat(24)));
  send(1, bindingRequest('other', password));
  send(1, Buffer.alloc(20));
  send(1, Buffer.from('no stun at all'));
  assert.deepEqual([seen.length, counts.refused], [0, 4]);
  send(1);
  assert.equal(seen.length, 1);
});

test('a peer that checks from ever new addresses is kept to a bound; known ones go on', () => {
  const { send, seen, counts } = newGate();
  for (let port = 1_000; port < 1_200; port += 1) send(port);
  assert.deepEqual([seen.length, counts.refused], [maxCheckedFrom, 200 - maxCheckedFrom]);
  send(1_000);
  send(9);
  assert.equal(seen.length, maxCheckedFrom + 2);
});

test('requests beyond the rate are refused, and pass again later', () => {
  const { send, seen, counts } = newGate();
  for (let n = 0; n < 1_000; n += 1) send(1);
  assert.deepEqual([seen.length, counts.refused], [400, 600]);
  counts.nowMs = 1_000;
  for (let n = 0; n < 1_000; n += 1) send(1);
  assert.equal(seen.length, 500);
});
