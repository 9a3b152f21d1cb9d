/**
 * What a test needs of the machine, as `unless` wants it: null when it is there, else why the test
 * is skipped. Owns nothing; never installs anything.
 */
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

export const needsRoot: string | null = process.getuid?.() === 0 ? null : 'needs root';

/** Where `tests/setup.sh test` puts the Node that comes after ours: not of the repository's packages. */
export const nextNode: string = join(
  process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'),
  `evio-node-26/node_modules/node-linux-${process.arch}/bin/node`,
);
export const needsNextNode: string | null = existsSync(nextNode)
  ? null
  : 'Node 26 could not be had from the npm registry';

/** A program of Debian by its name. */
export const needsProgram = (name: string): string | null =>
  ['/usr/bin', '/usr/sbin', '/sbin', '/bin'].some((folder) => existsSync(join(folder, name)))
    ? null
    : `${name} is not installed`;
