/**
 * In-band control payloads (frame type `control`): pings, bye, descriptions, rekey, messages of the
 * controllers. Owns the codec; anything it does not know is null, so that a later version may say more.
 * Kinds from 16 on are the ring's (`fabric/core/ring-control.ts`).
 *
 * Layout: kind (1) · nonce (8) · what it carries: JSON (description), datagram (rekey), index (1), count
 * (1) and bytes (message), node ids (traced). Longer payloads of the other kinds are accepted and the
 * rest is ignored: a padded ping asks whether its size passes (RFC 8899).
 */
import { type NodeId, nodeIdBytes, nodeIdFromBytes, SessionNonce } from '../../../base/ids.ts';

export type Control =
  | { readonly kind: 'ping'; readonly nonce: bigint }
  | { readonly kind: 'pong'; readonly nonce: bigint }
  /** The sender ends the session and forgets its keys; the nonce means nothing. */
  | { readonly kind: 'bye'; readonly nonce: bigint }
  /** What also goes by the signalling, which may be away just when the network has changed. */
  | { readonly kind: 'description'; readonly nonce: bigint; readonly json: string }
  /** A datagram of the handshake `nonce`; nonce 0 without a datagram asks the peer to begin one. */
  | { readonly kind: 'rekey'; readonly nonce: bigint; readonly datagram: Uint8Array }
  /** A ping of a sender that sends over the ring: a peer that does not yet had better. */
  | { readonly kind: 'ring-ping'; readonly nonce: bigint }
  /** The same of a sender that hears nothing: what the peer sends over the ring does not come through. */
  | { readonly kind: 'deaf-ping'; readonly nonce: bigint }
  /** Part `index` of `count` of a message of the peer's controller; the nonce names the message. */
  | {
      readonly kind: 'message';
      readonly nonce: bigint;
      readonly index: number;
      readonly count: number;
      readonly part: Uint8Array;
    }
  /** The whole message has arrived. */
  | { readonly kind: 'received'; readonly nonce: bigint }
  /** The answer to a trace (`fabric/core/trace.ts`): the nodes that it went through. */
  | { readonly kind: 'traced'; readonly nonce: bigint; readonly hops: readonly NodeId[] };

const kinds = {
  ping: 1,
  pong: 2,
  bye: 3,
  description: 4,
  rekey: 5,
  'ring-ping': 6,
  message: 7,
  received: 8,
  traced: 9,
  'deaf-ping': 10,
} as const;
/** Nodes that an answer to a trace names. */
export const maxTraced = 60;
const idBytes = 16;
/** Bytes of a control payload before what it carries. */
export const controlBytes = 9;
const decoder = new TextDecoder();
const encoder = new TextEncoder();

function carriedBy(control: Control): Uint8Array {
  switch (control.kind) {
    case 'rekey':
      return control.datagram;
    case 'description':
      return encoder.encode(control.json);
    case 'message':
      return Uint8Array.of(control.index, control.count, ...control.part);
    case 'traced':
      return Uint8Array.from(
        control.hops.slice(0, maxTraced).flatMap((id) => [...nodeIdBytes(id)]),
      );
    default:
      return new Uint8Array(0);
  }
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
    case kinds['ring-ping']:
      return { kind: 'ring-ping', nonce };
    case kinds['deaf-ping']:
      return { kind: 'deaf-ping', nonce };
    case kinds.message: {
      const [index = 0, count = 0] = bytes.subarray(controlBytes);
      if (index >= count) return null;
      return { kind: 'message', nonce, index, count, part: bytes.slice(controlBytes + 2) };
    }
    case kinds.received:
      return { kind: 'received', nonce };
    case kinds.traced:
      return { kind: 'traced', nonce, hops: idsIn(bytes.subarray(controlBytes)) };
    default:
      return null;
  }
}

function idsIn(bytes: Uint8Array): readonly NodeId[] {
  const count = Math.min(maxTraced, Math.floor(bytes.length / idBytes));
  return Array.from({ length: count }, (_, index) =>
    nodeIdFromBytes(bytes.subarray(index * idBytes)),
  );
}
