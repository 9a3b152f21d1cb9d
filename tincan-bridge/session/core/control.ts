/**
 * In-band control payloads (frame type `control`): ping, pong, bye and descriptions. Owns the codec;
 * anything it does not know is null, so that a later version may say more.
 *
 * Layout: kind (1) · nonce (8) · for a description its JSON. Longer payloads of the other kinds are
 * accepted, the rest is ignored.
 */

export type Control =
  | { readonly kind: 'ping'; readonly nonce: bigint }
  | { readonly kind: 'pong'; readonly nonce: bigint }
  /** The sender ends the session and forgets its keys; the nonce means nothing. */
  | { readonly kind: 'bye'; readonly nonce: bigint }
  /** What also goes by the signalling, which may be away just when the network has changed. */
  | { readonly kind: 'description'; readonly nonce: bigint; readonly json: string };

const kinds = { ping: 1, pong: 2, bye: 3, description: 4 } as const;
const controlBytes = 9;
const decoder = new TextDecoder();

export function encodeControl(control: Control): Uint8Array {
  const json = new TextEncoder().encode(control.kind === 'description' ? control.json : '');
  const bytes = new Uint8Array(controlBytes + json.length);
  bytes.set(json, controlBytes);
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
    case kinds.description:
      return { kind: 'description', nonce, json: decoder.decode(bytes.subarray(controlBytes)) };
    default:
      return null;
  }
}
