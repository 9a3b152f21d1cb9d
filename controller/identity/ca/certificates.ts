/**
 * What a CA makes: its own certificate, those of nodes, its revocation list; and what it reads: a
 * node's request. Owns the profile of each (RFC 5280); imports the x509 library, so it is loaded only
 * by `evio ca`. Touches no file.
 */
import 'reflect-metadata';
import {
  createPublicKey,
  type KeyObject,
  randomBytes,
  webcrypto,
  type X509Certificate,
} from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { messageOf } from '../../../base/errors.ts';
import type { NodeId } from '../../../base/ids.ts';
import { nodeIdOfSpki, readNodeCertificate, spkiOf } from '../../../base/node-certificate.ts';
import { maxPemChars, type Place, placeUri } from '../../../base/overlay-certificate.ts';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256' } as const;
const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-256' } as const;
/** A node whose clock is a little behind must accept what was just signed. */
const backdatedMs = 3_600_000;

/** Time that a certificate or list is good for, milliseconds since the epoch. */
export interface Validity {
  readonly fromMs: number;
  readonly toMs: number;
}

export const validityFor = (nowMs: number, days: number): Validity => ({
  fromMs: nowMs - backdatedMs,
  toMs: nowMs + days * 86_400_000,
});

/** 126 random bits (RFC 5280 section 4.1.2.2): never 0, never negative, always the same length. */
export function newSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = 0x40 | ((bytes[0] ?? 0) & 0x3f);
  return bytes.toString('hex');
}

/** The self-signed certificate of a CA, PEM. */
export async function makeCaCertificate(
  key: KeyObject,
  commonName: string,
  validity: Validity,
): Promise<string> {
  const keys = { privateKey: await signingKey(key), publicKey: await verifyingKey(key) };
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: newSerial(),
      name: [{ CN: [commonName] }],
      notBefore: new Date(validity.fromMs),
      notAfter: new Date(validity.toMs),
      signingAlgorithm,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(
          x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
          true,
        ),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
      ],
    },
    webcrypto,
  );
  return pem(certificate);
}

/** A node that has proved its key by signing its request with it. */
export interface ProvenRequest {
  readonly node: NodeId;
  readonly spki: Uint8Array<ArrayBuffer>;
}

/**
 * Reads a PKCS#10 request or the self-signed certificate of a node, PEM. Throws a plain Error that
 * says what is wrong.
 */
export async function readRequest(text: string): Promise<ProvenRequest> {
  if (text.length > maxPemChars)
    throw new Error(`${text.length} characters, at most ${maxPemChars}`);
  const kinds = [...text.matchAll(/-----BEGIN ([A-Z0-9 ]{1,40})-----/g)].map(([, kind]) => kind);
  const [kind] = kinds;
  if (kinds.length !== 1) throw new Error(`${kinds.length} PEM blocks in it, must be one`);
  if (kind === 'CERTIFICATE') return fromCertificate(text);
  if (kind === 'CERTIFICATE REQUEST' || kind === 'NEW CERTIFICATE REQUEST') {
    return fromRequest(text.replaceAll('NEW CERTIFICATE', 'CERTIFICATE'));
  }
  throw new Error(`it holds a ${kind}, not a certificate or certificate request`);
}

function fromCertificate(text: string): ProvenRequest {
  const { node, publicKey, x509: certificate } = readNodeCertificate(text);
  // Not `checkIssued`: a node's key may sign no certificates by its own key usage.
  if (certificate.issuer !== certificate.subject || !certificate.verify(publicKey)) {
    throw new Error('the certificate is not signed by its own key, so it proves nothing');
  }
  return proven(node, publicKey);
}

async function fromRequest(text: string): Promise<ProvenRequest> {
  try {
    const request = new x509.Pkcs10CertificateRequest(text);
    const spki = Buffer.from(request.publicKey.rawData);
    const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' });
    const canonical = spkiOf(publicKey);
    if (canonical === null || !canonical.equals(spki)) {
      throw new Error('its key is not ECDSA P-256');
    }
    if (!(await request.verify(webcrypto))) throw new Error('it is not signed by its own key');
    return proven(nodeIdOfSpki(spki), publicKey);
  } catch (error) {
    throw new Error(`not a usable certificate request: ${messageOf(error)}`, { cause: error });
  }
}

const proven = (node: NodeId, publicKey: KeyObject): ProvenRequest => ({
  node,
  spki: Uint8Array.from(publicKey.export({ type: 'spki', format: 'der' })),
});

