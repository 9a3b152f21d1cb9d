/**
 * Certificates of nodes: making our own, reading a peer's. Owns the rule that a node id is a hash
 * of the key; the only importer of the x509 library; never decides about trust.
 */
import 'reflect-metadata';
import { createHash, type KeyObject, randomBytes, webcrypto, X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { messageOf } from '../../base/errors.ts';
import { type NodeId, nodeIdFromBytes } from '../../base/ids.ts';

/** Largest certificate of a node, bytes of DER: what an announcement can hold. */
export const maxCertificateBytes = 3_072;

/** A P-256 SubjectPublicKeyInfo with a named curve and an uncompressed point is this long. */
const spkiBytes = 91;

const dayMs = 86_400_000;
/** The key is the identity and is never renewed by itself, so neither is the certificate. */
const validityMs = 20 * 365 * dayMs;
/** Peers whose clock is behind must accept a fresh certificate. */
const backdatedMs = dayMs;

export interface NodeCertificate {
  readonly node: NodeId;
  readonly publicKey: KeyObject;
  readonly der: Uint8Array;
}

/** SubjectPublicKeyInfo of a P-256 key in its one canonical form, or null for any other key. */
export function spkiOf(publicKey: KeyObject): Buffer | null {
  if (publicKey.asymmetricKeyType !== 'ec') return null;
  if (publicKey.asymmetricKeyDetails?.namedCurve !== 'prime256v1') return null;
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  return spki.length === spkiBytes ? spki : null;
}

/** First 128 bits of SHA-256 over the SubjectPublicKeyInfo. */
export const nodeIdOfSpki = (spki: Uint8Array): NodeId =>
  nodeIdFromBytes(createHash('sha256').update(spki).digest());

/** Reads a certificate and derives the node id; throws a plain Error that says what is wrong. */
export function readNodeCertificate(encoded: Uint8Array | string): NodeCertificate {
  if (typeof encoded !== 'string' && encoded.length > maxCertificateBytes) {
    throw new Error(`certificate of ${encoded.length} bytes, at most ${maxCertificateBytes}`);
  }
  let parsed: X509Certificate;
  try {
    parsed = new X509Certificate(encoded);
  } catch (error) {
    throw new Error(`not an X.509 certificate: ${messageOf(error)}`, { cause: error });
  }
  const spki = spkiOf(parsed.publicKey);
  // The raw bytes must hold the canonical form too: others derive the id from those.
  if (spki === null || !parsed.raw.includes(spki)) {
    throw new Error('the key of the certificate is not ECDSA P-256');
  }
  return { node: nodeIdOfSpki(spki), publicKey: parsed.publicKey, der: parsed.raw };
}

/** A self-signed certificate, PEM, for a P-256 private key in PKCS#8 DER. */
export async function makeCertificate(
  pkcs8: Uint8Array<ArrayBuffer>,
  spki: Uint8Array<ArrayBuffer>,
  nowMs: number,
): Promise<string> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
  const { subtle } = webcrypto;
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: randomBytes(16).toString('hex'),
      name: `CN=${nodeIdOfSpki(spki)}`,
      notBefore: new Date(nowMs - backdatedMs),
      notAfter: new Date(nowMs + validityMs),
      signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
      keys: {
        privateKey: await subtle.importKey('pkcs8', pkcs8, algorithm, false, ['sign']),
        publicKey: await subtle.importKey('spki', spki, algorithm, true, ['verify']),
      },
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        // Each side of a session can be the DTLS client or the server.
        new x509.ExtendedKeyUsageExtension([
          x509.ExtendedKeyUsage.clientAuth,
          x509.ExtendedKeyUsage.serverAuth,
        ]),
      ],
    },
    webcrypto,
  );
  return `${certificate.toString('pem')}\n`;
}
