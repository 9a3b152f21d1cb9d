/**
 * All that one node says to another, over XMPP or in-band: the messages, the signed wrapping, the
 * announcement in presence. Owns the schemas; signs and verifies nothing (identity does).
 */
import { z } from 'zod';
import { NodeId, OverlayId } from '../base/ids.ts';
import { SessionDescription } from '../tincan-bridge/protocol/description.ts';

/** Version of these messages; a peer of another one is refused by name. */
export const peerProtocolVersion = 1;

/** Everything a node may say to another. There is no "invoke any action". */
export const PeerMessage = z.discriminatedUnion('kind', [
  /** One side's view of a session that is being set up, and its candidates so far. */
  z.strictObject({ kind: z.literal('describe'), description: SessionDescription }),
  /** The sender has ended the session and will not answer on it. */
  z.strictObject({ kind: z.literal('ended'), reason: z.string().max(120) }),
]);
export type PeerMessage = z.infer<typeof PeerMessage>;

/** What is signed around a message. Times are milliseconds since the epoch. */
export const SignedBody = z.strictObject({
  version: z.literal(peerProtocolVersion),
  overlay: OverlayId,
  from: NodeId,
  to: NodeId,
  /** Grows with each message from one node to another; starts at the wall clock, microseconds. */
  sequence: z.int().min(1),
  expiresAtMs: z.int().min(0),
  message: PeerMessage,
});
export type SignedBody = z.infer<typeof SignedBody>;

/** Longest serialized envelope that is accepted, characters. */
export const maxEnvelopeChars = 16_384;

/** Base64, not longer than `max` characters. */
const base64 = (max: number) =>
  z
    .string()
    .max(max)
    .regex(/^[A-Za-z0-9+/]*={0,2}$/, 'must be base64');

/**
 * The envelope on the wire: `body` is the UTF-8 JSON of a SignedBody, `signature` is ECDSA P-256
 * with SHA-256 (IEEE P1363, 64 bytes) over the context string and those very bytes.
 */
export const Envelope = z.strictObject({
  body: base64(maxEnvelopeChars),
  signature: base64(88),
});
export type Envelope = z.infer<typeof Envelope>;

/** An address or a range in text form; its meaning is checked by the module that uses it. */
const addressText = z
  .string()
  .max(49)
  .regex(/^[0-9a-f.:]+(\/\d{1,3})?$/, 'must be an address or a range');

/** The pod ranges of a node, and its addresses in the overlay, by which they are reached. */
export const PodsAnnouncement = z.strictObject({
  addresses: z.array(addressText).max(4),
  ranges: z.array(addressText).max(8),
});
export type PodsAnnouncement = z.infer<typeof PodsAnnouncement>;

/** What a node says about itself in presence; signed like a message, bound to its full JID. */
export const AnnouncementBody = z.strictObject({
  version: z.int().min(1).max(1_000_000),
  overlay: OverlayId,
  node: NodeId,
  name: z.string().min(1).max(63),
  /** Full JID that it is announced from: an announcement cannot be repeated from another account. */
  jid: z.string().min(3).max(3_071),
  /** DER of the certificate. Its key must give `node`. */
  certificate: base64(4_096),
  /** When it was made, milliseconds since the epoch; older ones never replace newer ones. */
  issuedAtMs: z.int().min(0),
  /** Which pods are behind it; only where pods are attached to the overlay. */
  pods: PodsAnnouncement.optional(),
});
export type AnnouncementBody = z.infer<typeof AnnouncementBody>;
