/**
 * The CA of an overlay, in a folder of the operator's: made, signing, revoking, listed. Owns what it
 * agrees to sign; the CLI formats, the files are in `folder.ts`, the bytes in `certificates.ts`.
 */
import { generateKeyPairSync } from 'node:crypto';
import { EvioError, messageOf } from '../../../base/errors.ts';
import type { NodeId, OverlayId } from '../../../base/ids.ts';
import { maxRevoked, type OverlayCa, readOverlayCa } from '../../../base/overlay-certificate.ts';
import type { Secret } from '../../../base/secret.ts';
import {
  makeCaCertificate,
  makeNodeCertificate,
  makeRevocationList,
  newSerial,
  type ProvenRequest,
  readRequest,
  type Signer,
  validityFor,
} from './certificates.ts';
import {
  type CaRecord,
  createFile,
  createFolder,
  demandEmpty,
  demandFree,
  filesOf,
  type Issued,
  locked,
  makeDirectory,
  readCa,
  readKey,
  readRecord,
  writeCrl,
  writeRecord,
} from './folder.ts';

/** Where the CA is and how its key is opened. `nowMs` is the wall clock. */
export interface CaPlace {
  readonly directory: string;
  readonly passphrase: Secret | null;
  readonly nowMs: number;
}

export interface InitOptions extends CaPlace {
  readonly overlay: OverlayId;
  readonly days: number;
  readonly crlDays: number;
}

export interface SignOptions extends CaPlace {
  /** PEM of the request, and where it is from, for messages. */
  readonly request: string;
  readonly from: string;
  /** What the operator has confirmed; null: only tell what the request holds. */
  readonly node: NodeId | null;
  readonly name: string;
  readonly days: number;
  /** Written besides the copy in the folder, or null. */
  readonly out: string | null;
}

export type IssuedState = 'valid' | 'expired' | 'revoked';
export interface ListedCertificate extends Issued {
  readonly state: IssuedState;
}

/** Makes a CA with an empty revocation list in a folder that holds none. */
export async function initCa(options: InitOptions): Promise<{ readonly certificate: string }> {
  const { directory, overlay, nowMs, passphrase } = options;
  await makeDirectory(directory);
  return locked(directory, async () => {
    await demandEmpty(directory);
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    const validity = validityFor(nowMs, options.days);
    const certificate = await makeCaCertificate(
      privateKey,
      `Evio CA of overlay ${overlay}`,
      validity,
    );
    const key = privateKey.export({
      type: 'pkcs8',
      format: 'pem',
      ...(passphrase === null ? {} : { cipher: 'aes-256-cbc', passphrase: passphrase.reveal() }),
    });
    const record: CaRecord = { version: 1, overlay, crlNumber: 0, issued: [] };
    await createFolder(directory, { key: key.toString(), certificate, record });
    const signer = { key: privateKey, certificate: readOverlayCa(certificate).x509 };
    await publishList(options, signer, record, options.crlDays);
    return { certificate: filesOf(directory).certificate };
  });
}

/** What a request proves, without signing it. Throws `ca.refused` when it proves nothing. */
export async function inspectRequest(text: string, from: string): Promise<ProvenRequest> {
  try {
    return await readRequest(text);
  } catch (error) {
    throw refused(`${from}: ${messageOf(error)}`, error);
  }
}

export interface Signed {
  readonly issued: Issued;
  readonly overlay: OverlayId;
  readonly pem: string;
  /** The copy in the folder. */
  readonly file: string;
}

/** Signs a node's key for a name, when the operator has confirmed its id. */
export async function signNode(options: SignOptions): Promise<Signed> {
  const { directory, nowMs, name, node, from } = options;
  const request = await inspectRequest(options.request, from);
  if (node !== request.node) {
    throw refused(`${from} is of node ${request.node}, --node-id says ${node ?? 'nothing'}`);
  }
  if (!/^[A-Za-z0-9._-]{1,63}$/.test(name)) {
    throw refused(`name ${JSON.stringify(name)} is not 1 to 63 letters, digits, ".", "_" or "-"`);
  }
  if (options.out !== null) await demandFree(options.out);
  return locked(directory, async () => {
    const signer = await openSigner(options);
    const record = await readRecord(directory);
    demandFreeName(record, name, request.node, nowMs);
    const validity = validityFor(nowMs, options.days);
    const caEndMs = signer.certificate.validToDate.getTime();
    if (validity.toMs > caEndMs) {
      const days = Math.max(0, Math.floor((caEndMs - nowMs) / 86_400_000));
      throw refused(`the CA itself ends in ${days} days: --days may be at most that`);
    }
    const serial = newSerial();
    const place = { overlay: record.overlay, name };
    const pem = await makeNodeCertificate(signer, request, place, serial, validity);
    const issued: Issued = {
      serial,
      node: request.node,
      name,
      notBefore: new Date(validity.fromMs).toISOString(),
      notAfter: new Date(validity.toMs).toISOString(),
      revokedAt: null,
    };
    // The record first: what was signed can always be revoked, also after a crash in between.
    await writeRecord(directory, { ...record, issued: [...record.issued, issued] });
    const file = filesOf(directory).node(serial);
    await createFile(file, pem, 0o644);
    if (options.out !== null) await createFile(options.out, pem, 0o644);
    return { issued, overlay: record.overlay, pem, file };
  });
}

