/** Supervision of the tunnel process: restarts, backoff, hangs. */
import assert from 'node:assert/strict';
import { silenceMs } from '../../../../controller/link-manager/core/patience.ts';
import {
  nextSupervision,
  restartDelayMs,
  type SupervisionEffect,
  type SupervisionInput,
  type SupervisionState,
} from '../../../../controller/link-manager/core/supervision.ts';
import { restartCapMs, stableMs } from '../../../../controller/link-manager/core/timers.ts';
import { suite } from '../../../support/harness.ts';

const test = suite('tunnel process supervision');

function run(...inputs: SupervisionInput[]): {
  state: SupervisionState;
  effects: readonly SupervisionEffect[];
} {
  let state: SupervisionState = { kind: 'idle' };
  let effects: readonly SupervisionEffect[] = [];
  for (const input of inputs) ({ state, effects } = nextSupervision(state, input));
  return { state, effects };
}
const failed = (nowMs: number): SupervisionInput => ({
  kind: 'failed',
  reason: 'exit status 1',
  nowMs,
  random: 0.5,
});

test('the process is spawned once the device stands, once', () => {
  assert.deepEqual(run({ kind: 'device-ready' }).effects, [{ kind: 'spawn' }]);
  assert.deepEqual(run({ kind: 'device-ready' }, { kind: 'device-ready' }).effects, []);
});

test('an end leads to a new start after a wait', () => {
  const down = run({ kind: 'device-ready' }, { kind: 'opened', nowMs: 0 }, failed(10));
  assert.deepEqual(
    down.effects.map((e) => e.kind),
    ['announce-down', 'start-timer'],
  );
  assert.deepEqual(nextSupervision(down.state, { kind: 'timer' }).effects, [{ kind: 'spawn' }]);
});

test('the wait doubles up to its cap and starts afresh after a stable time', () => {
  assert.equal(restartDelayMs(1, 0.5), 100);
  assert.equal(restartDelayMs(3, 0.5), 400);
  assert.equal(restartDelayMs(99, 0.5), restartCapMs);
  const crashed = run({ kind: 'device-ready' }, failed(0), { kind: 'timer' }, failed(1));
  assert.equal(crashed.state.kind === 'waiting' && crashed.state.failures, 2);
  const stable = run(
    { kind: 'device-ready' },
    failed(0),
    { kind: 'timer' },
    { kind: 'opened', nowMs: 10 },
    failed(10 + stableMs),
  );
  assert.equal(stable.state.kind === 'waiting' && stable.state.failures, 1);
});

test('a process that hangs is killed, while it starts and later', () => {
  const hung: SupervisionInput = { kind: 'hung' };
  assert.deepEqual(run({ kind: 'device-ready' }, hung).effects, [{ kind: 'kill' }]);
  const up = run({ kind: 'device-ready' }, { kind: 'opened', nowMs: 0 }, hung);
  assert.deepEqual(up.effects, [{ kind: 'kill' }]);
  assert.deepEqual(run({ kind: 'device-ready' }, failed(0), hung).effects, []);
});

test('time without a processor is no silence, but does not excuse for ever', () => {
  const from = { nowMs: 1_000, waitedMs: 500 };
  assert.equal(silenceMs(from, { nowMs: 7_000, waitedMs: 500 }), 6_000);
  assert.equal(silenceMs(from, { nowMs: 7_000, waitedMs: 5_500 }), 1_000);
  assert.equal(silenceMs(from, { nowMs: 301_000, waitedMs: 300_500 }), 6_000);
  assert.equal(silenceMs({ nowMs: 0, waitedMs: null }, { nowMs: 9, waitedMs: 8 }), 9);
});

test('after stop nothing starts again', () => {
  const stopped = run({ kind: 'device-ready' }, { kind: 'stop' }, failed(0), { kind: 'timer' });
  assert.deepEqual(stopped, { state: { kind: 'stopped' }, effects: [] });
});
