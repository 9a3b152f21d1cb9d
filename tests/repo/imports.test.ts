/**
 * Who may import what, with the reason: the architecture as a table that is checked. Two tables,
 * for our own folders and for packages; every file must find its row.
 */
import assert from 'node:assert/strict';
import { suite } from '../support/harness.ts';
import { filesBelow, type Import, importsOf, readSource, typescriptFiles } from './sources.ts';

const test = suite('imports');

interface Row {
  /** Files that the row is for; the first row that matches a file counts. */
  readonly files: RegExp;
  /** Files of ours that they may import. */
  readonly may: RegExp;
  /** More that they may import as types only. */
  readonly types?: RegExp;
  readonly why: string;
}

const pureBase = String.raw`^base/(cidr|ids|errors|machine|remember|ring|secret)\.ts$`;

const rows: readonly Row[] = [
  {
    files: /^tests\//,
    may: /^(base|config|controller|tincan-bridge|cni-plugin|tests)\//,
    why: 'tests see everything; nothing imports tests',
  },
  { files: /^base\//, may: /^base\//, why: 'base is the leaf that all programs stand on' },
  {
    files: /^config\/core\//,
    may: new RegExp(`${pureBase}|^config/core/`),
    why: 'a core is pure: it can be tested with values alone',
  },
  {
    files: /^config\//,
    may: /^(base|config)\//,
    why: 'the configuration knows no program, so that any can read it',
  },
  {
    files: /^tincan-bridge\/protocol\//,
    may: new RegExp(`${pureBase}|^tincan-bridge/protocol/`),
    why: 'the protocol is imported by both sides and must bring nothing with it',
  },
  {
    files: /^tincan-bridge\/.*core\//,
    may: new RegExp(
      String.raw`${pureBase}|^tincan-bridge/([a-z-]+/core|protocol)/|^tincan-bridge/datapath/wire\.ts$`,
    ),
    types: /^tincan-bridge\/datapath\//,
    why: 'a core is pure: bytes of the wire and types of the data path are all it needs',
  },
  {
    files: /^tincan-bridge\//,
    may: /^(base|tincan-bridge)\//,
    why: 'its settings arrive by request: it never knows controller or config',
  },
  {
    files: /^cni-plugin\/core\//,
    may: new RegExp(`${pureBase}|^cni-plugin/core/`),
    why: 'a core is pure: what a host is to be told is text from values',
  },
  {
    files: /^cni-plugin\//,
    may: /^(base|cni-plugin)\/|^controller\/local-api\/(schema|client)\.ts$/,
    why: 'a pod waits for it: it asks the controller and brings nothing heavy',
  },
  {
    files: /^controller\/(events|bus|peer-messages|version)\.ts$/,
    may: /^base\/|^controller\/(events|peer-messages)\.ts$|^tincan-bridge\/protocol\//,
    why: 'the vocabulary of the controller stands above its modules',
  },
  {
    files: /^controller\/main\.ts$|^controller\/[a-z-]*\.ts$/,
    may: /^(base|config)\/|^controller\/[a-z-]+\.ts$|^controller\/[a-z-]+\/index\.ts$|^cni-plugin\/index\.ts$/,
    types: /^tincan-bridge\/protocol\//,
    why: 'it joins the modules by their front doors',
  },
  {
    files: /^controller\/cli\/core\//,
    may: new RegExp(`${pureBase}|^controller/cli/core/`),
    types: /^controller\/local-api\/schema\.ts$/,
    why: 'tables are text from values',
  },
  {
    files: /^controller\/cli\//,
    may: /^(base|config|controller\/cli)\/|^controller\/local-api\/(schema|client)\.ts$|^controller\/(main|version)\.ts$|^controller\/identity\/(ca\/)?index\.ts$|^cni-plugin\/install\.ts$/,
    why: 'it asks the local API, installs the CNI plugin, checks configurations, works as a CA, and starts the controller',
  },
  {
    files: /^controller\/([a-z-]+)\/core\//,
    may: new RegExp(`${pureBase}|^controller/$1/core/|^controller/peer-messages\\.ts$`),
    types: /^controller\/events\.ts$|^tincan-bridge\/protocol\//,
    why: 'a core is pure: ids, errors, schemas and its own files',
  },
  {
    files: /^controller\/(link-manager)\//,
    may: /^base\/|^controller\/(peer-messages\.ts|$1\/)|^tincan-bridge\/(client\.ts|protocol\/)/,
    types: /^controller\/(events|bus)\.ts$/,
    why: 'it alone speaks to tunnel processes',
  },
  {
    files: /^controller\/([a-z-]+)\//,
    may: /^base\/|^controller\/(peer-messages\.ts|$1\/)/,
    types: /^controller\/(events|bus)\.ts$/,
    why: 'a module never imports another: they meet on the bus',
  },
];

interface Entry {
  readonly packages: RegExp;
  readonly files: RegExp;
  readonly why: string;
}

/** Where third-party code may enter the product; tests may use what the product has. */
const entries: readonly Entry[] = [
  { packages: /^zod$/, files: /./, why: 'every schema, pure ones too' },
  {
    packages: /^node:/,
    files: /^(?!.*\/(core|protocol)\/).*|^tests\//,
    why: 'a core or protocol touches nothing',
  },
  { packages: /^uvu$/, files: /^tests\/support\/harness\.ts$/, why: 'its holes are closed there' },
  { packages: /^fast-check$/, files: /^tests\//, why: 'a tool of tests' },
  {
    packages: /^rxjs$/,
    files: /^controller\/(bus\.ts$|(?!.*core\/)[a-z-]+\/)/,
    why: 'streams serve shells; a core decides without them',
  },
  { packages: /^pino$/, files: /^base\/log\.ts$/, why: 'all else has our Logger' },
  { packages: /^commander$/, files: /^controller\/cli\//, why: 'only the CLI has arguments' },
  {
    packages: /^@xmpp\//,
    files: /^controller\/signal\/xmpp\//,
    why: 'it can be replaced in one folder',
  },
  {
    packages: /^werift$/,
    // The test has werift's DTLS as the attacker.
    files: /^tincan-bridge\/ice\/werift\.ts$|^tests\/contract\/handshake\.test\.ts$/,
    why: 'ICE only, by one door: its DTLS authenticates nobody',
  },
  {
    packages: /^(@peculiar\/x509|reflect-metadata)$/,
    files: /^controller\/identity\/|^tests\//,
    why: 'certificates are made in one place',
  },
];

const isOurs = (to: string): boolean => to.includes('/') && /\.ts$/.test(to);

/** `$1` in a row's patterns stands for what its first group matched in the file's path. */
function filledIn(pattern: RegExp, file: RegExpExecArray): RegExp {
  return new RegExp(pattern.source.replaceAll('$1', file[1] ?? '$1'));
}

function judge({ from, to, typeOnly }: Import): string | null {
  if (isOurs(to)) {
    for (const { files, may, types, why } of rows) {
      const match = files.exec(from);
      if (match === null) continue;
      const allowed =
        filledIn(may, match).test(to) ||
        (typeOnly && types !== undefined && filledIn(types, match).test(to));
      return allowed ? null : `${from} imports ${to}: ${why}`;
    }
    return `${from}: no row of the table is for it`;
  }
  const entry = entries.find(({ packages }) => packages.test(to));
  if (entry === undefined) return `${from} imports ${to}: no entry of the table is for it`;
  return entry.files.test(from) ? null : `${from} imports ${to}: ${entry.why}`;
}

test('every import stands in the table', () => {
  const imports = typescriptFiles().flatMap((path) => importsOf(path));
  assert.ok(imports.length > 100, `only ${imports.length} imports were found`);
  assert.deepEqual(
    imports.map(judge).filter((verdict) => verdict !== null),
    [],
  );
});

test('the table refuses what it should', () => {
  const text = [
    "import { Link } from '../link-manager/link-manager.ts';",
    "import { Bus } from '../bus.ts';",
    "import type { Port } from '../bus.ts';",
    "import { type Port, type Bus } from '../bus.ts';",
    "import werift from 'werift';",
    "import x from 'left-pad/sub.js';",
    "export { a } from '../../tests/support/harness.ts';",
    'import {\n  b,\n} from "no quotes of ours";',
    "const later = await import('../../tincan-bridge/main.ts');",
  ].join('\n');
  const refused = importsOf('controller/signal/x.ts', text).filter((each) => judge(each) !== null);
  assert.deepEqual(
    refused.map(({ to }) => to),
    [
      'controller/link-manager/link-manager.ts',
      'controller/bus.ts',
      'werift',
      'left-pad',
      'tests/support/harness.ts',
      'tincan-bridge/main.ts',
    ],
  );
  const core = importsOf('config/core/x.ts', "import { join } from 'node:path';\n");
  assert.equal(core.filter((each) => judge(each) !== null).length, 1);
});

/** Packages that cost start-up or memory, and the programs that must never load them. */
const light: readonly { readonly start: RegExp; readonly never: RegExp }[] = [
  {
    start: /^controller\/cli\/main\.ts$/,
    never: /^(rxjs|werift|pino|@xmpp\/.*|@peculiar\/x509)$/,
  },
  {
    start: /^cni-plugin\//,
    never: /^(rxjs|werift|pino|commander|@xmpp\/.*|@peculiar\/x509)$/,
  },
  { start: /^controller\/main\.ts$/, never: /^(werift|commander)$/ },
  { start: /^tincan-bridge\/main\.ts$/, never: /^(rxjs|commander|@xmpp\/.*|@peculiar\/x509)$/ },
];

test('no program loads what it must not, by any way', () => {
  const files = typescriptFiles();
  const heavy = light.flatMap(({ start, never }) =>
    files
      .filter((path) => start.test(path))
      .flatMap((path) =>
        [...loadedBy(path)].filter((to) => never.test(to)).map((to) => `${path} loads ${to}`),
      ),
  );
  assert.deepEqual(heavy, []);
});

function loadedBy(start: string): ReadonlySet<string> {
  const seen = new Set<string>([start]);
  for (const path of seen) {
    if (!isOurs(path)) continue;
    for (const { to, typeOnly, dynamic } of importsOf(path))
      if (!typeOnly && !dynamic) seen.add(to);
  }
  return seen;
}

test('streams are subscribed to through the bus only', () => {
  // Only there are streams of RxJS; werift's events have a method of that name too.
  const bare = typescriptFiles().filter(
    (path) =>
      path.startsWith('controller/') &&
      path !== 'controller/bus.ts' &&
      readSource(path).includes('.subscribe('),
  );
  assert.deepEqual(bare, []);
});

test('every file of base serves two folders', () => {
  const imports = typescriptFiles().flatMap((path) => importsOf(path));
  const lonely = filesBelow('base').filter((file) => {
    const folders = new Set(
      imports.filter(({ to }) => to === file).map(({ from }) => from.split('/', 1)[0]),
    );
    folders.delete('base');
    return folders.size < 2;
  });
  assert.deepEqual(lonely, []);
});
