/** The log: whatever others cause, a bounded number of lines a minute, and a word on the rest. */
import assert from 'node:assert/strict';
import { LineLimit } from '../../../base/line-limit.ts';
import { createLogger } from '../../../base/log.ts';
import { suite } from '../../support/harness.ts';

const test = suite('log');

function newLog() {
  const lines: Array<Record<string, unknown>> = [];
  const clock = { nowMs: 0 };
  const destination = { write: (line: string) => void lines.push(JSON.parse(line)) };
  const log = createLogger('info', destination, () => clock.nowMs);
  return { lines, clock, log };
}

test('a line that is caused again and again is written 60 times a minute, after a burst', () => {
  const { lines, clock, log } = newLog();
  const child = log.child('signal', { overlay: 'lab' });
  for (let n = 0; n < 10_000; n += 1) child.warn('peer refused', { reason: `because ${n}` });
  assert.equal(lines.length, 120);
  const before = lines.length;
  for (let second = 1; second <= 60; second += 1) {
    clock.nowMs = second * 1_000;
    for (let n = 0; n < 1_000; n += 1) child.warn('peer refused', { reason: `later ${n}` });
  }
  const later = lines.slice(before);
  assert.equal(later.filter((line) => line['msg'] === 'peer refused').length, 60);
  assert.deepEqual(
    [later[0]?.['msg'], later[0]?.['count'], later[0]?.['event']],
    ['lines like the next were left out', 9_880, 'peer refused'],
  );
});

test('one message that floods leaves the others alone', () => {
  const { lines, log } = newLog();
  for (let n = 0; n < 500; n += 1) log.info('stanza of a stranger dropped');
  log.error('pins cannot be written');
  assert.equal(lines.at(-1)?.['msg'], 'pins cannot be written');
});

test('messages that are made up share a budget: neither lines nor memory grow', () => {
  const limit = new LineLimit();
  let taken = 0;
  for (let n = 0; n < 100_000; n += 1) if (limit.take(`kind ${n}`, 0) !== null) taken += 1;
  assert.equal(taken, 512 + 120);
});

test('a level that is off costs no budget', () => {
  const { lines, log } = newLog();
  for (let n = 0; n < 500; n += 1) log.debug('detail');
  log.info('detail');
  assert.equal(lines.length, 1);
});
