/**
 * Test files are where the runner finds them, and unit tests stand where what they test stands.
 */
import assert from 'node:assert/strict';
import { suite } from '../support/harness.ts';
import { filesBelow, readSource } from './sources.ts';

const test = suite('test names');

/** Folders that `tests/run.ts` knows hold `*.test.ts`; the others hold none. */
const run = [
  'repo',
  'unit',
  'property',
  'contract',
  'sim',
  'interop',
  'netns',
  'fuzz',
  'sanitize',
].concat('kubernetes');
const tests = filesBelow('tests').filter((path) => path.endsWith('.ts'));

test('every file with tests has the name and folder that the runner looks for', () => {
  const lost = tests.filter((path) => {
    const hasTests = /from '(?:\.\.\/)+support\/harness\.ts'/.test(readSource(path));
    const isNamed = path.endsWith('.test.ts') && run.includes(path.split('/')[1] ?? '');
    const isSupport = path.startsWith('tests/support/');
    return !isSupport && hasTests && /\bsuite\(/.test(readSource(path)) !== isNamed;
  });
  assert.deepEqual(lost, []);
});

test('the runner knows every folder of tests', () => {
  const folders = new Set(
    tests.filter((path) => path.endsWith('.test.ts')).map((path) => path.split('/')[1] ?? ''),
  );
  const runner = readSource('tests/run.ts');
  const unknown = [...folders].filter((folder) => !runner.includes(`  ${folder}: {`));
  assert.deepEqual(unknown, []);
});

test('unit tests mirror the tree', () => {
  const sources = filesBelow().filter((path) => !path.startsWith('tests/'));
  const astray = tests
    .filter((path) => path.startsWith('tests/unit/'))
    .filter((path) => {
      const folder = path.replace('tests/unit/', '').split('/').slice(0, -1).join('/');
      return !sources.some((source) => source.startsWith(`${folder}/`));
    });
  assert.deepEqual(astray, []);
});
