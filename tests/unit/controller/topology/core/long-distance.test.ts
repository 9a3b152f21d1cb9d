/**
 * How many long-distance links, how far they lead, and that they follow the harmonic law.
 */
import assert from 'node:assert/strict';
import {
  defaultLongDistance,
  drawMember,
  drawPlaces,
  isTooClose,
} from '../../../../../controller/topology/core/long-distance.ts';
import { suite } from '../../../../support/harness.ts';
import { randomId, seeded } from '../../../../support/virtual-time.ts';

const test = suite('long-distance links');

test('the default number is ⌊log2(n + 1)⌋, at least one', () => {
  assert.deepEqual([0, 1, 3, 10, 100, 1_023].map(defaultLongDistance), [1, 1, 2, 3, 6, 10]);
});

test('draws follow the harmonic law with the natural logarithm', () => {
  for (const [nodes, seed] of [
    [100, 1],
    [1_000, 2],
  ] as const) {
    const random = seeded(seed);
    const draws = 200_000;
    const edges = [1, 2, 3, 5, 10, 30, 100, 300, 1_000]
      .filter((edge) => edge < nodes)
      .concat(nodes);
    const counts = new Array<number>(edges.length - 1).fill(0);
    for (let n = 0; n < draws; n += 1) {
      const places = drawPlaces(nodes, random);
      assert.ok(places >= 1 && places < nodes);
      const bin = edges.findLastIndex((edge) => places >= edge);
      counts[bin] = (counts[bin] ?? 0) + 1;
    }
    let chi = 0;
    for (const [bin, count] of counts.entries()) {
      // P(a ≤ ⌊n^u⌋ < b) = (ln b − ln a) / ln n
      const from = edges[bin] ?? 1;
      const to = edges[bin + 1] ?? nodes;
      const expected = (draws * (Math.log(to) - Math.log(from))) / Math.log(nodes);
      chi += (count - expected) ** 2 / expected;
    }
    // The 99.9th percentile for 8 degrees of freedom is 26.1.
    assert.ok(chi < 26.1, `chi² ${chi} for ${nodes} nodes`);
  }
});

test('a draw gives up when nobody passes, and never gives this node itself', () => {
  const random = seeded(3);
  const ring = Array.from({ length: 50 }, () => randomId(random)).sort();
  const self = randomId(random);
  assert.equal(
    drawMember(ring, self, random, () => false),
    null,
  );
  for (let n = 0; n < 1_000; n += 1) {
    assert.notEqual(
      drawMember(ring, self, random, () => true),
      self,
    );
  }
  assert.equal(
    drawMember([], self, random, () => true),
    null,
  );
});

test('what the successors reach, either way round, is too close', () => {
  const random = seeded(4);
  const [self, ...ring] = Array.from({ length: 11 }, () => randomId(random)).sort();
  assert.ok(self !== undefined);
  const close = ring.map((id) => isTooClose(ring, self, id, 2));
  assert.deepEqual(
    close.map((each, index) => (each ? index + 1 : 0)).filter((places) => places > 0),
    [1, 2, 9, 10],
  );
});
