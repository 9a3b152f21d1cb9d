/**
 * How two symmetric sides find each other: which attempt of ours belongs to which attempt of the
 * peer. Owns the pairing rules and nothing else; credentials, candidates and timers are the session's.
 *
 *            open                 hears {x, null} or {x, m}
 *   idle ───────────► offered m ─────────────────────────────► paired m–x
 *     │  hears {x, null}                                        │     ▲
 *     └─────────────────────────────────────────────────────────┼─────┘
 *                         hears {z, null}: new attempt, paired ──┘
 *                         hears {z, other}: new attempt, offered
 *
 * The one law behind the rules: ICE credentials cannot be mixed, so an attempt is paired once, and
 * a description may be paired with only while its sender can still be paired with us: it says
 * `peerNonce: null` (free) or names our current attempt, which must then be free itself. Where both
 * are bound elsewhere, somebody offers a fresh attempt, and a fresh offer always wins. Two fresh
 * offers that cross pair with each other, so no tie has to be broken by node ids.
 */
import type { SessionNonce } from '../../../base/ids.ts';

export type Negotiation =
  | { readonly kind: 'idle'; readonly retired: readonly SessionNonce[] }
  | {
      readonly kind: 'offered';
      readonly own: SessionNonce;
      readonly retired: readonly SessionNonce[];
    }
  | {
      readonly kind: 'paired';
      readonly own: SessionNonce;
      readonly peer: SessionNonce;
      /** The peer has said that its attempt is paired with ours; until then we repeat ourselves. */
      readonly confirmed: boolean;
      readonly retired: readonly SessionNonce[];
    };

/** What a description asks of the session. */
export type Verdict =
  /** Nothing: stale, or it will be settled by a description that is under way. */
  | { readonly kind: 'ignore'; readonly why: string }
  /** The current attempt gets the peer's credentials (it had none). */
  | { readonly kind: 'pair'; readonly answer: boolean }
  /** Known already: its candidates may be new. */
  | { readonly kind: 'merge'; readonly answer: boolean }
  /** The current attempt, if any, is given up for a new one with the fresh nonce, paired at once. */
  | { readonly kind: 'start-paired' }
  /** The same, but the new one is offered: the description's attempt is bound to an older one of ours. */
  | { readonly kind: 'start-offered' };

export interface Heard {
  readonly nonce: SessionNonce;
  readonly peerNonce: SessionNonce | null;
}

/** Nonces of the peer's earlier attempts that are remembered, so that late copies do no harm. */
const maxRetired = 32;

export const idle: Negotiation = { kind: 'idle', retired: [] };

/** Starts an attempt of our own accord. `nonce` is fresh. */
export const open = (now: Negotiation, nonce: SessionNonce): Negotiation => ({
  kind: 'offered',
  own: nonce,
  retired: retire(now),
});

/** Gives the attempt up without a new one. */
export const abandon = (now: Negotiation): Negotiation => ({ kind: 'idle', retired: retire(now) });

/** What a peer's description means. `fresh` is used as our nonce when a new attempt is started. */
export function hear(
  now: Negotiation,
  heard: Heard,
  fresh: SessionNonce,
): { readonly next: Negotiation; readonly verdict: Verdict } {
  const { nonce, peerNonce } = heard;
  if (now.retired.includes(nonce) && isLate(now, heard)) {
    return { next: now, verdict: { kind: 'ignore', why: 'of an attempt that was given up' } };
  }
  switch (now.kind) {
    case 'idle':
      return peerNonce === null ? startPaired(now, nonce, fresh) : startOffered(now, fresh);
    case 'offered':
      return hearOffered(now, heard);
    case 'paired':
      if (nonce === now.peer) return hearAgain(now, heard);
      if (peerNonce === null) return startPaired(now, nonce, fresh);
      // The peer has moved on, and its new attempt is bound to one of ours that cannot be used: to
      // this one, or (messages overtook each other) to an older one.
      return startOffered(retireAlso(now, nonce), fresh);
  }
}

/**
 * Whether a description of an attempt that we once left is a late copy. It is not when it names our
 * current attempt, and it may be the peer's truth while nothing has confirmed what we hold instead.
 */
function isLate(now: Negotiation, heard: Heard): boolean {
  if (now.kind === 'idle') return true;
  return heard.peerNonce !== now.own && (now.kind === 'offered' || now.confirmed);
}

/** The pair of attempts works (ICE has validated a path): as good as the peer's word. */
export const confirm = (now: Negotiation): Negotiation =>
  now.kind === 'paired' && !now.confirmed ? { ...now, confirmed: true } : now;

type Outcome = ReturnType<typeof hear>;

function hearOffered(now: Negotiation & { kind: 'offered' }, heard: Heard): Outcome {
  if (heard.peerNonce !== null && heard.peerNonce !== now.own) {
    return { next: now, verdict: { kind: 'ignore', why: 'answers an older attempt' } };
  }
  const confirmed = heard.peerNonce === now.own;
  const next: Negotiation = {
    kind: 'paired',
    own: now.own,
    peer: heard.nonce,
    confirmed,
    retired: now.retired,
  };
  return { next, verdict: { kind: 'pair', answer: !confirmed } };
}

function hearAgain(now: Negotiation & { kind: 'paired' }, heard: Heard): Outcome {
  const confirmed = heard.peerNonce === now.own;
  const next = confirmed ? { ...now, confirmed } : now;
  return { next, verdict: { kind: 'merge', answer: !confirmed } };
}

const startPaired = (now: Negotiation, peer: SessionNonce, fresh: SessionNonce): Outcome => ({
  next: { kind: 'paired', own: fresh, peer, confirmed: false, retired: retire(now) },
  verdict: { kind: 'start-paired' },
});

const startOffered = (now: Negotiation, fresh: SessionNonce): Outcome => ({
  next: open(now, fresh),
  verdict: { kind: 'start-offered' },
});

const retireAlso = (now: Negotiation, nonce: SessionNonce): Negotiation => ({
  ...now,
  retired: [...now.retired, nonce].slice(-maxRetired),
});

const retire = (now: Negotiation): readonly SessionNonce[] =>
  now.kind === 'paired' ? [...now.retired, now.peer].slice(-maxRetired) : now.retired;
