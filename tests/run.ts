/**
 * The test runner: each file in a process of its own, counts trusted instead of exit codes (uvu
 * exits 0 when a hook throws or no test ran), a file that does not end is ended: that is how a
 * leaked handle shows. Files that need the machine for themselves run one at a time.
 *
 * Usage: node dist/tests/run.js FOLDER… [--only PART-OF-PATH] [--seconds EACH-FUZZ-TARGET]
 */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

interface Outcome {
  readonly file: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

interface Limits {
  readonly limitMs: number;
  /** Files of the folder that may run beside each other. */
  readonly jobs: number;
  /** Parts of names: files that load the machine, or count what other load would change. */
  readonly alone?: readonly string[];
  /** The long ones, begun first: who comes last would keep the others waiting. */
  readonly first?: readonly string[];
  /**
   * A file that fails is run once more, alone. Only where real programs race against real seconds on
   * a machine that others use too; both outcomes are printed, so that a flake is seen and mended.
   */
  readonly again?: boolean;
}
const folders: Record<string, Limits> = {
  repo: { limitMs: 60_000, jobs: 2 },
  unit: { limitMs: 60_000, jobs: 2 },
  property: { limitMs: 120_000, jobs: 2 },
  sim: { limitMs: 120_000, jobs: 2 },
  contract: { limitMs: 300_000, jobs: 2, again: true },
  fuzz: { limitMs: 480_000, jobs: 2 },
  sanitize: { limitMs: 900_000, jobs: 2, again: true },
  interop: { limitMs: 480_000, jobs: 2, again: true },
  netns: {
    limitMs: 900_000,
    jobs: 2,
    alone: ['bridge-ring', 'rekey', 'ring-lab', 'ring-outage'],
    first: ['paths', 'lifecycle', 'trust', 'ovs', 'nat-matrix', 'ring-direct'],
    again: true,
  },
  kubernetes: { limitMs: 900_000, jobs: 2, alone: ['kubernetes/cni'], again: true },
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { only: { type: 'string' }, seconds: { type: 'string' } },
});
const outcomes: Outcome[] = [];
/** Fuzzing by hand: each target runs so long, and a file may take as long as all of them. */
const fuzzMs = Number(values.seconds ?? 0) * 1_000 * 30;
if (values.seconds !== undefined) process.env['EVIO_FUZZ_SECONDS'] = values.seconds;
for (const folder of positionals) {
  const limits = folders[folder];
  if (limits === undefined) throw new Error(`no such test folder: ${folder}`);
  await runFolder(folder, limits);
}
const sum = (key: 'passed' | 'failed' | 'skipped'): number =>
  outcomes.reduce((n, o) => n + o[key], 0);
process.exitCode = sum('failed') > 0 || outcomes.length === 0 ? 1 : 0;
process.stdout.write(
  `${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped\n`,
);

async function runFolder(folder: string, limits: Limits): Promise<void> {
  const root = join(import.meta.dirname, folder);
  if (!existsSync(root)) return;
  const startedMs = performance.now();
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((f) => f.endsWith('.test.js') && (values.only === undefined || f.includes(values.only)))
    .map((f) => join(folder, f))
    .sort();
  const isLonely = (file: string): boolean =>
    limits.alone?.some((part) => file.includes(part)) === true;
  const again: string[] = [];
  const work = async (queue: string[], repeats: boolean): Promise<void> => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const outcome = await runFile(file, limits.limitMs + fuzzMs);
      if (outcome.failed > 0 && repeats) again.push(file);
      else outcomes.push(outcome);
    }
  };
  const rankOf = (file: string): number => {
    const rank = limits.first?.findIndex((part) => file.includes(part)) ?? -1;
    return rank < 0 ? files.length : rank;
  };
  const beside = files.filter((file) => !isLonely(file)).sort((a, b) => rankOf(a) - rankOf(b));
  const repeats = limits.again === true;
  await Promise.all(Array.from({ length: limits.jobs }, () => work(beside, repeats)));
  await work(files.filter(isLonely), repeats);
  if (again.length > 0) process.stdout.write(`once more: ${again.join(', ')}\n`);
  await work(again, false);
  const seconds = ((performance.now() - startedMs) / 1_000).toFixed(0);
  process.stdout.write(`${folder}: ${files.length} files in ${seconds} s\n`);
}

function runFile(file: string, limitMs: number): Promise<Outcome> {
  return new Promise((resolve) => {
    const started = performance.now();
    const child = spawn(
      process.execPath,
      ['--enable-source-maps', join(import.meta.dirname, file)],
      { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, NO_COLOR: '1' } },
    );
    let out = '';
    let late = false;
    const collect = (data: Buffer): void => {
      out += data.toString();
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, limitMs);
    child.on('close', (code) => {
      clearTimeout(timer);
      // A file may hold several suites: their totals add up.
      const count = (word: string): number =>
        [...out.matchAll(new RegExp(`^  ${word}:\\s+(\\d+)`, 'gm'))].reduce(
          (n, m) => n + Number(m[1]),
          0,
        );
      const total = count('Total');
      const passed = count('Passed');
      const skipped = count('Skipped');
      const why = reasonOf(late, total, passed, skipped, code);
      const seconds = ((performance.now() - started) / 1000).toFixed(1);
      for (const line of out.split('\n').filter((l) => l.startsWith('skipped: '))) {
        process.stdout.write(`${line}\n`);
      }
      process.stdout.write(
        why === ''
          ? `ok   ${file} (${passed} in ${seconds} s)\n`
          : `FAIL ${file} (${seconds} s): ${why}\n${out}\n`,
      );
      resolve({ file, passed, failed: why === '' ? 0 : Math.max(1, total - passed), skipped });
    });
  });
}

function reasonOf(
  late: boolean,
  total: number,
  passed: number,
  skipped: number,
  code: number | null,
): string {
  if (late) return 'did not end by itself';
  if (total + skipped === 0) return 'ran no test';
  if (passed !== total) return 'tests failed';
  return code === 0 ? '' : `exit ${code}`;
}
