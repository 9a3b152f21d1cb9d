/**
 * What a test needs of the machine, as `unless` wants it: null when it is there, else why the test
 * is skipped. Owns nothing; never installs anything.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';

export const needsRoot: string | null = process.getuid?.() === 0 ? null : 'needs root';

/** A program of Debian by its name. */
export const needsProgram = (name: string): string | null =>
  ['/usr/bin', '/usr/sbin', '/sbin', '/bin'].some((folder) => existsSync(join(folder, name)))
    ? null
    : `${name} is not installed`;