/** A name stands for one key at a time: who reads it must be able to rely on it. */
function demandFreeName(record: CaRecord, name: string, node: NodeId, nowMs: number): void {
  const other = record.issued.find(
    (each) => each.name === name && each.node !== node && stateOf(each, nowMs) === 'valid',
  );
  if (other === undefined) return;
  throw refused(`name "${name}" is signed for node ${other.node}: revoke that one first`);
}

/** Revokes all certificates of a node, or the one of a serial, and publishes the list. */
export async function revokeNode(
  options: CaPlace & { readonly which: string; readonly crlDays: number },
): Promise<readonly Issued[]> {
  const { directory, nowMs } = options;
  const which = options.which.toLowerCase().replaceAll(':', '');
  return locked(directory, async () => {
    const signer = await openSigner(options);
    const record = await readRecord(directory);
    const known = record.issued.filter(({ serial, node }) => serial === which || node === which);
    if (known.length === 0) throw refused(`nothing was signed for node or serial ${which}`);
    const hit = new Set(known.filter(({ revokedAt }) => revokedAt === null));
    if (hit.size === 0) throw refused(`${which} is revoked already`);
    const revokedAt = new Date(nowMs).toISOString();
    const issued = record.issued.map((each) => (hit.has(each) ? { ...each, revokedAt } : each));
    const count = issued.filter((each) => isListed(each, nowMs)).length;
    if (count > maxRevoked) throw refused(`the list would hold ${count}, at most ${maxRevoked}`);
    const next = { ...record, issued };
    await writeRecord(directory, next);
    await publishList(options, signer, next, options.crlDays);
    return issued.filter((each) => known.some(({ serial }) => serial === each.serial));
  });
}

/** Publishes the revocation list again, with a new number and time. */
export async function renewList(options: CaPlace & { readonly crlDays: number }): Promise<void> {
  await locked(options.directory, async () => {
    const signer = await openSigner(options);
    await publishList(options, signer, await readRecord(options.directory), options.crlDays);
  });
}

export interface CaListing {
  readonly overlay: OverlayId;
  readonly caNotAfter: string;
  readonly crlNumber: number;
  readonly certificates: readonly ListedCertificate[];
}

/** Everything that was signed, oldest first. Needs no key. */
export async function listCa(directory: string, nowMs: number): Promise<CaListing> {
  const [ca, record] = [await readCa(directory), await readRecord(directory)];
  return {
    overlay: record.overlay,
    caNotAfter: ca.x509.validToDate.toISOString(),
    crlNumber: record.crlNumber,
    certificates: record.issued.map((each) => ({ ...each, state: stateOf(each, nowMs) })),
  };
}

function stateOf(issued: Issued, nowMs: number): IssuedState {
  if (issued.revokedAt !== null) return 'revoked';
  return Date.parse(issued.notAfter) < nowMs ? 'expired' : 'valid';
}

/** On the list until a week after its end, so that no clock takes it for valid (RFC 5280 3.3). */
const isListed = (issued: Issued, nowMs: number): boolean =>
  issued.revokedAt !== null && Date.parse(issued.notAfter) + 7 * 86_400_000 > nowMs;

async function openSigner({ directory, passphrase }: CaPlace): Promise<Signer> {
  const ca: OverlayCa = await readCa(directory);
  return { key: await readKey(directory, ca, passphrase), certificate: ca.x509 };
}

async function publishList(
  { directory, nowMs }: CaPlace,
  signer: Signer,
  record: CaRecord,
  days: number,
): Promise<void> {
  const number = record.crlNumber + 1;
  const revoked = record.issued
    .filter((each) => isListed(each, nowMs))
    .map(({ serial, revokedAt }) => ({ serial, atMs: Date.parse(revokedAt ?? '') }));
  const nextUpdateMs = nowMs + days * 86_400_000;
  const text = await makeRevocationList(signer, revoked, number, nowMs, nextUpdateMs);
  // The number first: one that was given to a list is never given to another.
  await writeRecord(directory, { ...record, crlNumber: number });
  await writeCrl(directory, text);
}

const refused = (message: string, cause?: unknown): EvioError =>
  new EvioError('ca.refused', message, { cause });
