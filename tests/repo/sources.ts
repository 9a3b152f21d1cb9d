/**
 * The repository's own files for the tests that judge them: paths, texts, imports. Owns what counts
 * as ours; reads only what is in the source tree.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, normalize } from 'node:path';
import { repositoryRoot } from '../reference/pages.ts';

/** Folders that are not written by people. */
const notOurs = new Set(['node_modules', 'dist', '.git', 'build', 'bench']);

/** All files below `folder`, relative to the root, without those that are made. */
export function filesBelow(folder = ''): readonly string[] {
  return readdirSync(join(repositoryRoot, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return isMade(path) ? [] : filesBelow(path);
    return entry.isFile() && entry.name !== '.git' ? [path] : []; // a worktree has a file .git
  });
}

/** `bench/` at the root holds programs that are fetched; `tests/bench` is ours. */
const isMade = (path: string): boolean =>
  notOurs.has(path) || (path !== 'tests/bench' && notOurs.has(path.split('/').at(-1) ?? ''));

export const readSource = (path: string): string =>
  readFileSync(join(repositoryRoot, path), 'utf8');

export const typescriptFiles = (): readonly string[] =>
  filesBelow().filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'));

export interface Import {
  /** The importing file. */
  readonly from: string;
  /** A path from the root for our own files, else the package or `node:` module. */
  readonly to: string;
  /** Erased by the compiler. */
  readonly typeOnly: boolean;
  /** `import()`: paid for only when it is reached. */
  readonly dynamic: boolean;
}

const staticImport =
  /^(?:import|export)\s+(type\s+)?(?:(\*(?:\s+as\s+\w+)?|\w+|(?:\w+,\s*)?\{[^}]*\})\s+from\s+)?'([^']+)'/gm;
const dynamicImport = /\bimport\('([^']+)'\)/g;

/** What a file imports. The formatter keeps imports in the one form that this reads. */
export function importsOf(path: string, text = readSource(path)): readonly Import[] {
  const found: Import[] = [];
  for (const [, type, names = '', specifier = ''] of text.matchAll(staticImport)) {
    const inner = /\{([^}]*)\}/.exec(names)?.[1]?.split(',') ?? [''];
    const each = inner.map((name) => name.trim()).filter((name) => name !== '');
    const typeOnly =
      type !== undefined || (each.length > 0 && each.every((name) => name.startsWith('type ')));
    found.push({ from: path, to: target(path, specifier), typeOnly, dynamic: false });
  }
  for (const [, specifier = ''] of text.matchAll(dynamicImport)) {
    found.push({ from: path, to: target(path, specifier), typeOnly: false, dynamic: true });
  }
  return found;
}

function target(from: string, specifier: string): string {
  if (specifier.startsWith('.')) return normalize(join(from, '..', specifier));
  if (specifier.startsWith('node:')) return specifier;
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}
