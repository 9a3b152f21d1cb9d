/**
 * Our JSON scanner and JSON.parse agree on what is JSON, and places point at what they name.
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { checkText } from '../../config/check.ts';
import { parseJsonText } from '../../config/core/json-text.ts';
import { suite } from '../support/harness.ts';

const test = suite('json text');

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false; // that is the answer
  }
}

test('every JSON text is accepted, with the value that JSON.parse gives', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 6 }), fc.constantFrom(0, 1, '\t'), (value, space) => {
      const text = JSON.stringify(value, null, space);
      const parsed = parseJsonText(text);
      assert.equal(parsed.syntaxError, null);
      assert.deepEqual(parsed.value, JSON.parse(text));
      assert.deepEqual(parsed.repeated, []);
    }),
  );
});

test('a JSON text with one character changed is refused exactly when JSON.parse refuses it', () => {
  const character = fc.constantFrom(...'{}[]",:\\ux0-1.e+\n\t tfn/*');
  fc.assert(
    fc.property(fc.json({ maxDepth: 3 }), fc.nat(), character, (text, at, replacement) => {
      const place = at % (text.length + 1);
      const changed = text.slice(0, place) + replacement + text.slice(place + 1);
      assert.equal(parseJsonText(changed).syntaxError === null, isJson(changed), changed);
    }),
    { numRuns: 2_000 },
  );
});

test('the place of a value is where it stands', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 5 }), { minLength: 1 }), (texts) => {
      const text = JSON.stringify({ list: texts }, null, 1);
      const { placeOfValue } = parseJsonText(text);
      for (const [index, each] of texts.entries()) {
        const { line, column } = placeOfValue(['list', index]);
        const here = text.split('\n')[line - 1]?.slice(column - 1) ?? '';
        assert.ok(here.startsWith(JSON.stringify(each)));
      }
    }),
  );
});

test('no text makes the check throw', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      assert.ok(checkText(text).findings.length > 0);
    }),
  );
  assert.match(checkText('['.repeat(100_000)).findings[0]?.message ?? '', /nested deeper/);
});
