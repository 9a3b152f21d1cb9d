/**
 * The generated pages and the JSON Schema are what the schemas say now, and the example is right.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { checkText } from '../../config/check.ts';
import { generatedFiles, repositoryRoot } from '../reference/pages.ts';
import { suite } from '../support/harness.ts';
import { filesBelow, readSource } from './sources.ts';

const test = suite('reference docs');

for (const [path, text] of generatedFiles()) {
  test(`${path} is current`, () => {
    assert.ok(existsSync(join(repositoryRoot, path)), `${path} is missing: npm run docs`);
    assert.equal(readSource(path), text, `${path} is not current: npm run docs`);
  });
}

test('nothing else stands among the generated pages', () => {
  const known = [...generatedFiles().keys()];
  assert.deepEqual(
    filesBelow('docs/reference').filter((path) => !known.includes(path)),
    [],
  );
});

test('the example configuration has no error', () => {
  assert.deepEqual(checkText(readSource('config/example.json')).findings, []);
});

test('every JSON configuration in the documentation has no error', () => {
  const blocks = filesBelow('docs')
    .filter((path) => path.endsWith('.md'))
    .flatMap((path) =>
      [...readSource(path).matchAll(/```json\n([\s\S]*?)```/g)].map(([, text = '']) => ({
        path,
        text,
      })),
    )
    .filter(({ text }) => text.includes('"Broker"'));
  assert.ok(blocks.length > 0);
  for (const { path, text } of blocks) assert.deepEqual(checkText(text).findings, [], path);
});
