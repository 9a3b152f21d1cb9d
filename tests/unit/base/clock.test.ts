/** The system's clock: timers elapse once, move, and end. */
import assert from 'node:assert/strict';
import { Alarm, systemClock } from '../../../base/clock.ts';
import { suite } from '../../support/harness.ts';

const test = suite('base/clock');

const passed = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test('an alarm that is set again elapses once, at the later time', async () => {
  const alarm = new Alarm(systemClock);
  const elapsed: string[] = [];
  alarm.set(5, () => elapsed.push('first'));
  alarm.set(20, () => elapsed.push('second'));
  await passed(60);
  assert.deepEqual(elapsed, ['second']);
});

test('one that was ended does not elapse, and may be set again', async () => {
  const alarm = new Alarm(systemClock);
  const elapsed: string[] = [];
  alarm.end();
  alarm.set(5, () => elapsed.push('ended'));
  alarm.end();
  await passed(30);
  assert.equal(elapsed.length, 0);
  alarm.set(1, () => elapsed.push('again'));
  await passed(30);
  assert.deepEqual(elapsed, ['again']);
});
