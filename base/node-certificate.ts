/**
 * Certificates of nodes as they are read, by controller, tunnel process and configuration alike. Owns
 * the rule that a node id is a hash of the key; never decides about trust.
 */
import { createHash, type KeyObject, X509Certificate } from 'node:crypto';
import { messageOf } from './errors.ts';
import { type NodeId, nodeIdFromBytes } from './ids.ts';

/** Largest certificate of a node, bytes of DER: what an announcement can hold. */
const maxCertificateBytes = 3_072;

/** A P-256 SubjectPublicKeyInfo with a named curve and an uncompressed point is this long. */
const spkiBytes = 91;

export interface NodeCertificate {
  readonly node: NodeId;
  readonly publicKey: KeyObject;
  readonly der: Uint8Array;
  readonly x509: X509Certificate;
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
  return { node: nodeIdOfSpki(spki), publicKey: parsed.publicKey, der: parsed.raw, x509: parsed };
}