/** The CA as a signer. */
export interface Signer {
  readonly key: KeyObject;
  readonly certificate: X509Certificate;
}

/** The certificate of a node in an overlay, PEM. */
export async function makeNodeCertificate(
  signer: Signer,
  request: ProvenRequest,
  place: Place,
  serial: string,
  validity: Validity,
): Promise<string> {
  const { subtle } = webcrypto;
  const publicKey = await subtle.importKey('spki', request.spki, algorithm, true, ['verify']);
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: serial,
      subject: [{ CN: [request.node] }],
      issuer: issuerOf(signer),
      notBefore: new Date(validity.fromMs),
      notAfter: new Date(validity.toMs),
      signingAlgorithm,
      publicKey,
      signingKey: await signingKey(signer.key),
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        // Each side of a session can be the DTLS client or the server.
        new x509.ExtendedKeyUsageExtension([
          x509.ExtendedKeyUsage.clientAuth,
          x509.ExtendedKeyUsage.serverAuth,
        ]),
        new x509.SubjectAlternativeNameExtension([{ type: 'url', value: placeUri(place) }]),
        await x509.SubjectKeyIdentifierExtension.create(publicKey, false, webcrypto),
        await authorityKeyId(signer),
      ],
    },
    webcrypto,
  );
  return pem(certificate);
}

export interface Revoked {
  readonly serial: string;
  readonly atMs: number;
}

/** A certificate revocation list (RFC 5280 section 5), PEM. */
export async function makeRevocationList(
  signer: Signer,
  revoked: readonly Revoked[],
  number: number,
  nowMs: number,
  nextUpdateMs: number,
): Promise<string> {
  const list = await x509.X509CrlGenerator.create(
    {
      issuer: issuerOf(signer),
      thisUpdate: new Date(nowMs),
      nextUpdate: new Date(nextUpdateMs),
      signingAlgorithm,
      signingKey: await signingKey(signer.key),
      entries: revoked.map(({ serial, atMs }) => ({
        serialNumber: serial,
        revocationDate: new Date(atMs),
        // An entry without extensions would be written with an empty list of them, which section
        // 5.1 does not allow.
        invalidity: new Date(atMs),
      })),
      extensions: [await authorityKeyId(signer), crlNumber(number)],
    },
    webcrypto,
  );
  // The library says "CRL"; RFC 7468 section 6 and every other program say "X509 CRL".
  return pem(list).replace(/(?<=-----(BEGIN|END) )CRL(?=-----)/g, 'X509 CRL');
}

/** CRLNumber (RFC 5280 section 5.2.3), a DER INTEGER. */
function crlNumber(number: number): x509.Extension {
  const hex = number.toString(16);
  const bytes = Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex');
  const positive = (bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.from([0]), bytes]) : bytes;
  const der = Buffer.concat([Buffer.from([0x02, positive.length]), positive]);
  return new x509.Extension('2.5.29.20', false, Uint8Array.from(der));
}

const issuerOf = ({ certificate }: Signer): x509.Name =>
  new x509.X509Certificate(Uint8Array.from(certificate.raw)).subjectName;

async function authorityKeyId({ certificate }: Signer): Promise<x509.Extension> {
  // As the CA's own certificate names its key, however it was made.
  const own = new x509.X509Certificate(Uint8Array.from(certificate.raw)).getExtension(
    x509.SubjectKeyIdentifierExtension,
  );
  return own === null
    ? x509.AuthorityKeyIdentifierExtension.create(
        await verifyingKey(certificate.publicKey),
        false,
        webcrypto,
      )
    : new x509.AuthorityKeyIdentifierExtension(own.keyId, false);
}

function signingKey(key: KeyObject): Promise<webcrypto.CryptoKey> {
  const pkcs8 = Uint8Array.from(key.export({ type: 'pkcs8', format: 'der' }));
  return webcrypto.subtle.importKey('pkcs8', pkcs8, algorithm, false, ['sign']);
}

function verifyingKey(key: KeyObject): Promise<webcrypto.CryptoKey> {
  const publicKey = key.type === 'public' ? key : createPublicKey(key);
  const spki = Uint8Array.from(publicKey.export({ type: 'spki', format: 'der' }));
  return webcrypto.subtle.importKey('spki', spki, algorithm, true, ['verify']);
}

const pem = (made: { toString(format: 'pem'): string }): string => `${made.toString('pem')}\n`;
