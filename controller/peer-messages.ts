/**
 * All that one node says to another, over XMPP or in-band: the messages, the signed wrapping, the
 * announcement in presence. Owns the schemas; signs and verifies nothing (identity does).
 */
import { z } from 'zod';
import { NodeId, OverlayId } from '../base/ids.ts';
import { SessionDescription } from '../tincan-bridge/protocol/description.ts';

/** Version of these messages; a peer of another one is refused by name. */
export const peerProtocolVersion = 3;

/** Why a node wants a link. The far side's view of it is the same word, "incoming". */
export const LinkReason = z.enum(['static', 'successor', 'on-demand', 'long-distance']);
export type LinkReason = z.infer<typeof LinkReason>;

/** Why a claim is not (or no longer) granted. */
export const LinkRefusal = z.enum([
  /** As many long-distance links come in as this node carries. */
  'incoming-cap',
  /** This node is a leaf: it carries nobody's traffic. */
  'leaf',
  /** Manual topology: only static links are taken. */
  'manual',
  /** Too many links are being set up at once; ask again soon. */
  'busy',
  /** The table of links is full. */
  'too-many-links',
  /** This node is about to stop. */
  'leaving',
  /** This node is not in that overlay (answered by the shell, which knows the overlays). */
  'unknown-overlay',
  /** It was granted, but no link came up, or it stayed down. */
  'not-up',
]);
export type LinkRefusal = z.infer<typeof LinkRefusal>;

/** Number of a claim: the wall clock in milliseconds, or one more than the sender's last. */
const Claim = z.int().min(1);

/**
 * What two controllers say to each other about a link. Neighbour lists are not among them: they are
 * the tunnel processes' own and travel in-band (`tincan-bridge/fabric/core/ring-control.ts`).
 */
export const LinkMessage = z.discriminatedUnion('kind', [
  /** The sender claims a link for a reason; a higher number replaces the sender's earlier claim. */
  z.strictObject({ kind: z.literal('link-request'), claim: Claim, reason: LinkReason }),
  /** The answer to the claim of that number; also later, when a granted claim is withdrawn. */
  z.strictObject({
    kind: z.literal('link-answer'),
    claim: Claim,
    refusal: LinkRefusal.nullable(),
  }),
  /** The sender gives up its claims up to that number; when `leaving`, the receiver's too. */
  z.strictObject({ kind: z.literal('link-ended'), claim: Claim, leaving: z.boolean() }),
]);
export type LinkMessage = z.infer<typeof LinkMessage>;

/** Everything a node may say to another. There is no "invoke any action". */
export const PeerMessage = z.discriminatedUnion('kind', [
  /** One side's view of a session that is being set up, and its candidates so far. */
  z.strictObject({ kind: z.literal('describe'), description: SessionDescription }),
  /** The sender has ended the session and will not answer on it. */
  z.strictObject({ kind: z.literal('ended'), reason: z.string().max(120) }),
  ...LinkMessage.options,
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

/** What a node says about itself in presence; signed like a message, bound to its full JID. */
export const AnnouncementBody = z.strictObject({
  version: z.int().min(1).max(1_000_000),
  overlay: OverlayId,
  node: NodeId,
  name: z.string().min(1).max(63),
  /** It carries nobody's traffic (role leaf). */
  leaf: z.boolean().default(false),
  /** Full JID that it is announced from: an announcement cannot be repeated from another account. */
  jid: z.string().min(3).max(3_071),
  /** DER of the certificate. Its key must give `node`. */
  certificate: base64(4_096),
  /** When it was made, milliseconds since the epoch; older ones never replace newer ones. */
  issuedAtMs: z.int().min(0),
  /** Its host's in the overlay: questions for them go to it alone, and its pods are behind them. */
  addresses: z.array(addressText).max(4).default([]),
  /** Which pods are behind it; only where pods are attached to the overlay. */
  podRanges: z.array(addressText).max(8).optional(),
});
export type AnnouncementBody = z.infer<typeof AnnouncementBody>;
