/**
 * Every source file opens with one to six lines on what it owns.
 */
import assert from 'node:assert/strict';
import { suite } from '../support/harness.ts';
import { filesBelow, readSource } from './sources.ts';

const test = suite('file heads');

/** Lines of prose of a head; a usage block may follow after an empty line. */
const maxHeadLines = 6;

/** What is wrong with the head, or null. */
function judge(text: string): string | null {
  const head = /^(?:#!.*\n)?\/\*\*?\n?([\s\S]*?)\*\//.exec(text)?.[1];
  if (head === undefined) return 'has no head';
  const lines = head.split('\n').map((line) => line.replace(/^\s*\*?\s?/, '').trim());
  const end = lines.findIndex((line, index) => line === '' && index > 0);
  const prose = lines.slice(0, end < 0 ? lines.length : end).filter((line) => line !== '');
  if (prose.length === 0) return 'has an empty head';
  return prose.length > maxHeadLines ? `has a head of ${prose.length} lines` : null;
}

test('every TypeScript and C++ file says what it owns', () => {
  const files = filesBelow().filter((path) => /\.(ts|cpp|cc|c|h)$/.test(path));
  assert.ok(files.length > 50, `only ${files.length} files were found`);
  const bad = files
    .map((path) => [path, judge(readSource(path))])
    .filter(([, why]) => why !== null);
  assert.deepEqual(bad, []);
});

test('the judge refuses files without a head', () => {
  assert.equal(judge("import a from 'b';\n"), 'has no head');
  assert.equal(judge('/** */\n'), 'has an empty head');
  assert.equal(judge(`/**\n${' * line\n'.repeat(7)} */\n`), 'has a head of 7 lines');
  assert.equal(judge('/** Owns it. */\n'), null);
});
