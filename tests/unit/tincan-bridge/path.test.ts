/**
 * Names and sizes of paths, the MTU derived from them, backoff.
 */
import { strict as assert } from 'node:assert';
import { backoffMs } from '../../../tincan-bridge/session/core/backoff.ts';
import { initialMtu, nextMtu } from '../../../tincan-bridge/session/core/mtu.ts';
import {
  maxFrameBytes,
  type PathFacts,
  pathKind,
} from '../../../tincan-bridge/session/core/path.ts';
import { mtuRaiseMs } from '../../../tincan-bridge/session/core/timers.ts';
import { suite } from '../../support/harness.ts';

const test = suite('path');
const host: PathFacts = {
  local: 'host',
  remote: 'host',
  remotePrivate: true,
  translated: false,
  family: 4,
};

test('a path is named by what ICE found', () => {
  const table: ReadonlyArray<readonly [Partial<PathFacts>, string]> = [
    [{}, 'direct-host'],
    [{ remote: 'srflx' }, 'direct-reflexive'],
    [{ remote: 'prflx', remotePrivate: false }, 'direct-reflexive'],
    [{ remote: 'prflx', remotePrivate: true }, 'direct-host'],
    [{ translated: true }, 'direct-reflexive'],
    [{ local: 'relay' }, 'turn'],
    [{ remote: 'relay' }, 'turn'],
    [{ local: 'relay', remote: 'srflx' }, 'turn'],
  ];
  for (const [facts, kind] of table) assert.equal(pathKind({ ...host, ...facts }), kind);
});

test('what fits: 1500 minus IP, UDP, channel, record and type byte', () => {
  assert.equal(maxFrameBytes('direct-host', 4, 'aes-256-gcm'), 1_434);
  assert.equal(maxFrameBytes('direct-host', 6, 'aes-256-gcm'), 1_414);
  assert.equal(maxFrameBytes('turn', 4, 'aes-128-gcm'), 1_430);
  assert.equal(maxFrameBytes('direct-reflexive', 4, 'chacha20-poly1305'), 1_442);
});

test('the MTU is lowered at once and raised after a minute', () => {
  let state = initialMtu(null);
  assert.equal(state.mtu, 1_420);
  const go = (frames: number[], nowMs: number): string => {
    const next = nextMtu(state, frames, nowMs);
    state = next.state;
    return next.effects.map((e) => (e.kind === 'changed' ? `${e.mtu}` : 'wait')).join();
  };
  assert.equal(go([1_434], 0), '');
  assert.equal(go([1_434, 1_430], 1), '1416');
  assert.equal(go([1_434], 1_000), 'wait');
  assert.equal(go([1_434], 1_000 + mtuRaiseMs - 1), 'wait');
  assert.equal(go([1_434], 1_000 + mtuRaiseMs), '1420');
  assert.equal(go([1_414], 100_000), '1400');
  assert.equal(go([1_434], 101_000), 'wait');
  assert.equal(go([1_414], 102_000), '', 'it came back: the wait starts anew');
  assert.equal(go([1_434], 103_000), 'wait');
  assert.equal(go([1_434], 101_000 + mtuRaiseMs), 'wait');
});

test('a fixed MTU never changes', () => {
  const { state, effects } = nextMtu(initialMtu(1_300), [1_000], 0);
  assert.deepEqual([state.mtu, effects], [1_300, []]);
});

test('backoff doubles from 1 s to 60 s, and draws from half to all of it', () => {
  assert.deepEqual(
    [1, 2, 3, 7, 100].map((n) => backoffMs(n, 1)),
    [1_000, 2_000, 4_000, 60_000, 60_000],
  );
  assert.equal(backoffMs(1, 0), 500);
});
