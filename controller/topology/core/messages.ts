/**
 * What two controllers say to each other about a link: the schemas, to be put into
 * `controller/peer-messages.ts` as members of `PeerMessage`. Neighbour lists are not among them: they
 * are the tunnel processes' own and travel in-band (`tincan-bridge/fabric/core/ring-control.ts`).
 */
import { z } from 'zod';

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
