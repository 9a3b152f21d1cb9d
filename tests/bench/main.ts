/**
 * The bench: ours and other VPNs, interleaved in one run, against the bare cable. Owns the order
 * of the rounds and the files; a ratio counts, an absolute figure does not.
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
import { evio, evioRing, evioTurn } from './programs/evio.ts';
import { fastd } from './programs/fastd.ts';
import { n2n } from './programs/n2n.ts';
import { openvpn } from './programs/openvpn.ts';
import { createPair, installProgram, type Pair, type Program } from './programs/program.ts';
import { raw } from './programs/raw.ts';
import { tinc } from './programs/tinc.ts';
import { vpncloud } from './programs/vpncloud.ts';
import { wireguardGo } from './programs/wireguard-go.ts';
import { type Row, rowsOf, tableOf, verdictsOf } from './results.ts';

const programs: readonly Program[] = [
  ...[raw, evio, evioTurn, evioRing, wireguardGo],
  ...[vpncloud, fastd, tinc, openvpn, n2n],
];

/** Program → case → one value per round. */
type Gathered = Map<string, Map<Case, number[]>>;

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
  const samples: Gathered = new Map();
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
  const columns = programs.map((program) => ({ program: program.name, ...program }));
  const rows = rowsOf(columns, units, samples);
  say(tableOf(columns, units, samples));
  for (const verdict of verdictsOf(columns, samples)) say(verdict);
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
  samples: Gathered,
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
