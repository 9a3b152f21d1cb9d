/**
 * Every error code that the sources use is in the table, and every code of the table is used, or
 * reserved with a reason.
 */
import assert from 'node:assert/strict';
import { errorTable } from '../../base/errors.ts';
import { suite } from '../support/harness.ts';
import { readSource, typescriptFiles } from './sources.ts';

const test = suite('error codes');

/** Codes that no source uses yet, and why they are kept. */
const reserved: Readonly<Record<string, string>> = {};

const product = typescriptFiles().filter(
  (path) => !path.startsWith('tests/') && path !== 'base/errors.ts',
);

test('every code that is thrown is in the table', () => {
  const unknown = product.flatMap((path) =>
    [...readSource(path).matchAll(/new EvioError\(\s*'([^']+)'/g)]
      .map(([, code = '']) => code)
      .filter((code) => !Object.hasOwn(errorTable, code))
      .map((code) => `${path}: ${code}`),
  );
  assert.deepEqual(unknown, []);
});

test('every code of the table is used or reserved', () => {
  const texts = product.map(readSource);
  const unused = Object.keys(errorTable).filter(
    (code) => !texts.some((text) => text.includes(`'${code}'`)),
  );
  assert.deepEqual(unused, Object.keys(reserved));
});

test('codes and texts have one form', () => {
  for (const [code, { meaning, remedy }] of Object.entries(errorTable)) {
    assert.match(code, /^[a-z]+([.-][a-z]+)*$/);
    for (const text of [meaning, remedy]) assert.match(text, /^[^A-Z.].*[^.]$|^XMPP .*[^.]$/, code);
  }
});
