/**
 * What a handshake over the ring looks like inside its envelopes. Owns the codec; what it does not know
 * is null.
 *
 * Layout: marker (1) · handshake number (8) · DTLS datagram. The marker is outside all ranges of RFC 7983,
 * so that neither a record nor a bare handshake can be taken for it. Number 0 without a datagram asks
 * the peer, the DTLS client, to begin.
 */
import type { SessionNonce } from '../../../base/ids.ts';
import { handshakeId, handshakeNonce } from './control.ts';

const marker = 0x60;
const headBytes = 9;
/** Datagrams of such a handshake: with all headers they fit the narrowest path of a hop. */
export const ringDatagramBytes = 1_100;

export interface RingSetup {
  /** Null: please begin one. */
  readonly id: SessionNonce | null;
  readonly datagram: Uint8Array;
}

export function encodeRingSetup({ id, datagram }: RingSetup): Uint8Array {
  const bytes = new Uint8Array(headBytes + datagram.length);
  bytes[0] = marker;
  new DataView(bytes.buffer).setBigUint64(1, handshakeNonce(id));
  bytes.set(datagram, headBytes);
  return bytes;
}

export function decodeRingSetup(bytes: Uint8Array): RingSetup | null {
  if (bytes.length < headBytes || bytes[0] !== marker) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const id = handshakeId(view.getBigUint64(1));
  // One that asks carries nothing, one that answers something.
  if ((id === null) !== (bytes.length === headBytes)) return null;
  return { id, datagram: bytes.slice(headBytes) };
}
