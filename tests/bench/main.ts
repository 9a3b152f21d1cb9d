/**
 * The bench: ours and other VPNs, interleaved in one run, against the bare cable. Owns the order
 * of the rounds, the table and `bench/results.json`; a ratio counts, an absolute figure does not.
 *
 * Usage: npm run bench -- [--install] [--only evio,raw] [--seconds 5] [--rounds 3]
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { messageOf } from '../../base/errors.ts';
import { repositoryRoot } from '../support/repository.ts';
import { waitFor, withScope } from '../support/scope.ts';
import { ping } from '../support/traffic.ts';
import { type Case, measure, units } from './measure.ts';
import { evio, evioTurn } from './programs/evio.ts';
import { fastd } from './programs/fastd.ts';
import { n2n } from './programs/n2n.ts';
import { openvpn } from './programs/openvpn.ts';
import { createPair, installProgram, type Pair, type Program } from './programs/program.ts';
import { raw } from './programs/raw.ts';
import { tinc } from './programs/tinc.ts';
import { vpncloud } from './programs/vpncloud.ts';
import { wireguardGo } from './programs/wireguard-go.ts';

const programs: readonly Program[] = [
  ...[raw, evio, evioTurn, wireguardGo],
  ...[vpncloud, fastd, tinc, openvpn, n2n],
];

/** Program → case → one value per round. */
type Samples = Map<string, Map<Case, number[]>>;

interface Row {
  readonly case: Case;
  readonly program: string;
  readonly value: number;
  readonly unit: string;
  readonly ratio_to_raw: number | null;
}

const say = (text: string): void => void process.stdout.write(`${text}\n`);

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      install: { type: 'boolean', default: false },
      only: { type: 'string' },
      seconds: { type: 'string', default: '5' },
      rounds: { type: 'string', default: '3' },
    },
  });
  const chosen = await choose(values.only, values.install);
  const samples: Samples = new Map();
  const rounds = positive('--rounds', values.rounds);
  const seconds = positive('--seconds', values.seconds);
  for (let round = 1; round <= rounds; round += 1) {
    for (const program of chosen) {
      say(`round ${round} of ${rounds}: ${program.name}`);
      await withScope(async (scope) => {
        await runOnce(await createPair(scope), program, seconds, samples);
      }).catch((error: unknown) => {
        if (/ended by SIG/.test(messageOf(error))) throw error;
        say(`  ${program.name}: ${messageOf(error)}`);
      });
    }
  }
  const rows = rowsOf(samples);
  say(table(rows));
  writeResults(rows);
  if (rows.length === 0) process.exitCode = 1;
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new Error(`${name} ${text}: not a count`);
  return value;
}

async function choose(only: string | undefined, install: boolean): Promise<readonly Program[]> {
  const names = only?.split(',');
  for (const name of names ?? []) {
    if (!programs.some((p) => p.name === name)) {
      throw new Error(`no program ${name}; there are ${programs.map((p) => p.name).join(', ')}`);
    }
  }
  const wanted = programs.filter((p) => names === undefined || names.includes(p.name));
  const found: Program[] = [];
  for (const program of wanted) {
    if (install && program.missing() !== null && program.install.kind !== 'nothing') {
      say(`installing ${program.name}`);
      await installProgram(program).catch((error: unknown) => say(messageOf(error)));
    }
    const why = program.missing();
    if (why === null) found.push(program);
    else say(`skipped: ${program.name}: ${why}${install ? '' : ' (--install gets the others)'}`);
  }
  return found;
}

async function runOnce(
  pair: Pair,
  program: Program,
  seconds: number,
  samples: Samples,
): Promise<void> {
  const running = await program.start(pair);
  const once = { count: 1, waitS: 0.5 };
  await waitFor(
    `${program.name} carries a ping`,
    async () => (await ping(pair.lab, 'a', running.addresses.b, once)).received === 1,
    { timeoutMs: 30_000 },
  );
  const { values, notes } = await measure(pair, running, seconds);
  for (const note of notes) say(`  ${note}`);
  const cases = samples.get(program.name) ?? new Map<Case, number[]>();
  samples.set(program.name, cases);
  for (const [name, value] of values) cases.set(name, [...(cases.get(name) ?? []), value]);
  await running.stop();
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const upper = sorted[Math.floor(middle)] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? upper)) / 2;
}

const caseNames = (): readonly Case[] => Object.keys(units).filter((name) => isCase(name));
const isCase = (name: string): name is Case => name in units;

function rowsOf(samples: Samples): readonly Row[] {
  const baseline = samples.get('raw');
  return caseNames().flatMap((name) =>
    [...samples].flatMap(([program, cases]) => {
      const values = cases.get(name);
      if (values === undefined) return [];
      const value = median(values);
      const under = baseline?.get(name);
      const ratio = under === undefined ? null : round(value / median(under));
      return [{ case: name, program, value: round(value), unit: units[name], ratio_to_raw: ratio }];
    }),
  );
}

const round = (value: number): number => Number(value.toPrecision(4));

function table(rows: readonly Row[]): string {
  const names = programs.map((p) => p.name).filter((n) => rows.some((row) => row.program === n));
  const cells = caseNames().map((name) => [
    `${name} ${units[name]}`,
    ...names.map((program) => {
      const row = rows.find((r) => r.case === name && r.program === program);
      return row === undefined ? '-' : formatValue(row.value);
    }),
  ]);
  const lines = [['', ...names], ...cells];
  const widths = lines[0]?.map((_, i) => Math.max(...lines.map((line) => line[i]?.length ?? 0)));
  return lines
    .map((line) =>
      line
        .map((cell, i) =>
          i === 0 ? cell.padEnd(widths?.[i] ?? 0) : cell.padStart(widths?.[i] ?? 0),
        )
        .join('  '),
    )
    .join('\n');
}

const formatValue = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(3);

function writeResults(rows: readonly Row[]): void {
  const folder = join(repositoryRoot, 'bench');
  mkdirSync(folder, { recursive: true });
  const cpu = /^model name\s*:\s*(.+)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1];
  const results = {
    date: new Date().toISOString(),
    cpu: cpu ?? process.arch,
    kernel: release(),
    node: process.version,
    rows,
  };
  const file = join(folder, 'results.json');
  writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`);
  say(`written to ${file}; figures are medians, kernel threads are not in cpu-per-gb`);
}

await main();
