/**
 * The search for the path's MTU against model paths: it ends at the exact size whether the narrow place
 * answers, refuses or swallows, takes no loss for narrowness, and finds a path that grew.
 */
import { strict as assert } from 'node:assert';
import fc from 'fast-check';
import {
  initialPathMtu,
  nextPathMtu,
  type PathMtu,
  type PathMtuInput,
  raiseMs,
  safeFrames,
} from '../../tincan-bridge/session/core/path-mtu.ts';
import { suite } from '../support/harness.ts';

const test = suite('path mtu properties');
const most = 1_434;
const rttMs = 20;

interface Path {
  /** Largest frame that passes now. */
  readonly carries: () => number;
  /** The kernel refuses larger ones by itself. */
  readonly refuses: boolean;
  readonly loses: () => boolean;
}

/** Runs the machine on the path until `untilMs`, with a tick a second. */
function run(path: Path, untilMs: number, state: PathMtu, fromMs = 0): PathMtu {
  let now = fromMs;
  let current = state;
  let timerMs = Number.POSITIVE_INFINITY; // one timer, set anew each time
  const queue: Array<{ readonly atMs: number; readonly input: PathMtuInput }> = [];
  const put = (input: PathMtuInput): void => {
    const step = nextPathMtu(current, input, now);
    current = step.state;
    for (const effect of step.effects) {
      if (effect.kind === 'timer') timerMs = effect.atMs;
      if (effect.kind !== 'probe') continue;
      const { bytes } = effect;
      if (bytes <= path.carries()) {
        if (!path.loses()) queue.push({ atMs: now + rttMs, input: { kind: 'passed', bytes } });
      } else if (path.refuses) {
        queue.push({ atMs: now, input: { kind: 'refused' } });
        continue;
      }
      if (!path.loses()) queue.push({ atMs: now + rttMs, input: { kind: 'small-passed' } });
    }
    assert.ok(current.fits <= most && current.fits < current.failed);
  };
  if (state === initialPathMtu) put({ kind: 'begin', most });
  for (let tick = now + 1_000; tick <= untilMs; tick += 1_000) {
    queue.push({ atMs: tick, input: { kind: 'tick', busy: true } });
  }
  for (;;) {
    queue.sort((x, y) => x.atMs - y.atMs);
    const first = queue[0]?.atMs ?? Number.POSITIVE_INFINITY;
    const atMs = Math.min(first, timerMs);
    if (atMs > untilMs) return current;
    now = atMs;
    if (timerMs < first) {
      timerMs = Number.POSITIVE_INFINITY;
      put({ kind: 'timer' });
    } else {
      const next = queue.shift();
      if (next !== undefined) put(next.input);
    }
  }
}

const never = (): boolean => false;
const sizes = fc.integer({ min: safeFrames.at(-1) ?? 0, max: 1_500 });

test('the exact size is found within 8 s, refused or swallowed', () => {
  fc.assert(
    fc.property(sizes, fc.boolean(), (size, refuses) => {
      const end = run({ carries: () => size, refuses, loses: never }, 8_500, initialPathMtu);
      assert.equal(end.fits, Math.min(size, most));
      assert.equal(end.probe, null);
    }),
  );
});

test('a path that shrinks under traffic carries again within 2 s, and what is sent then fits', () => {
  fc.assert(
    fc.property(sizes, fc.boolean(), (size, refuses) => {
      const before = run({ carries: () => most, refuses, loses: never }, 3_500, initialPathMtu);
      assert.equal(before.fits, most);
      const path = { carries: () => size, refuses, loses: never };
      const soon = run(path, 6_000, before, 3_500);
      assert.ok(soon.fits <= size || safeFrames.includes(soon.fits));
      assert.equal(run(path, 15_500, before, 3_500).fits, Math.min(size, most));
    }),
  );
});

test('a path that grows is used again after the raise time, not before', () => {
  const narrow = run({ carries: () => 1_300, refuses: false, loses: never }, 9_500, initialPathMtu);
  const wide = { carries: () => most, refuses: false, loses: never };
  assert.equal(run(wide, 60_500, narrow, 9_500).fits, 1_300);
  assert.equal(run(wide, raiseMs + 30_000, narrow, 9_500).fits, most);
});

test('a lossy path of full width is not taken for a narrow one', () => {
  let seed = 1;
  // Linear congruence: the test must be the same each time.
  const loses = (): boolean => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return seed / 2 ** 31 < 0.05;
  };
  const end = run({ carries: () => most, refuses: false, loses }, 600_000, initialPathMtu);
  assert.equal(end.fits, most);
});
