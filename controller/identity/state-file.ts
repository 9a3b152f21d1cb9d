/**
 * Files of the state directory: read whole, written by temporary file, fsync and rename, so that a
 * crash leaves the old or the new text. Owns modes and atomicity; never knows what is in them.
 */
import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type ErrorCode, EvioError, messageOf } from '../../base/errors.ts';

/** Longest state file that is read, bytes. */
const maxFileBytes = 4 << 20;

/** Makes the directory (0700), or closes it to others when it is there and is ours. */
export async function prepareStateDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    const { mode } = await lstat(path);
    if ((mode & 0o077) !== 0) await chmod(path, 0o700);
  } catch (error) {
    throw new EvioError(
      'identity.unusable',
      `state directory ${path} cannot be prepared: ${messageOf(error)}`,
      { cause: error },
    );
  }
}

export interface StateFile {
  readonly text: string;
  /** Permission bits. */
  readonly mode: number;
}

/** The file, or null when there is none. Anything else that hinders throws with `code`. */
export async function readStateFile(path: string, code: ErrorCode): Promise<StateFile | null> {
  try {
    const stat = await lstat(path);
    if (!stat.isFile()) throw new Error('it is not a regular file');
    if (stat.size > maxFileBytes) throw new Error(`it has ${stat.size} bytes`);
    return { text: await readFile(path, 'utf8'), mode: stat.mode & 0o777 };
  } catch (error) {
    if (isNotFound(error)) return null;
    throw new EvioError(code, `${path} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

/** Replaces the file; after it returns, the text survives a power cut. */
export async function writeStateFile(
  path: string,
  text: string,
  mode: number,
  code: ErrorCode = 'identity.unusable',
): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    const file = await open(temporary, 'wx', mode);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    const directory = await open(dirname(path), 'r');
    await directory.sync().finally(() => directory.close());
  } catch (error) {
    await rm(temporary, { force: true });
    throw new EvioError(code, `${path} cannot be written: ${messageOf(error)}`, { cause: error });
  }
}

const isNotFound = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ENOENT';
