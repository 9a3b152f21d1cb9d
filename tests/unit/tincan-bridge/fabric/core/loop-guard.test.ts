/**
 * Loops outside the overlay: who closes, who asks back, when it is over; and the frames that say so.
 */
import { strict as assert } from 'node:assert';
import { Mac, NodeId } from '../../../../../base/ids.ts';
import {
  decodeOwnFrame,
  encodeOwnFrame,
  type LoopFrame,
} from '../../../../../tincan-bridge/fabric/core/loop-frame.ts';
import {
  holdMs,
  type LoopEffect,
  LoopGuard,
  probeMs,
} from '../../../../../tincan-bridge/fabric/core/loop-guard.ts';
import { suite } from '../../../../support/harness.ts';

const test = suite('loop guard');
const id = (n: number): NodeId => NodeId.parse(n.toString(16).padStart(32, '0'));
const kinds = (effects: readonly LoopEffect[]): string[] => effects.map(({ kind }) => kind);
const guardOf = (n: number): LoopGuard => {
  let next = BigInt(n) << 32n;
  return new LoopGuard(id(n), () => next++);
};

function probeOf(effects: readonly LoopEffect[]): LoopFrame {
  const found = effects.find((effect) => effect.kind === 'probe');
  assert.ok(found?.kind === 'probe');
  return found.frame;
}
function sentIn(effects: readonly LoopEffect[]): {
  readonly to: NodeId;
  readonly frame: LoopFrame;
} {
  const found = effects.find((effect) => effect.kind === 'send');
  assert.ok(found?.kind === 'send');
  return found;
}

/** The larger one hears the smaller one's probe, and both agree. */
function join(small: LoopGuard, large: LoopGuard, nowMs: number): readonly LoopEffect[] {
  const asked = sentIn(large.heardProbe(probeOf(small.tick(nowMs)), nowMs));
  const answered = small.heardAnswer(id(2), asked.frame, nowMs);
  assert.equal(asked.to, id(1));
  return large.heardAnswer(id(1), sentIn(answered).frame, nowMs);
}

test('of two that are joined the larger id closes, and opens when no probe comes any more', () => {
  const [small, large] = [guardOf(1), guardOf(2)];
  assert.deepEqual(kinds(join(small, large, 0)), ['forget', 'joined']);
  assert.deepEqual([small.isClosed, large.isClosed], [false, true]);
  assert.deepEqual([small.joined, large.joined], [[id(2)], [id(1)]]);
  assert.deepEqual(kinds(join(small, large, probeMs)), [], 'known already');
  assert.deepEqual(kinds(large.tick(probeMs)), ['forget', 'probe'], 'once more');
  assert.deepEqual(kinds(large.tick(probeMs + holdMs - 1)), ['probe']);
  assert.deepEqual(kinds(large.tick(probeMs + holdMs)), ['forget', 'parted', 'probe']);
  assert.equal(large.isClosed, false);
});

test('the smaller one answers a probe with one of its own, and not too often', () => {
  const [small, large] = [guardOf(1), guardOf(2)];
  const probe = probeOf(large.tick(0));
  assert.deepEqual(kinds(small.heardProbe(probe, 0)), ['probe']);
  for (let at = 1; at < 100; at += 1) assert.deepEqual(small.heardProbe(probe, at), []);
  assert.deepEqual(kinds(small.heardProbe(probe, 100)), ['probe']);
  assert.equal(small.isClosed, false);
});

test('nonces that were never sent, or not asked about, close nothing', () => {
  const [small, large] = [guardOf(1), guardOf(2)];
  const real = probeOf(small.tick(0));
  const made: LoopFrame = { ...real, nonce: 99n };
  assert.deepEqual(small.heardAnswer(id(2), { ...made, kind: 'heard' }, 0), []);
  assert.deepEqual(large.heardAnswer(id(1), { ...real, kind: 'confirmed' }, 0), [], 'not asked');
  large.heardProbe(made, 0);
  assert.deepEqual(large.heardAnswer(id(3), { ...made, kind: 'confirmed' }, 0), [], 'of another');
  assert.deepEqual(guardOf(3).heardProbe({ ...made, node: id(3) }, 0), [], 'not its own');
  assert.equal(large.isClosed, false);
});

test('who hears its own probe closes', () => {
  const guard = guardOf(7);
  guard.heardProbe(probeOf(guard.tick(0)), 1);
  assert.equal(guard.isClosed, true);
});

test('own frames come back from their bytes, and others are no own frames', () => {
  const mac = Mac.parse('02:00:00:00:00:0a');
  for (const frame of [
    { kind: 'probe', node: id(5), nonce: 2n ** 64n - 1n },
    { kind: 'heard', node: id(5), nonce: 0n },
    { kind: 'confirmed', node: id(6), nonce: 7n },
    { kind: 'gone', node: id(6), mac },
  ] as const) {
    const bytes = encodeOwnFrame(frame);
    assert.deepEqual(decodeOwnFrame(bytes), frame);
    for (let length = 0; length < 43; length += 1) {
      assert.equal(decodeOwnFrame(bytes.subarray(0, length)), null);
    }
    for (const at of [0, 12, 14, 18]) {
      const other = bytes.slice();
      other[at] = 0xee;
      assert.equal(decodeOwnFrame(other), null, `byte ${at}`);
    }
  }
});
