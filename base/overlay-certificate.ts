/**
 * Certificates that an overlay's CA has signed: what stands in them, and whether one is good. Owns
 * the one rule by which configuration, controller and both ends of a DTLS handshake judge; reads no
 * file and no clock.
 */
import { X509Certificate } from 'node:crypto';
import { messageOf } from './errors.ts';
import { type NodeId, OverlayId } from './ids.ts';

/**
 * Difference of two clocks that is accepted at the begin of a certificate's time. Its end is exact:
 * who signs decides how long, not whose clock is behind.
 */
const maxClockSkewMs = 300_000;

/** Longest PEM of a certificate that is read, characters. */
export const maxPemChars = 8_192;

/** Certificates that can be revoked and not yet expired at one time; more do not cross processes. */
export const maxRevoked = 4_096;

/** The CA of an overlay: exactly one certificate, which signs nodes and nothing in between. */
export interface OverlayCa {
  readonly x509: X509Certificate;
}

/** Whom a certificate must be of, and what is known against it. */
export interface Expected {
  readonly ca: OverlayCa;
  readonly overlay: OverlayId;
  readonly node: NodeId;
  /** Serials as `serialOf` gives them. */
  readonly revoked: ReadonlySet<string>;
}

/** The overlay and the node's name as the subject alternative name of a node's certificate says it. */
export interface Place {
  readonly overlay: OverlayId;
  readonly name: string;
}

/** `evio://farm/barn`: a URI, so that every X.509 tool shows it. */
export const placeUri = ({ overlay, name }: Place): string => `evio://${overlay}/${name}`;

/** Null when it has none, or more than one name: then it was not made for a node of an overlay. */
export function placeOf(certificate: X509Certificate): Place | null {
  // Node quotes names that could be taken for two; ours needs no quotes and must be the only one.
  const match = /^URI:evio:\/\/([^/]{1,10})\/([A-Za-z0-9._-]{1,63})$/.exec(
    certificate.subjectAltName ?? '',
  );
  const overlay = OverlayId.safeParse(match?.[1]);
  const name = match?.[2];
  return overlay.success && name !== undefined ? { overlay: overlay.data, name } : null;
}

/** The serial number as lower-case hex without leading zeros, as lists of revoked ones hold it. */
export const serialOf = (certificate: { readonly serialNumber: string }): string =>
  certificate.serialNumber.toLowerCase().replace(/^0+(?=.)/, '');

/** The one certificate in a PEM text. Throws a plain Error that says what is wrong. */
export function readPemCertificate(pem: string): X509Certificate {
  if (pem.length > maxPemChars) {
    throw new Error(`${pem.length} characters, at most ${maxPemChars}`);
  }
  const count = pem.match(/-----BEGIN CERTIFICATE-----/g)?.length ?? 0;
  if (count !== 1) throw new Error(`${count} PEM certificates in it, must be one`);
  try {
    return new X509Certificate(pem);
  } catch (error) {
    throw new Error(`not an X.509 certificate: ${messageOf(error)}`, { cause: error });
  }
}

/** The CA from its PEM. Throws a plain Error that says what is wrong. */
export function readOverlayCa(pem: string): OverlayCa {
  const x509 = readPemCertificate(pem);
  if (!x509.ca) throw new Error('not the certificate of a CA (basicConstraints CA:TRUE)');
  if (!x509.checkIssued(x509) || !x509.verify(x509.publicKey)) {
    throw new Error('not signed by its own key: an intermediate CA cannot be the CA of an overlay');
  }
  return { x509 };
}

/** Why a certificate is not good for `expected`, or null. `nowMs` is the wall clock. */
export function certificateProblem(
  certificate: X509Certificate,
  expected: Expected,
  nowMs: number,
): string | null {
  const { ca, overlay } = expected;
  // The signature first: of what the CA has not signed nothing else is worth reading.
  if (!certificate.checkIssued(ca.x509) || !certificate.verify(ca.x509.publicKey)) {
    return `the certificate is not signed by the CA of overlay ${overlay}`;
  }
  return contentProblem(certificate, expected, nowMs);
}

/** The same for a certificate whose signature was good before: what it says, lists and times. */
export function contentProblem(
  certificate: X509Certificate,
  { ca, overlay, node, revoked }: Expected,
  nowMs: number,
): string | null {
  if (certificate.ca) return 'the certificate is one of a CA, not of a node';
  if (certificate.subject !== `CN=${node}`) {
    return `the certificate is not of node ${node}`;
  }
  const place = placeOf(certificate);
  if (place === null) return 'the certificate names no overlay';
  if (place.overlay !== overlay) return `the certificate is for overlay ${place.overlay}`;
  const serial = serialOf(certificate);
  if (revoked.has(serial)) return `the certificate ${serial} is revoked`;
  return (
    timeProblem('the certificate', certificate, nowMs) ??
    timeProblem('the certificate of the CA', ca.x509, nowMs)
  );
}

/** Why a certificate is not valid now, or null. */
function timeProblem(
  what: string,
  { validFromDate, validToDate }: X509Certificate,
  nowMs: number,
): string | null {
  const earlyMs = validFromDate.getTime() - nowMs;
  if (earlyMs > maxClockSkewMs) {
    return `${what} is valid from ${iso(validFromDate)}, ${seconds(earlyMs)} s ahead of our clock: one of the clocks is wrong`;
  }
  const lateMs = nowMs - validToDate.getTime();
  if (lateMs <= 0) return null;
  return `${what} expired at ${iso(validToDate)}, ${seconds(lateMs)} s ago by our clock`;
}

const iso = (date: Date): string => date.toISOString().replace(/\.\d+Z$/, 'Z');
const seconds = (ms: number): number => Math.ceil(ms / 1_000);
