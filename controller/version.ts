/**
 * The release of this installation, from its package.json. Owns where that file stands.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';

/** Two folders up from `dist/controller`. */
const file = new URL('../../package.json', import.meta.url);

export const readVersion = (): string =>
  z.object({ version: z.string() }).parse(JSON.parse(readFileSync(file, 'utf8'))).version;
