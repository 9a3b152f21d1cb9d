/**
 * In-band control payloads (frame type `control`): ping, pong and bye. Owns the codec; anything it does
 * not know is null, so that a later version may say more.
 *
 * Layout: kind (1) · nonce (8). Longer payloads of a known kind are accepted, the rest is ignored.
 */

export type Control =
  | { readonly kind: 'ping'; readonly nonce: bigint }
  | { readonly kind: 'pong'; readonly nonce: bigint }
  /** The sender ends the session and forgets its keys; the nonce means nothing. */
  | { readonly kind: 'bye'; readonly nonce: bigint };

const kinds = { ping: 1, pong: 2, bye: 3 } as const;
const controlBytes = 9;

export function encodeControl(control: Control): Uint8Array {
  const bytes = new Uint8Array(controlBytes);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, kinds[control.kind]);
  view.setBigUint64(1, control.nonce);
  return bytes;
}

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
    default:
      return null;
  }
}
