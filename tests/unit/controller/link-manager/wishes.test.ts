/** Wishes and descriptions that came before them. */
import assert from 'node:assert/strict';
import { NodeId, SessionNonce } from '../../../../base/ids.ts';
import {
  earlyDescriptionMs,
  maxEarlyDescriptions,
} from '../../../../controller/link-manager/core/timers.ts';
import {
  keepEarly,
  noWishes,
  takeEarly,
  unwant,
  want,
} from '../../../../controller/link-manager/core/wishes.ts';
import type { SessionDescription } from '../../../../tincan-bridge/protocol/description.ts';
import { suite } from '../../../support/harness.ts';

const test = suite('link wishes');
const id = (n: number): NodeId => NodeId.parse(n.toString(16).padStart(32, '0'));
const description: SessionDescription = {
  nonce: SessionNonce.parse('00000000000000aa'),
  peerNonce: null,
  ufrag: 'abcd',
  password: 'a'.repeat(22),
  candidates: [],
  complete: false,
};

test('a description that came before the wish is handed out once', () => {
  const early = keepEarly(noWishes, id(1), description, 0);
  const taken = takeEarly(want(early, id(1)), id(1), 10);
  assert.deepEqual(taken.description, description);
  assert.equal(takeEarly(taken.state, id(1), 10).description, null);
});

test('an old one is not', () => {
  const early = keepEarly(noWishes, id(1), description, 0);
  assert.equal(takeEarly(early, id(1), earlyDescriptionMs).description, null);
});

test('strangers cannot fill the memory: the oldest gives way', () => {
  let state = noWishes;
  for (let n = 0; n <= maxEarlyDescriptions; n += 1)
    state = keepEarly(state, id(n), description, n);
  assert.equal(state.early.size, maxEarlyDescriptions);
  assert.equal(state.early.has(id(0)), false);
});

test('a wish can be taken back', () => {
  assert.equal(unwant(want(noWishes, id(1)), id(1)).wanted.size, 0);
});
