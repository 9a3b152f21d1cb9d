/**
 * Runs programs of ours with an addon built by the compiler's sanitizers, and collects what those
 * report. Node itself is not instrumented: the runtime library is preloaded, and leaks are not
 * looked for. Owns folders of reports; decides nothing about them.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { exec } from '../../base/exec.ts';
import type { T } from './harness.ts';
import { repositoryRoot } from './repository.ts';

/** As EVIO_SANITIZE names them: together where the compiler can. */
export type Sanitizer = 'address,undefined' | 'thread';

const libraries: Readonly<Record<Sanitizer, readonly string[]>> = {
  'address,undefined': ['libasan.so', 'libubsan.so'],
  thread: ['libtsan.so'],
};

/** What `kind` needs in the environment, with its reports as files below `folder`. */
export interface Bench {
  readonly kind: Sanitizer;
  readonly folder: string;
  readonly env: Readonly<Record<string, string>>;
  /** Every report so far. */
  reports(): readonly string[];
}

/** Why the compiler here has no such sanitizer, or null. */
export function noSanitizer(kind: Sanitizer): string | null {
  if (!existsSync('/usr/bin/g++')) return 'g++ is not installed';
  return libraries[kind].map(pathOf).every(isAbsolute)
    ? null
    : `g++ has no ${libraries[kind].join(' and ')}`;
}

const pathOf = (library: string): string =>
  execFileSync('g++', [`-print-file-name=${library}`], { encoding: 'utf8' }).trim();

/** The addon, instrumented; built when its sources are newer. */
export async function buildAddon(kind: Sanitizer): Promise<string> {
  const folder = join(repositoryRoot, 'tincan-bridge/native');
  const argv = ['env', `EVIO_SANITIZE=${kind}`, 'bash', join(folder, 'build.sh')];
  await exec(argv, { timeoutMs: 240_000 });
  return join(folder, 'build', kind, 'evio.node');
}

export function newBench(t: T, kind: Sanitizer, addon: string): Bench {
  const folder = mkdtempSync(join(tmpdir(), 'evio-sanitize-'));
  t.defer(() => rmSync(folder, { recursive: true }));
  const log = `log_path=${join(folder, 'report')}`;
  return {
    kind,
    folder,
    env: {
      EVIO_NATIVE: addon,
      LD_PRELOAD: libraries[kind].map(pathOf).join(' '),
      ASAN_OPTIONS: `detect_leaks=0:verify_asan_link_order=0:exitcode=99:${log}`,
      // It writes to standard error whatever log_path says, when it is loaded beside the other.
      UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1:exitcode=98',
      // V8 and OpenSSL synchronise by atomics that the sanitizer does not see: what it says of their
      // memory alone is no report. Ours is instrumented, and every access to it is judged.
      TSAN_OPTIONS: `ignore_noninstrumented_modules=1:report_signal_unsafe=0:exitcode=0:${log}`,
    },
    reports: () => reportsIn(folder, kind),
  };
}

function reportsIn(folder: string, kind: Sanitizer): readonly string[] {
  return readdirSync(folder)
    .map((name) => readFileSync(join(folder, name), 'utf8'))
    .flatMap((text) => (kind === 'thread' ? racesOf(text) : [text]));
}

/** Reports of which at least one stack goes through a file of ours. */
const racesOf = (text: string): string[] =>
  text
    .split('==================')
    .filter((report) => /^WARNING: ThreadSanitizer/m.test(report))
    .filter((report) => /\(evio[a-z-]*\.node|\bevio::/.test(report));

const writeReport = (bench: Bench, text: string): void =>
  writeFileSync(join(bench.folder, `report.ub.${readdirSync(bench.folder).length}`), text);

export interface Ran {
  readonly code: number | null;
  readonly output: string;
}

/** A built script with the bench's environment; the programs that it starts go without it. */
export function runScript(t: T, bench: Bench, argv: readonly string[]): Promise<Ran> {
  const forget = '--import=data:text/javascript,delete process.env.LD_PRELOAD';
  const child = spawn(process.execPath, ['--enable-source-maps', forget, ...argv], {
    env: { ...process.env, ...bench.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    signal: t.signal,
    killSignal: 'SIGKILL',
  });
  let output = '';
  const collect = (data: Buffer): void => {
    output += data.toString();
  };
  child.stdout.on('data', collect);
  child.stderr.on('data', collect);
  child.on('error', () => {}); // ended by the test's own end
  return new Promise((resolve) =>
    child.on('close', (code) => {
      const undefinedBehaviour = /^.*: runtime error: [\s\S]*/m.exec(output);
      if (undefinedBehaviour !== null) writeReport(bench, undefinedBehaviour[0]);
      resolve({ code, output });
    }),
  );
}
