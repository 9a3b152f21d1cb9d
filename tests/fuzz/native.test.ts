/**
 * Every parser of bytes in the addon under libFuzzer with sanitizers: whatever the input, no report,
 * and the invariants that each target states hold. The corpus is replayed first.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exec } from '../../base/exec.ts';
import { corpusOf, fuzzSeconds } from '../support/fuzz.ts';
import { suite, type T } from '../support/harness.ts';
import { needsProgram } from '../support/needs.ts';
import { repositoryRoot } from '../support/repository.ts';

const test = suite('native fuzz targets');
const sources = join(repositoryRoot, 'tests/fuzz/native');
const built = join(repositoryRoot, 'tincan-bridge/native/build/fuzz');
const seconds = fuzzSeconds(3);

const hasRuntime = (): boolean =>
  ['/usr/lib/llvm-14', '/usr/lib/llvm-15', '/usr/lib/llvm-16', '/usr/lib/llvm-19'].some((root) => {
    const folder = join(root, 'lib/clang');
    return (
      existsSync(folder) &&
      readdirSync(folder, { recursive: true, encoding: 'utf8' }).some((name) =>
        name.includes('libclang_rt.fuzzer'),
      )
    );
  });
const why =
  needsProgram('clang++') ??
  (hasRuntime() ? null : 'the libFuzzer runtime (libclang-rt-14-dev) is not installed') ??
  (existsSync('/usr/include/openssl/evp.h') ? null : 'libssl-dev is not installed');

test.unless(
  why,
  'the targets build',
  async () => {
    await exec(['bash', join(sources, 'build.sh'), built], { timeoutMs: 180_000 });
  },
  200_000,
);

async function run(t: T, target: string): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), `evio-fuzz-${target}-`));
  const corpus = corpusOf(`native-${target}`);
  const kept = readdirSync(corpus).length;
  assert.ok(kept > 0);
  const argv = [`-max_total_time=${seconds}`, '-max_len=8192', '-timeout=20', '-rss_limit_mb=1024'];
  argv.push(`-artifact_prefix=${work}/`, '-print_final_stats=1');
  const found = join(work, 'found');
  await exec(['mkdir', found]);
  const child = spawn(join(built, target), [...argv, found, corpus], {
    env: { ...process.env, ASAN_OPTIONS: 'detect_leaks=0' },
    stdio: ['ignore', 'ignore', 'pipe'],
    signal: t.signal,
    killSignal: 'SIGKILL',
  });
  child.on('error', () => {}); // ended by the end of the test
  let log = '';
  child.stderr.on('data', (data: Buffer) => {
    log = (log + data.toString()).slice(-20_000);
  });
  const code = await new Promise((resolve) => child.on('close', resolve));
  const failing = readdirSync(work).filter((name) => name !== 'found');
  const shown = failing.map(
    (name) =>
      `${join(work, name)}: ${readFileSync(join(work, name)).toString('hex').slice(0, 400)}`,
  );
  assert.equal(code, 0, `${target} failed; inputs kept:\n${shown.join('\n')}\n${log}`);
  // A handshake takes milliseconds: on a busy machine hardly more than the corpus is run.
  const runs = Number(/stat::number_of_executed_units: (\d+)/.exec(log)?.[1]);
  assert.ok(runs >= kept, `${runs} runs of ${kept} inputs`);
  rmSync(work, { recursive: true });
}

for (const file of readdirSync(sources).filter((name) => name.endsWith('.cpp'))) {
  const target = file.replace('.cpp', '');
  test.unless(
    why,
    `${target}: no input does harm`,
    (t) => run(t, target),
    seconds * 1_000 + 30_000,
  );
}
