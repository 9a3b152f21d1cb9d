/**
 * Signing bytes and wrapping them for the wire, and back. Owns the contexts and the size bound;
 * knows neither peers nor time.
 */
import { type KeyObject, sign, verify } from 'node:crypto';
import { Envelope, maxEnvelopeChars } from '../peer-messages.ts';

/**
 * What is signed starts with one of these, so that a signature of one kind is none of the other.
 * The NUL ends the context: no body can continue it.
 */
const contexts = {
  message: Buffer.from('evio peer message 1\0'),
  announcement: Buffer.from('evio announcement 1\0'),
} as const;
export type SignedKind = keyof typeof contexts;

/** Bytes of an ECDSA P-256 signature in IEEE P1363 form. */
const signatureBytes = 64;

/** The text of an envelope: printable ASCII, so that no transport has to know of encodings. */
export function sealEnvelope(kind: SignedKind, privateKey: KeyObject, body: unknown): string {
  const bytes = Buffer.from(JSON.stringify(body));
  const signature = sign('sha256', Buffer.concat([contexts[kind], bytes]), {
    key: privateKey,
    dsaEncoding: 'ieee-p1363',
  });
  const text = JSON.stringify({
    body: bytes.toString('base64'),
    signature: signature.toString('base64'),
  });
  if (text.length > maxEnvelopeChars) {
    throw new RangeError(`envelope of ${text.length} characters, at most ${maxEnvelopeChars}`);
  }
  return text;
}

/** An envelope taken apart; nothing of it is believed yet. */
export interface OpenedEnvelope {
  readonly bytes: Uint8Array;
  readonly signature: Uint8Array;
}

/** Null for anything that is not an envelope within its bounds. */
export function parseEnvelope(text: string): OpenedEnvelope | null {
  if (text.length > maxEnvelopeChars) return null;
  const envelope = Envelope.safeParse(parseJson(text));
  if (!envelope.success) return null;
  const signature = Buffer.from(envelope.data.signature, 'base64');
  if (signature.length !== signatureBytes) return null;
  return { bytes: Buffer.from(envelope.data.body, 'base64'), signature };
}

/** Whether the key made the signature over these bytes, for this kind. */
export const isSignedBy = (
  kind: SignedKind,
  publicKey: KeyObject,
  envelope: OpenedEnvelope,
): boolean =>
  verify(
    'sha256',
    Buffer.concat([contexts[kind], envelope.bytes]),
    { key: publicKey, dsaEncoding: 'ieee-p1363' },
    envelope.signature,
  );

/** JSON of a body, or undefined when it is none. */
export const parseBody = (envelope: OpenedEnvelope): unknown =>
  parseJson(Buffer.from(envelope.bytes).toString('utf8'));

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // the schema says what is wrong
  }
}
