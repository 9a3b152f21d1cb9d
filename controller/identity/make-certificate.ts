/**
 * Makes the self-signed certificate of this node. Imports the x509 library, so it is loaded only at a
 * first start: the library costs 10 MiB of a process that needs it once.
 */
import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { nodeIdOfSpki } from '../../base/node-certificate.ts';

const dayMs = 86_400_000;
/** The key is the identity and is never renewed by itself, so neither is the certificate. */
const validityMs = 20 * 365 * dayMs;
/** Peers whose clock is behind must accept a fresh certificate. */
const backdatedMs = dayMs;

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
