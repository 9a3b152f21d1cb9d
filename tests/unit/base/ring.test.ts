/**
 * Arithmetic on the ring, against a slow model with big numbers.
 */
import assert from 'node:assert/strict';
import { NodeId } from '../../../base/ids.ts';
import {
  clockwise,
  distance,
  following,
  isBetween,
  lowerBound,
  membersBetween,
  positionOf,
} from '../../../base/ring.ts';
import { suite } from '../../support/harness.ts';
import { randomId, seeded } from '../../support/virtual-time.ts';

const test = suite('ring arithmetic');

const id = (position: bigint): NodeId => NodeId.parse(position.toString(16).padStart(32, '0'));
const last = 2n ** 128n - 1n;

test('distances go round the end of the ring', () => {
  assert.equal(positionOf(id(last)), last);
  assert.equal(clockwise(id(last), id(2n)), 3n);
  assert.equal(clockwise(id(2n), id(last)), last - 2n);
  assert.equal(distance(id(2n), id(last)), 3n);
  assert.equal(distance(id(0n), id(2n ** 127n)), 2n ** 127n);
  assert.equal(following(id(last)), id(0n));
  assert.equal(following(id(9n)), id(10n));
});

test('between is strict, round the end, and everywhere else when both ends are one', () => {
  const random = seeded(1);
  for (let n = 0; n < 2_000; n += 1) {
    const [a, b, c] = [randomId(random), randomId(random), randomId(random)];
    assert.equal(isBetween(a, b, c), clockwise(b, a) > 0n && clockwise(b, a) < clockwise(b, c));
    assert.equal(isBetween(b, b, c), false);
    assert.equal(isBetween(c, b, c), false);
    assert.equal(isBetween(a, b, b), true);
    assert.equal(isBetween(b, b, b), false);
  }
});

test('members between two ids come clockwise, as many as asked for', () => {
  const random = seeded(2);
  for (let n = 0; n < 300; n += 1) {
    const sorted = Array.from({ length: n % 12 }, () => randomId(random)).sort();
    const after = n % 2 === 0 ? randomId(random) : (sorted[n % sorted.length] ?? randomId(random));
    const before = n % 5 === 0 ? after : randomId(random);
    const slow = sorted
      .filter((each) => isBetween(each, after, before))
      .sort((a, b) => (clockwise(after, a) < clockwise(after, b) ? -1 : 1));
    assert.deepEqual(membersBetween(sorted, after, before, 100), slow);
    assert.deepEqual(membersBetween(sorted, after, before, 2), slow.slice(0, 2));
    assert.equal(lowerBound(sorted, after), sorted.filter((each) => each < after).length);
  }
});
