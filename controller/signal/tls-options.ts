/**
 * How the TLS of a stream is checked. Owns the rule that the certificate is of the XMPP domain and
 * is always verified.
 */
import { isIP } from 'node:net';
import { type ConnectionOptions, checkServerIdentity, getCACertificates } from 'node:tls';
import type { Secret } from '../../base/secret.ts';

export interface TlsPolicy {
  /** Domain of the account. */
  readonly domain: string;
  /** CA certificates to trust instead of the system's. */
  readonly caPem: string | null;
  readonly clientCertificate: { readonly certificate: string; readonly key: Secret } | null;
}

/** The name must be the domain's, whatever host the connection goes to (RFC 6120 section 13.7.2). */
export function tlsOptions({ domain, caPem, clientCertificate }: TlsPolicy): ConnectionOptions {
  return {
    ...(isIP(domain) === 0 ? { servername: domain } : {}),
    checkServerIdentity: (_host, certificate) => checkServerIdentity(domain, certificate),
    rejectUnauthorized: true,
    minVersion: 'TLSv1.2',
    ca: caPem ?? [...getCACertificates('default'), ...getCACertificates('system')],
    ...(clientCertificate === null
      ? {}
      : { cert: clientCertificate.certificate, key: clientCertificate.key.reveal() }),
  };
}
