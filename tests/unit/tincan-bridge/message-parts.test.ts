/**
 * Messages cut into control payloads and joined again: order, repetition, bounds.
 */
import { strict as assert } from 'node:assert';
import {
  cutMessage,
  MessageParts,
  partBytes,
} from '../../../tincan-bridge/session/core/message-parts.ts';
import { suite } from '../../support/harness.ts';

const test = suite('message parts');
const long = 'ä€x'.repeat(1_500);

test('a text comes back from its parts in any order, once', () => {
  const parts = cutMessage(long) ?? [];
  assert.ok(parts.length > 5 && parts.every(({ length }) => length <= partBytes));
  const box = new MessageParts();
  const count = parts.length;
  const said = [...parts.entries()]
    .reverse()
    .map(([index, part]) => box.add({ nonce: 1n, index, count, part }));
  assert.deepEqual(said.at(-1), { kind: 'done', body: long });
  assert.ok(said.slice(0, -1).every(({ kind }) => kind === 'waits'));
  const [part = new Uint8Array()] = parts;
  const again = box.add({ nonce: 1n, index: 0, count, part });
  assert.deepEqual(again, { kind: 'done', body: null }, 'the peer is told again, nobody else');
});

test('what is too long or nothing is not cut', () => {
  assert.equal(cutMessage(''), null);
  assert.equal(cutMessage('x'.repeat(16_385)), null);
  assert.equal(cutMessage('x'.repeat(16_384))?.length, 17);
});

test('a peer cannot make us keep more than a few unfinished ones, or nonsense', () => {
  const box = new MessageParts();
  const part = new Uint8Array(partBytes).fill(0x61);
  for (let n = 0n; n < 5n; n += 1n) {
    assert.equal(box.add({ nonce: n, index: 0, count: 2, part }).kind, 'waits');
  }
  assert.equal(box.add({ nonce: 0n, index: 1, count: 2, part }).kind, 'waits', 'forgotten');
  assert.equal(box.add({ nonce: 9n, index: 0, count: 200, part }).kind, 'refused');
  assert.equal(box.add({ nonce: 4n, index: 1, count: 3, part }).kind, 'refused', 'another count');
  const bad = Uint8Array.of(0xff, 0xfe);
  assert.equal(box.add({ nonce: 10n, index: 0, count: 1, part: bad }).kind, 'refused');
});
