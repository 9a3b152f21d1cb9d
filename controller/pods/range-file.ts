/**
 * The ranges that this node had, on disk: a restart keeps them, also while nobody can be asked. Owns
 * the file; judges nothing.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import type { OverlayId } from '../../base/ids.ts';

const File = z.strictObject({ version: z.literal(1), ranges: z.array(z.string().max(49)).max(8) });

const pathOf = (stateDirectory: string, overlay: OverlayId): string =>
  join(stateDirectory, 'pods', `${overlay}.json`);

/** Empty when there are none, or the file cannot be read: then they are found anew. */
export function readRanges(stateDirectory: string, overlay: OverlayId): readonly string[] {
  try {
    return File.parse(JSON.parse(readFileSync(pathOf(stateDirectory, overlay), 'utf8'))).ranges;
  } catch {
    return []; // the next range that is known replaces the file
  }
}

export function writeRanges(
  stateDirectory: string,
  overlay: OverlayId,
  ranges: readonly string[],
): void {
  const file = pathOf(stateDirectory, overlay);
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  writeFileSync(`${file}.new`, JSON.stringify({ version: 1, ranges }), { mode: 0o600 });
  renameSync(`${file}.new`, file);
}
