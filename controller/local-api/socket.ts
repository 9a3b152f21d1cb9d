/**
 * The Unix socket of the local API: only its owner may open it, a dead controller's is replaced, a
 * live one's is respected. Owns the file and its folder; never speaks on it.
 */
import { chmodSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { dirname } from 'node:path';
import { EvioError } from '../../base/errors.ts';

/** A live controller accepts at once: the kernel does it. */
const probeTimeoutMs = 2_000;

/** Listens on the path. Throws `already-running` when somebody answers there. */
export async function listenOnSocket(server: Server, path: string): Promise<void> {
  makeFolder(dirname(path));
  if (await isAnswered(path)) {
    throw new EvioError('already-running', `a controller answers on ${path}`);
  }
  rmSync(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    // bind(2) happens inside this call: the socket never exists with a wider mode.
    const before = process.umask(0o177);
    try {
      server.listen(path, () => {
        server.off('error', reject);
        resolve();
      });
    } finally {
      process.umask(before);
    }
  });
  chmodSync(path, 0o600);
}

/** A folder that exists already keeps its mode, but nobody else may swap the socket in it. */
function makeFolder(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const { mode } = statSync(folder);
  const isSticky = (mode & 0o1000) !== 0;
  if ((mode & 0o022) !== 0 && !isSticky) {
    throw new EvioError('config.invalid', `RunDirectory ${folder} is writable for others`);
  }
}

/** Whether somebody listens there. A plain file of that name is not ours to remove. */
function isAnswered(path: string): Promise<boolean> {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return Promise.resolve(false);
  if (!found.isSocket()) throw new EvioError('config.invalid', `${path} exists and is no socket`);
  return new Promise((resolve) => {
    const probe = connect(path);
    const done = (answered: boolean): void => {
      probe.destroy();
      resolve(answered);
    };
    probe.setTimeout(probeTimeoutMs, () => done(true)); // its queue is full: it lives
    probe.once('connect', () => done(true));
    probe.once('error', (error: NodeJS.ErrnoException) => {
      done(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT');
    });
  });
}
