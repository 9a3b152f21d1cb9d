/**
 * Links by traffic: opened at the threshold, held by the cap and the minimum age, removed when idle.
 */
import assert from 'node:assert/strict';
import type { NodeId } from '../../../../../base/ids.ts';
import {
  type Demands,
  nextDemands,
  quietMs,
} from '../../../../../controller/topology/core/on-demand.ts';
import { suite } from '../../../../support/harness.ts';
import { randomId, seeded } from '../../../../support/virtual-time.ts';

const test = suite('on-demand links');
const random = seeded(1);
const [a, b, c] = [randomId(random), randomId(random), randomId(random)];
const config = { max: 2, thresholdBytesPerSecond: 1_000_000, minAgeMs: 60_000 };
const nobody = (): boolean => false;
const none: Demands = new Map();

const sample = (...rates: readonly (readonly [NodeId, number])[]): ReadonlyMap<NodeId, number> =>
  new Map(rates);

test('a flow over the threshold wants a link, one below does not', () => {
  const demands = nextDemands(none, sample([a, 20_000_000], [b, 999_999]), nobody, config, 0);
  assert.deepEqual([...demands.keys()], [a]);
});

test('the busiest come first, the cap is held, and who is there stays', () => {
  let demands = nextDemands(none, sample([a, 2e6], [b, 3e6], [c, 4e6]), nobody, config, 0);
  assert.deepEqual([...demands.keys()], [c, b]);
  demands = nextDemands(demands, sample([a, 9e6], [b, 2e6], [c, 2e6]), nobody, config, 10_000);
  assert.deepEqual([...demands.keys()].sort(), [b, c].sort());
});

test('an idle one is removed after the minimum age, not before', () => {
  let demands = nextDemands(none, sample([a, 2e6]), nobody, config, 0);
  for (let now = 10_000; now < 60_000; now += 10_000) {
    demands = nextDemands(demands, sample(), nobody, config, now);
    assert.equal(demands.size, 1, `${now} ms`);
  }
  assert.equal(nextDemands(demands, sample(), nobody, config, 60_000).size, 0);
});

test('a tenth of the threshold keeps it, and a burst starts the quiet time anew', () => {
  let demands = nextDemands(none, sample([a, 2e6]), nobody, config, 0);
  demands = nextDemands(demands, sample([a, 100_000]), nobody, config, 300_000);
  demands = nextDemands(demands, sample(), nobody, config, 310_000);
  demands = nextDemands(demands, sample([a, 100_000]), nobody, config, 310_000 + quietMs);
  demands = nextDemands(demands, sample(), nobody, config, 320_000 + quietMs);
  assert.equal(demands.size, 1);
  assert.equal(nextDemands(demands, sample(), nobody, config, 320_000 + 2 * quietMs).size, 0);
});

test('a peer that has a link for another reason needs none; zero turns it all off', () => {
  assert.equal(nextDemands(none, sample([a, 2e6]), () => true, config, 0).size, 0);
  assert.equal(nextDemands(none, sample([a, 2e6]), nobody, { ...config, max: 0 }, 0).size, 0);
});
