/**
 * Where the repository is, seen from the built tests as well as from their sources. Owns nothing.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

function findRoot(from: string): string {
  for (let folder = from; folder !== dirname(folder); folder = dirname(folder)) {
    if (existsSync(join(folder, 'package-lock.json'))) return folder;
  }
  throw new Error(`no package-lock.json above ${from}`);
}

export const repositoryRoot: string = findRoot(import.meta.dirname);

/** The launcher that operators use. */
export const evioLauncher: string = join(repositoryRoot, 'controller/cli/evio');

/** What the launcher runs, for another Node.js than the one it would choose. */
export const evioProgram: string = join(repositoryRoot, 'dist/controller/cli/main.js');
