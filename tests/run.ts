/**
 * The test runner: each file in a process of its own, counts trusted instead of exit codes (uvu
 * exits 0 when a hook throws or no test ran), a file that does not end is ended: that is how a
 * leaked handle shows. Files that need the machine for themselves run one at a time.
 *
 * Usage: node dist/tests/run.js FOLDER… [--only PART-OF-PATH] [--lanes FILES-AT-ONCE]
 *          [--seconds EACH-FUZZ-TARGET]
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
  repo: { limitMs: 60_000 },
  unit: { limitMs: 60_000 },
  property: { limitMs: 120_000 },
  sim: { limitMs: 120_000 },
  contract: { limitMs: 300_000, again: true },
  fuzz: { limitMs: 480_000 },
  sanitize: { limitMs: 900_000, again: true },
  interop: { limitMs: 480_000, again: true },
  netns: {
    limitMs: 900_000,
    alone: ['bridge-ring', 'rekey', 'ring-lab', 'ring-outage'],
    first: ['paths', 'lifecycle', 'trust', 'ovs', 'nat-matrix', 'ring-direct'],
    again: true,
  },
  kubernetes: { limitMs: 900_000, alone: ['kubernetes/cni'], first: ['flannel'], again: true },
};

/** One file of a folder to be run. */
interface Job {
  readonly file: string;
  readonly limits: Limits;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string' },
    seconds: { type: 'string' },
    // Most files wait for real seconds: three at once keep two processors no more than busy.
    lanes: { type: 'string', default: '3' },
  },
});
/** Fuzzing by hand: each target runs so long, and a file may take as long as all of them. */
const fuzzMs = Number(values.seconds ?? 0) * 1_000 * 30;
if (values.seconds !== undefined) process.env['EVIO_FUZZ_SECONDS'] = values.seconds;

const outcomes: Outcome[] = [];
const again: Job[] = [];
const jobs = positionals.flatMap(jobsOf);
// One queue for all folders, so that nobody waits at the end of one for the longest file of another.
const beside = jobs.filter((job) => !isLonely(job));
await Promise.all(Array.from({ length: Number(values.lanes) }, () => work(beside, true)));
await work(jobs.filter(isLonely), true);
if (again.length > 0) {
  process.stdout.write(`once more: ${again.map(({ file }) => file).join(', ')}\n`);
}
await work(again.splice(0), false);

const sum = (key: 'passed' | 'failed' | 'skipped'): number =>
  outcomes.reduce((n, o) => n + o[key], 0);
process.exitCode = sum('failed') > 0 || outcomes.length === 0 ? 1 : 0;
process.stdout.write(
  `${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped\n`,
);

/** The files of a folder, the long ones first. */
function jobsOf(folder: string): readonly Job[] {
  const limits = folders[folder];
  if (limits === undefined) throw new Error(`no such test folder: ${folder}`);
  const root = join(import.meta.dirname, folder);
  if (!existsSync(root)) return [];
  const rankOf = (file: string): number => {
    const rank = limits.first?.findIndex((part) => file.includes(part)) ?? -1;
    return rank < 0 ? Number.MAX_SAFE_INTEGER : rank;
  };
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((f) => f.endsWith('.test.js') && (values.only === undefined || f.includes(values.only)))
    .map((f) => join(folder, f))
    .sort()
    .sort((a, b) => rankOf(a) - rankOf(b))
    .map((file) => ({ file, limits }));
}

function isLonely({ file, limits }: Job): boolean {
  return limits.alone?.some((part) => file.includes(part)) === true;
}

/** Empties the queue, which others may empty too. */
async function work(queue: Job[], repeats: boolean): Promise<void> {
  for (let job = queue.shift(); job !== undefined; job = queue.shift()) {
    const outcome = await runFile(job.file, job.limits.limitMs + fuzzMs);
    if (outcome.failed > 0 && repeats && job.limits.again === true) again.push(job);
    else outcomes.push(outcome);
  }
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
