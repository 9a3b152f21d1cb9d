/**
 * The folder of a CA: key, certificate, list of what was signed, revocation list. Owns the files,
 * their order of writing and the lock; signs nothing.
 */
import { createPrivateKey, createPublicKey, type KeyObject, randomBytes } from 'node:crypto';
import { link, lstat, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { EvioError, messageOf } from '../../../base/errors.ts';
import { NodeId, OverlayId } from '../../../base/ids.ts';
import { type OverlayCa, readOverlayCa } from '../../../base/overlay-certificate.ts';
import type { Secret } from '../../../base/secret.ts';
import { readStateFile, writeStateFile } from '../state-file.ts';

/** Another command is over in less. */
const lockWaitMs = 5_000;

export const Issued = z.strictObject({
  serial: z.string().regex(/^[0-9a-f]{1,40}$/),
  node: NodeId,
  name: z.string().min(1).max(63),
  notBefore: z.iso.datetime(),
  notAfter: z.iso.datetime(),
  revokedAt: z.iso.datetime().nullable(),
});
export type Issued = z.infer<typeof Issued>;

export const CaRecord = z.strictObject({
  version: z.literal(1),
  overlay: OverlayId,
  /** Number of the last revocation list. */
  crlNumber: z.int().min(0),
  issued: z.array(Issued).max(12_000),
});
export type CaRecord = z.infer<typeof CaRecord>;

export const filesOf = (directory: string) => ({
  key: join(directory, 'ca.key'),
  certificate: join(directory, 'ca.pem'),
  record: join(directory, 'issued.json'),
  crl: join(directory, 'crl.pem'),
  lock: join(directory, 'lock'),
  node: (serial: string) => join(directory, 'certificates', `${serial}.pem`),
});

/** Makes the files of a new CA. Throws `ca.unusable` when there is one already. */
export async function createFolder(
  directory: string,
  texts: { readonly key: string; readonly certificate: string; readonly record: CaRecord },
): Promise<void> {
  const files = filesOf(directory);
  await createFile(files.certificate, texts.certificate, 0o644);
  await createFile(files.key, texts.key, 0o600);
  await createFile(files.record, format(texts.record), 0o600);
}

/** Throws `ca.unusable` when the folder holds any file of a CA. */
export async function demandEmpty(directory: string): Promise<void> {
  const { key, certificate, record, crl } = filesOf(directory);
  for (const path of [key, certificate, record, crl]) {
    if ((await readStateFile(path, 'ca.unusable')) === null) continue;
    throw new EvioError('ca.unusable', `${path} exists: this folder holds a CA already`);
  }
}

/** Throws `ca.unusable` when there is such a file, before anything was done for it. */
export async function demandFree(path: string): Promise<void> {
  const exists = await lstat(path).then(
    () => true,
    () => false, // what else hinders shows when it is written
  );
  if (exists) throw unusable(`${path} exists and is not overwritten`);
}

export async function makeDirectory(directory: string): Promise<void> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw unusable(`${directory} cannot be made: ${messageOf(error)}`, error);
  }
}

/** Writes a file that must not exist; all of it or nothing is there after a crash. */
export async function createFile(path: string, text: string, mode: number): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeFile(temporary, text, { mode, flag: 'wx', flush: true });
    await link(temporary, path);
  } catch (error) {
    const exists = codeOf(error) === 'EEXIST';
    const why = exists ? 'exists and is not overwritten' : `cannot be made: ${messageOf(error)}`;
    throw unusable(`${path} ${why}`, error);
  } finally {
    await rm(temporary, { force: true });
  }
}

export const writeRecord = (directory: string, record: CaRecord): Promise<void> =>
  writeStateFile(filesOf(directory).record, format(record), 0o600, 'ca.unusable');

export const writeCrl = (directory: string, text: string): Promise<void> =>
  writeStateFile(filesOf(directory).crl, text, 0o644, 'ca.unusable');

const format = (record: CaRecord): string => `${JSON.stringify(record, null, 2)}\n`;

export async function readRecord(directory: string): Promise<CaRecord> {
  const { record: path } = filesOf(directory);
  const text = await demand(path);
  try {
    return CaRecord.parse(JSON.parse(text));
  } catch (error) {
    const detail = error instanceof z.ZodError ? z.prettifyError(error) : messageOf(error);
    throw unusable(`${path} is damaged: ${detail}`, error);
  }
}

export async function readCa(directory: string): Promise<OverlayCa> {
  const { certificate: path } = filesOf(directory);
  const text = await demand(path);
  try {
    return readOverlayCa(text);
  } catch (error) {
    throw unusable(`${path} cannot be used: ${messageOf(error)}`, error);
  }
}

/** The private key that belongs to the certificate. */
export async function readKey(
  directory: string,
  ca: OverlayCa,
  passphrase: Secret | null,
): Promise<KeyObject> {
  const { key: path } = filesOf(directory);
  const file = await readStateFile(path, 'ca.unusable');
  if (file === null) throw unusable(`${path} is missing`);
  if ((file.mode & 0o077) !== 0) {
    const mode = file.mode.toString(8).padStart(4, '0');
    throw unusable(`${path} has mode ${mode}: others may have read it; run chmod 600 ${path}`);
  }
  const isEncrypted = file.text.includes('BEGIN ENCRYPTED PRIVATE KEY');
  if (isEncrypted && passphrase === null) {
    throw unusable(`${path} is encrypted: give its passphrase with --passphrase-file`);
  }
  let key: KeyObject;
  try {
    key = createPrivateKey(
      isEncrypted && passphrase !== null
        ? { key: file.text, passphrase: passphrase.reveal() }
        : file.text,
    );
  } catch (error) {
    const why = isEncrypted ? 'the passphrase is wrong, or the file is damaged' : messageOf(error);
    throw unusable(`${path} cannot be used: ${why}`, error);
  }
  if (!createPublicKey(key).equals(ca.x509.publicKey)) {
    throw unusable(`${path} does not belong to the certificate beside it`);
  }
  return key;
}

/** Runs `work` alone; throws `ca.busy` when another command does not end. */
export async function locked<T>(directory: string, work: () => Promise<T>): Promise<T> {
  const { lock } = filesOf(directory);
  await takeLock(directory, lock);
  try {
    return await work();
  } finally {
    await rm(lock, { force: true });
  }
}

async function takeLock(directory: string, lock: string): Promise<void> {
  const endMs = performance.now() + lockWaitMs;
  for (;;) {
    try {
      await writeFile(lock, `${process.pid}\n`, { flag: 'wx', mode: 0o600 });
      return;
    } catch (error) {
      if (codeOf(error) === 'ENOENT') throw unusable(`${directory} is missing`, error);
      if (codeOf(error) !== 'EEXIST') throw unusable(`${lock}: ${messageOf(error)}`, error);
    }
    if (performance.now() > endMs) {
      // Never removed by us: two that find it stale at once would both go on.
      const holder = await readFile(lock, 'utf8').catch(() => '');
      throw new EvioError('ca.busy', `${lock} is held by process ${holder.trim() || 'unknown'}`);
    }
    await sleep(50);
  }
}

async function demand(path: string): Promise<string> {
  const file = await readStateFile(path, 'ca.unusable');
  if (file === null) throw unusable(`${path} is missing: this folder holds no CA`);
  return file.text;
}

const codeOf = (error: unknown): unknown =>
  error instanceof Error && 'code' in error ? error.code : undefined;

const unusable = (message: string, cause?: unknown): EvioError =>
  new EvioError('ca.unusable', message, { cause });
