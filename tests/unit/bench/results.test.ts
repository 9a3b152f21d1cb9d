/** What the bench makes of samples: the rows that `bench/results.json` promises, and the bars. */
import assert from 'node:assert/strict';
import type { Case } from '../../bench/measure.ts';
import { units } from '../../bench/measure.ts';
import { type Column, rowsOf, tableOf, verdictsOf } from '../../bench/results.ts';
import { suite } from '../../support/harness.ts';

const test = suite('bench results');

const columns: readonly Column[] = [
  { name: 'raw', program: 'raw' },
  { name: 'evio', program: 'evio' },
  { name: 'evio-turn', program: 'evio', way: 'turn' },
  { name: 'fastd', program: 'fastd', rival: true },
  { name: 'tinc', program: 'tinc', rival: true },
];

function samplesOf(of: Readonly<Record<string, Partial<Record<Case, readonly number[]>>>>) {
  const cases = (named: object): [Case, readonly number[]][] => Object.entries(named) as never;
  return new Map(Object.entries(of).map(([column, named]) => [column, new Map(cases(named))]));
}

const samples = samplesOf({
  raw: { 'tcp-1': [20_000, 10_000, 30_000] },
  evio: { 'tcp-1': [9_000, 8_000], rss: [181] },
  'evio-turn': { 'tcp-1': [1_000] },
  fastd: { 'tcp-1': [700] },
  tinc: { 'tcp-1': [1_200] },
});

test('rows are medians with their ratio to the cable; a relayed case is named behind it', () => {
  const row = (name: string, program: string, value: number, ratio: number | null, unit: string) =>
    ({ case: name, program, value, unit, ratio_to_raw: ratio }) as const;
  assert.deepEqual(rowsOf(columns, units, samples), [
    row('rss', 'evio', 181, null, 'MiB'),
    row('tcp-1', 'raw', 20_000, 1, 'Mbit/s'),
    row('tcp-1', 'evio', 8_500, 0.425, 'Mbit/s'),
    row('tcp-1-turn', 'evio', 1_000, 0.05, 'Mbit/s'),
    row('tcp-1', 'fastd', 700, 0.035, 'Mbit/s'),
    row('tcp-1', 'tinc', 1_200, 0.06, 'Mbit/s'),
  ]);
});

test('the table has a column for each program that ran, and a dash for what was not measured', () => {
  const lines = tableOf(columns, units, samples).split('\n');
  assert.match(lines[0] ?? '', /^ +raw +evio +evio-turn +fastd +tinc$/);
  assert.match(tableOf(columns, units, samples), /^rss MiB +- +181 +- +- +-$/m);
});

test('each bar that can be judged is, against the best of the rivals', () => {
  assert.deepEqual(verdictsOf(columns, samples), [
    'held    evio tcp-1 ÷ raw: 0.425 (≥ 0.4)',
    'MISSED  evio tcp-1 ÷ tinc: 7.083 (≥ 8)',
    'MISSED  evio rss: 181 (≤ 180)',
    'MISSED  evio-turn tcp-1 ÷ evio: 0.118 (≥ 0.5)',
  ]);
});
