/**
 * The repository names no machine it was made on and no registry it was fetched from.
 */
import assert from 'node:assert/strict';
import { suite } from '../support/harness.ts';
import { filesBelow, readSource } from './sources.ts';

const test = suite('no hosts');

const forbidden: readonly { readonly what: RegExp; readonly why: string }[] = [
  { what: /(?<![\w.-])\/root\//, why: 'a home folder' },
  { what: /(?<![\w.-])\/home\/(?!<)\w/, why: 'a home folder' },
  { what: /(?<![\w.-])\/work\//, why: 'a folder of one machine' },
  { what: /https?:\/\/(?!registry\.npmjs\.org\/)[\w.-]*registry[\w.-]*/, why: 'a registry' },
  { what: /https?:\/\/[^\s/"]*:\d{2,5}\/(?:npm|pypi|apt|repository)/, why: 'a package mirror' },
];

/** Fixtures hold captured bytes; this file holds the patterns. */
const isExcepted = (path: string): boolean =>
  path.startsWith('tests/fixtures/') || path === 'tests/repo/no-hosts.test.ts';

const judge = (text: string): readonly string[] =>
  text
    .split('\n')
    .flatMap((line, index) =>
      forbidden
        .filter(({ what }) => what.test(line))
        .map(({ why }) => `${index + 1}: ${why}: ${line.trim().slice(0, 100)}`),
    );

test('no file names a machine, a home folder or a registry', () => {
  const found = filesBelow()
    .filter((path) => !isExcepted(path))
    .flatMap((path) => judge(readSource(path)).map((where) => `${path}:${where}`));
  assert.deepEqual(found, []);
});

test('the patterns find what they should', () => {
  // Put together here, so that this file does not name what it forbids.
  const [home, work, host] = [
    ['', 'root', 'x'],
    ['', 'work', 'main'],
    ['https:', '', 'my-registry.local', 'npm'],
  ];
  const lines = [home, work, host].map((parts) => parts.join('/'));
  assert.equal(judge(`cd ${lines.join('\nsee ')}`).length, 3);
  const inner = [
    ['docs', 'root', 'x'],
    ['a', 'work', 'y'],
    ['', 'workspace'],
  ];
  assert.equal(judge(inner.map((parts) => parts.join('/')).join(', ')).length, 0);
});
