/**
 * Every time of a peer session, with the reason for the number. Owns nothing else. All in
 * milliseconds.
 */

/** An unanswered description is sent again after this, doubling: a message may be lost in XMPP. */
export const repeatFirstMs = 1_000;
export const repeatMaxMs = 16_000;

/** An attempt that the peer does not answer ends: its NAT mappings grow stale after about 30 s. */
export const offeredMs = 30_000;

/** From pairing to a validated pair; ICE itself needs under 1 s, a slow relay 3 s, loss a few more. */
export const connectingMs = 15_000;

/** From a validated pair to keys: ten retransmissions. */
export const securingMs = 10_000;

/** First DTLS retransmission; ICE has shown that the path is short enough, doubling does the rest. */
export const handshakeRetransmitMs = 200;

/** A finished handshake answers a peer that lost our last flight for this long. */
export const lingerMs = 30_000;

/** A replaced association still opens what was on its way. */
export const retireMs = 5_000;

/** Backoff between attempts: first, last; each drawn from half to all of it. */
export const backoffFirstMs = 1_000;
export const backoffMaxMs = 60_000;

/** A session that was up this long starts its backoff anew. */
export const stableMs = 10_000;

/** How often a session that is up looks at itself while an answer is late; else when it may be quiet. */
export const tickMs = 500;

/**
 * When a session looks at itself next: on a grid that all sessions of this process share, so that one
 * wake-up serves them all. Half to one and a half of `everyMs` from now.
 */
export const nextTickMs = (nowMs: number, everyMs: number = tickMs): number =>
  (Math.round(nowMs / everyMs) + 1) * everyMs;

/** Nothing heard for this long: ask. With tickMs and deadPathMs three questions go unanswered. */
export const quietMs = 1_000;

/** The same where no frame flows or waits for an answer: nothing is lost yet that asking could save. */
export const calmQuietMs = 2_000;

/** When one that is healthy looks at itself next: as soon as it may have been silent for `askAfterMs`. */
export const nextLookMs = (nowMs: number, silentMs: number, askAfterMs: number): number =>
  Math.max(nextTickMs(nowMs), Math.ceil((nowMs + askAfterMs - silentMs) / tickMs) * tickMs);

/**
 * Without a frame for this long a session is unused. One over the ring where none flows or waits rests: it
 * is looked at and asked this rarely, and no way is sought for it. Members have one with nearly every
 * other, and each question costs all nodes between.
 */
export const restMs = 2_000;
/** An answer to a frame is waited for this long: time to find a dead way dead, and to search for another. */
export const lateMs = 5_000;
export const restTickMs = 2_000;
export const restQuietMs = 10_000;

/** Not heard for this long when the peer signs in anew, a session over the ring has ended with it. */
export const goneMs = 2_000;

/** Asked for the round trip time at least this often. */
export const measureMs = 5_000;

/**
 * Nothing heard for this long while asking: the path is dead, another one is sought. With one tick
 * more and a second for ICE and DTLS it is left within 5 s.
 */
export const deadPathMs = 3_000;

/** Nothing heard for this long: the session has ended (≤ 30 s), frames have nowhere to go. */
export const deadSessionMs = 20_000;

/** A peer that said that it ended is asked again after this, unless it speaks first. */
export const endedMs = 60_000;

/** Attempts that a peer's descriptions may start within the window; beyond, they wait for a repeat. */
export const startsAllowed = 8;
export const startsWindowMs = 10_000;

/** The MTU is raised only after the paths have allowed it for this long; it is lowered at once. */
export const mtuRaiseMs = 60_000;

/** The first question of a new association: an ordinary round trip after our own end of it. */
export const firstAskMs = 100;

/**
 * A relayed session seeks a direct path: first after this, then in growing steps. The longest, its
 * jitter and one attempt (directMs) together stay below 60 s.
 */
export const improveFirstMs = 5_000;
export const improveMaxMs = 48_000;

/** Such an attempt: a path that opens within it is found, and a blocked one costs no more checks. */
export const directMs = 7_000;
/** Keys are replaced after this long (drawn from three quarters to all of it) … */
export const rekeyMs = 3_600_000;
/** … or so many bytes under one key; asked about once in quietMs, hence begun well before. */
export const rekeyBytes = 2 ** 36;
export const rekeyBytesShare = 0.85;

/** A peer that was asked to begin is asked again, and a rekeying that could not begin is tried again. */
export const rekeyRepeatMs = 500;
export const rekeyRetryMs = 1_000;

/** Handshakes that a peer may begin in-band: each costs some milliseconds of this thread. */
export const rekeySpacingMs = 25;

/** After so many failures in a row the keys are replaced by way of a new ICE attempt. */
export const rekeyFailuresAllowed = 3;

/** An association that waits to be heard under is asked under this often … */
export const confirmRepeatMs = 200;
/** … and is given up after this long. */
export const confirmMs = 10_000;

/** Replaced associations that are kept; more end at once. */
export const retiringAllowed = 32;
/** A peer that goes on sending under old keys is opened for at most this long. */
export const retireMaxMs = 30_000;

/** What waits for a session over the ring waits this long for a way and a handshake. */
export const ringNeedMs = 5_000;

/** After a handshake over the ring that failed: first pause, doubling, and the longest. */
export const ringRetryMs = 250;
export const ringRetryMaxMs = 30_000;

/** A peer heard so lately has its keys: who asks for other ones over the ring is somebody else. */
export const ringFreshMs = 1_500;

/** Handshakes that are begun on the word of an envelope, whose source is a claim: at most so often. */
export const ringSpacingMs = 250;

/** A running one is not given up for another before this: a forger would end each. */
export const ringHoldMs = 1_000;

/** After a link was released: what is on its way still arrives, then its sockets close. */
export const drainMs = 1_000;

/** A session that only the ring carries ends after this long without a frame. */
export const ringIdleMs = 180_000;

/** A link that is released goes on over the ring when frames flowed this lately. */
export const ringKeepMs = 60_000;

/** A description that came before the link was wanted here: as long as its attempt may live. */
export const earlyMs = 30_000;

/**
 * While a path is in doubt a way over the ring is searched for this often; a search reaches far in 2 s.
 * One over the ring over which nothing came back for so long is left for another.
 */
export const seekAgainMs = 3_000;

/**
 * A way over the ring is left only after it was tried for this long: some round trips, and two ticks of
 * a peer that says that it hears nothing until it says so no more.
 */
export const unheardMs = 1_500;

/** Who hears nothing says so for two ticks before it leaves its own way. */
export const tellMs = 900;
