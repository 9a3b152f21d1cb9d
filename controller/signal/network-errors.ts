/**
 * What a failed connection means to an operator: errors of the resolver, TCP and TLS as the codes of
 * Evio. Owns the translation, made once for each error.
 */
import { EvioError, messageOf } from '../../base/errors.ts';

/** Node's names of X.509 verification failures, and its own for a wrong name. */
const certificateErrors =
  /^(CERT_|CRL_|ERR_TLS_CERT_|UNABLE_TO_|SELF_SIGNED_CERT|DEPTH_ZERO_|ERROR_IN_CERT_|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH_|HOSTNAME_MISMATCH)/;

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/** The error as a `signal.*` one that names the endpoint. */
export function translateNetworkError(error: unknown, { host, port }: Endpoint): EvioError {
  if (error instanceof EvioError) return error;
  const where = `${host}:${port}`;
  const code = property(error, 'code');
  const message = messageOf(error) || code;
  const as = (to: EvioError['code'], text: string): EvioError =>
    new EvioError(to, text, { cause: error });
  if (property(error, 'syscall') === 'getaddrinfo') {
    return as('signal.unresolvable', `${host} does not resolve: ${code}`);
  }
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID') {
    // An edge device without a clock battery starts in the past: then the certificate is innocent.
    const clock = `the clock of this host says ${new Date().toISOString()}`;
    return as('signal.certificate', `certificate of ${where}: ${message}; ${clock}`);
  }
  if (certificateErrors.test(code)) {
    return as('signal.certificate', `certificate of ${where}: ${message}`);
  }
  if (/^(ERR_SSL_|ERR_TLS_|EPROTO$)/.test(code)) {
    return as('signal.no-tls', `TLS with ${where} failed: ${message}`);
  }
  if (code === 'ENETUNREACH') {
    return as('signal.no-network', `this host has no route to ${where}`);
  }
  if (/^(ECONNREFUSED|EHOSTUNREACH|ETIMEDOUT|EHOSTDOWN|EADDRNOTAVAIL)$/.test(code)) {
    return as('signal.unreachable', `${where} cannot be reached: ${code}`);
  }
  return as('signal.disconnected', `connection to ${where} failed: ${message}`);
}

function property(error: unknown, name: 'code' | 'syscall'): string {
  if (typeof error !== 'object' || error === null) return '';
  const value: unknown = Reflect.get(error, name);
  return typeof value === 'string' ? value : '';
}
