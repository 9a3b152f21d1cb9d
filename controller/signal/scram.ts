/**
 * SCRAM (RFC 5802, RFC 7677) for a client: the texts of one exchange, and the proof that the server
 * knows the password too. Owns the bounds on what a server may ask; never sees a stanza.
 */
import { createHash, createHmac, pbkdf2, timingSafeEqual } from 'node:crypto';
import { EvioError } from '../../base/errors.ts';
import type { Secret } from '../../base/secret.ts';

/** RFC 5802 section 5.1 asks for at least 4096; fewer make guessing the password cheap. */
const minIterations = 4_096;
/** More would let a server burn our CPU: a million take about half a second. */
const maxIterations = 1_000_000;

export type ScramHash = 'sha256' | 'sha1';
const digestBytes = { sha256: 32, sha1: 20 } as const;

export interface ScramExchange {
  /** client-first-message */
  readonly first: string;
  /** client-final-message for the server-first-message. */
  final(serverFirst: string): Promise<string>;
  /** Throws `signal.server-unproven` unless the server-final-message proves the password. */
  verify(serverFinal: string): void;
}

/** One exchange. `nonce` is random, printable, without a comma. */
export function startScram(
  hash: ScramHash,
  user: string,
  password: Secret,
  nonce: string,
): ScramExchange {
  const bare = `n=${escapeName(user)},r=${nonce}`;
  let expected: Buffer | null = null;
  return {
    first: `n,,${bare}`,
    async final(serverFirst) {
      const { combinedNonce, salt, iterations } = parseServerFirst(serverFirst, nonce);
      const salted = await derive(hash, prepare(password.reveal()), salt, iterations);
      const clientKey = hmac(hash, salted, 'Client Key');
      const withoutProof = `c=biws,r=${combinedNonce}`; // biws: base64 of "n,,", no channel binding
      const authMessage = `${bare},${serverFirst},${withoutProof}`;
      const storedKey = createHash(hash).update(clientKey).digest();
      const signature = hmac(hash, storedKey, authMessage);
      const proof = Buffer.from(clientKey.map((byte, i) => byte ^ (signature[i] ?? 0)));
      expected = hmac(hash, hmac(hash, salted, 'Server Key'), authMessage);
      return `${withoutProof},p=${proof.toString('base64')}`;
    },
    verify(serverFinal) {
      const given = Buffer.from(attribute(serverFinal, 'v') ?? '');
      const wanted = Buffer.from(expected?.toString('base64') ?? '');
      if (expected === null || given.length !== wanted.length || !timingSafeEqual(given, wanted)) {
        throw unproven('its signature is missing or wrong');
      }
    },
  };
}

function parseServerFirst(
  text: string,
  nonce: string,
): { readonly combinedNonce: string; readonly salt: Buffer; readonly iterations: number } {
  const combinedNonce = attribute(text, 'r') ?? '';
  const salt = Buffer.from(attribute(text, 's') ?? '', 'base64');
  const iterations = Number(attribute(text, 'i') ?? '');
  if (attribute(text, 'm') !== null) throw unproven('it demands an unknown extension'); // RFC 5802 5.1
  if (!combinedNonce.startsWith(nonce) || combinedNonce.length === nonce.length) {
    throw unproven('its nonce does not continue ours');
  }
  if (salt.length < 1 || salt.length > 256) throw unproven(`its salt has ${salt.length} bytes`);
  if (!Number.isInteger(iterations) || iterations < minIterations || iterations > maxIterations) {
    throw unproven(
      `its iteration count is not ${minIterations} to ${maxIterations}: ${iterations}`,
    );
  }
  return { combinedNonce, salt, iterations };
}

/** Value of a one-letter attribute of a comma-separated SCRAM message. */
function attribute(text: string, letter: string): string | null {
  const field = text.split(',', 16).find((f) => f.startsWith(`${letter}=`));
  return field?.slice(2) ?? null;
}

const escapeName = (user: string): string =>
  prepare(user).replaceAll('=', '=3D').replaceAll(',', '=2C');

/** SASLprep (RFC 4013) for what occurs in passwords: mapped spaces, removed marks, NFKC. */
const prepare = (text: string): string =>
  text
    .replace(/[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]/g, ' ')
    .replace(
      /\u00ad|\u034f|\u1806|[\u180b-\u180d]|[\u200b-\u200d]|\u2060|[\ufe00-\ufe0f]|\ufeff/gu,
      '',
    )
    .normalize('NFKC');

const hmac = (hash: ScramHash, key: Buffer, text: string): Buffer =>
  createHmac(hash, key).update(text).digest();

/** In the thread pool: a slow derivation must not stop the controller. */
const derive = (
  hash: ScramHash,
  password: string,
  salt: Buffer,
  iterations: number,
): Promise<Buffer> =>
  new Promise((resolve, reject) =>
    pbkdf2(password, salt, iterations, digestBytes[hash], hash, (error, key) =>
      error === null ? resolve(key) : reject(error),
    ),
  );

const unproven = (why: string): EvioError =>
  new EvioError('signal.server-unproven', `the server did not prove the password: ${why}`);
