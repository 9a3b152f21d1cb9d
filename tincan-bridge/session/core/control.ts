/**
 * In-band control payloads (frame type `control`): ping, pong, bye, descriptions and rekey. Owns the
 * codec; anything it does not know is null, so that a later version may say more.
 *
 * Layout: kind (1) · nonce (8) · JSON (description) or datagram (rekey). Longer payloads of the other
 * kinds are accepted and the rest is ignored: a padded ping asks whether its size passes (RFC 8899).
 */
import { SessionNonce } from '../../../base/ids.ts';

export type Control =
  | { readonly kind: 'ping'; readonly nonce: bigint }
  | { readonly kind: 'pong'; readonly nonce: bigint }
  /** The sender ends the session and forgets its keys; the nonce means nothing. */
  | { readonly kind: 'bye'; readonly nonce: bigint }
  /** What also goes by the signalling, which may be away just when the network has changed. */
  | { readonly kind: 'description'; readonly nonce: bigint; readonly json: string }
  /** A datagram of the handshake `nonce`; nonce 0 without a datagram asks the peer to begin one. */
  | { readonly kind: 'rekey'; readonly nonce: bigint; readonly datagram: Uint8Array };

const kinds = { ping: 1, pong: 2, bye: 3, description: 4, rekey: 5 } as const;
/** Bytes of a control payload before what it carries. */
export const controlBytes = 9;
const decoder = new TextDecoder();
const encoder = new TextEncoder();

function carriedBy(control: Control): Uint8Array {
  if (control.kind === 'rekey') return control.datagram;
  return control.kind === 'description' ? encoder.encode(control.json) : new Uint8Array(0);
}

/** `bytes`: length of the payload at least, for padded pings. */
export function encodeControl(control: Control, bytes = 0): Uint8Array {
  const carried = carriedBy(control);
  const encoded = new Uint8Array(Math.max(bytes, controlBytes + carried.length));
  const view = new DataView(encoded.buffer);
  view.setUint8(0, kinds[control.kind]);
  view.setBigUint64(1, control.nonce);
  encoded.set(carried, controlBytes);
  return encoded;
}

/** The number of a handshake as text, as the machine has it; null for "please begin one". */
export const handshakeId = (nonce: bigint): SessionNonce | null =>
  nonce === 0n ? null : SessionNonce.parse(nonce.toString(16).padStart(16, '0'));
export const handshakeNonce = (id: SessionNonce | null): bigint =>
  id === null ? 0n : BigInt(`0x${id}`);

export function decodeControl(bytes: Uint8Array): Control | null {
  if (bytes.length < controlBytes) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const nonce = view.getBigUint64(1);
  switch (view.getUint8(0)) {
    case kinds.ping:
      return { kind: 'ping', nonce };
    case kinds.pong:
      return { kind: 'pong', nonce };
    case kinds.bye:
      return { kind: 'bye', nonce };
    case kinds.description:
      return { kind: 'description', nonce, json: decoder.decode(bytes.subarray(controlBytes)) };
    case kinds.rekey:
      return { kind: 'rekey', nonce, datagram: bytes.slice(controlBytes) };
    default:
      return null;
  }
}
