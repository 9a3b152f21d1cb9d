/**
 * One side's view of a session that is being set up: nonces, ICE credentials, candidates. Owns the
 * schema that both the bridge protocol and the peer messages use.
 */
import { z } from 'zod';
import { SessionNonce } from '../../base/ids.ts';

/** An ICE candidate in the `candidate:` attribute syntax (RFC 8839 section 5.1), no prefix. */
export const Candidate = z
  .string()
  .max(300)
  .regex(
    /^[A-Za-z0-9+/]{1,32} \d{1,3} (udp|tcp|UDP|TCP) \d{1,10} [0-9A-Fa-f.:]{2,45} \d{1,5} typ /,
  );
export type Candidate = z.infer<typeof Candidate>;

/** Candidates of one side that are kept; more are refused. */
export const maxCandidates = 32;

/**
 * Sent at the start of an attempt, again whenever candidates were added (each repeats the whole
 * list), and in answer to a peer's description that does not know ours. Symmetric: there is no
 * offer and no answer; see `session/core/negotiation.ts` for how two of them find each other.
 */
export const SessionDescription = z.strictObject({
  /** Nonce of the sender's attempt. A new attempt has a new one, new credentials, new sockets. */
  nonce: SessionNonce,
  /** Nonce of the receiver's attempt that the sender has paired with, or null when unknown. */
  peerNonce: SessionNonce.nullable(),
  /** ICE credentials (RFC 8445 section 5.3), random for each attempt. */
  ufrag: z.string().regex(/^[A-Za-z0-9+/]{4,64}$/),
  password: z.string().regex(/^[A-Za-z0-9+/]{22,128}$/),
  candidates: z.array(Candidate).max(maxCandidates),
  /** No more candidates will come in this attempt. */
  complete: z.boolean(),
  /** The sender has a relayed session that works and seeks a direct path: no relays, please. */
  directOnly: z.boolean().optional(),
});
export type SessionDescription = z.infer<typeof SessionDescription>;
