/**
 * DTLS 1.2 application-data records by node:crypto, for the in-memory twin: the same bytes as the
 * addon's `records.cpp`. Far too slow for traffic (LIBRARIES: 6.7 µs a record); for tests only.
 */
import { type CipherGCMTypes, createCipheriv, createDecipheriv } from 'node:crypto';
import { EvioError } from '../../base/errors.ts';
import type { RecordKeys } from './datapath.ts';
import { recordHeaderBytes, recordOverhead, replayWindow, type Suite } from './wire.ts';

const tagBytes = 16;
const laneSize = 2 ** 44;
const keyBytes = { 'aes-128-gcm': 16, 'aes-256-gcm': 32, 'chacha20-poly1305': 32 } as const;
const ivBytes = { 'aes-128-gcm': 4, 'aes-256-gcm': 4, 'chacha20-poly1305': 12 } as const;

/** Throws `internal` when a key or IV has the wrong length for the suite. */
export function checkKeys(keys: RecordKeys): void {
  const { suite } = keys;
  const right =
    keys.sendKey.length === keyBytes[suite] &&
    keys.receiveKey.length === keyBytes[suite] &&
    keys.sendIv.length === ivBytes[suite] &&
    keys.receiveIv.length === ivBytes[suite];
  if (!right) throw new EvioError('internal', `keys have the wrong length for ${suite}`);
}

const prefixBytes = (suite: Suite): number => recordOverhead[suite] - tagBytes;

function nonceOf(suite: Suite, iv: Uint8Array, record: Uint8Array): Uint8Array {
  const nonce = new Uint8Array(12);
  nonce.set(iv);
  for (let i = 0; i < 8; i++) {
    const [number = 0, explicit = 0] = [record[3 + i], record[recordHeaderBytes + i]];
    nonce[4 + i] = suite === 'chacha20-poly1305' ? (iv[4 + i] ?? 0) ^ number : explicit;
  }
  return nonce;
}

/** RFC 5246 section 6.2.3.3: epoch and number, type, version, length of the plaintext. */
function additionalData(record: Uint8Array, plaintextBytes: number): Uint8Array {
  const lengths = [plaintextBytes >> 8, plaintextBytes & 255];
  return Uint8Array.of(...record.subarray(3, 11), ...record.subarray(0, 3), ...lengths);
}

/** Node's types know GCM and ChaCha20-Poly1305 apart; the calls are the same. */
const gcm = (suite: Suite): CipherGCMTypes =>
  suite === 'aes-256-gcm' ? 'aes-256-gcm' : 'aes-128-gcm';
const options = { authTagLength: tagBytes };

/** Seals record `counter` of a lane. */
export function sealRecord(
  keys: RecordKeys,
  lane: number,
  counter: number,
  plaintext: Uint8Array,
): Uint8Array {
  const { suite } = keys;
  const prefix = prefixBytes(suite);
  const record = new Uint8Array(prefix + plaintext.length + tagBytes);
  const view = new DataView(record.buffer);
  const number = lane * laneSize + counter;
  record.set([23, 0xfe, 0xfd, 0, 1]);
  view.setUint16(5, Math.floor(number / 2 ** 32));
  view.setUint32(7, number % 2 ** 32);
  view.setUint16(11, record.length - recordHeaderBytes);
  if (suite !== 'chacha20-poly1305') record.set(record.subarray(3, 11), recordHeaderBytes);
  const nonce = nonceOf(suite, keys.sendIv, record);
  const cipher =
    suite === 'chacha20-poly1305'
      ? createCipheriv(suite, keys.sendKey, nonce, options)
      : createCipheriv(gcm(suite), keys.sendKey, nonce, options);
  cipher.setAAD(additionalData(record, plaintext.length), { plaintextLength: plaintext.length });
  record.set(cipher.update(plaintext), prefix);
  cipher.final();
  record.set(cipher.getAuthTag(), prefix + plaintext.length);
  return record;
}

/** Plaintext and number of a record of exactly this length; null when it is forged. */
export function openRecord(
  keys: RecordKeys,
  record: Uint8Array,
): { readonly plaintext: Uint8Array; readonly lane: number; readonly counter: number } | null {
  const { suite } = keys;
  const prefix = prefixBytes(suite);
  const size = record.length - prefix - tagBytes;
  if (size < 0) return null;
  const nonce = nonceOf(suite, keys.receiveIv, record);
  const decipher =
    suite === 'chacha20-poly1305'
      ? createDecipheriv(suite, keys.receiveKey, nonce, options)
      : createDecipheriv(gcm(suite), keys.receiveKey, nonce, options);
  decipher.setAAD(additionalData(record, size), { plaintextLength: size });
  decipher.setAuthTag(record.subarray(prefix + size));
  const plaintext = Uint8Array.from(decipher.update(record.subarray(prefix, prefix + size)));
  try {
    decipher.final();
  } catch {
    return null; // forged: an expected outcome, counted by the caller
  }
  const view = new DataView(record.buffer, record.byteOffset);
  const number = view.getUint16(5) * 2 ** 32 + view.getUint32(7);
  const lane = Math.floor(number / laneSize);
  return { plaintext, lane, counter: number - lane * laneSize };
}

/** Which of the last 4096 numbers of one lane have been seen. */
export class ReplayWindow {
  readonly #seen = new Set<number>();
  #highest = -1;

  accept(counter: number): boolean {
    if (counter <= this.#highest - replayWindow || this.#seen.has(counter)) return false;
    this.#seen.add(counter);
    this.#highest = Math.max(this.#highest, counter);
    if (this.#seen.size > 2 * replayWindow) {
      for (const old of this.#seen) {
        if (old <= this.#highest - replayWindow) this.#seen.delete(old);
      }
    }
    return true;
  }
}
