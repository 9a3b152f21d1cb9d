/**
 * Whether a session that is up still is: when to ask, when to suspect its path, when it is dead.
 * Owns the rules; consent (RFC 7675) is ICE's and arrives at the machine as `ice-failed`.
 */
import type { Link } from './session-state.ts';
import {
  calmQuietMs,
  deadPathMs,
  deadSessionMs,
  measureMs,
  quietMs,
  restQuietMs,
  tickMs,
} from './timers.ts';

/** Unanswered questions without which silence proves nothing: our own clock may have stood still. */
const enoughUnanswered = 2;
/** Nor does it before an answer to the first of them is late: who rests is silent for long anyway. */
const answerMs = deadPathMs - quietMs - tickMs;

type Up = Link & { readonly kind: 'up' };

export interface LinkHealth {
  readonly link: Up;
  /** A ping is due. */
  readonly asks: boolean;
  readonly verdict: 'healthy' | 'suspect' | 'dead';
  readonly silentMs: number;
}

export interface Heard {
  /** Since the last record, -1 for never. */
  readonly heardAgoMs: number;
  readonly pace: Pace;
}

/**
 * `used`: frames flow or wait for an answer, or the peer may be gone; `calm`: none does; `resting`: the
 * same, over the ring.
 */
export type Pace = 'used' | 'calm' | 'resting';

/** Nothing heard for this long: ask. */
export const askAfterMs: Readonly<Record<Pace, number>> = {
  used: quietMs,
  calm: calmQuietMs,
  resting: restQuietMs,
};

/** While the link is up: as often as `lookAgainMs` of `link.ts` says. */
export function lookAfterLink(link: Up, { heardAgoMs, pace }: Heard, nowMs: number): LinkHealth {
  const upMs = nowMs - link.sinceMs;
  const silentMs = heardAgoMs < 0 ? upMs : Math.min(heardAgoMs, upMs);
  const unanswered = silentMs < nowMs - link.askedMs ? 0 : link.unanswered;
  const doubtMs = unanswered === 0 ? nowMs : link.doubtMs;
  const measures = pace !== 'resting' && nowMs - link.askedMs >= measureMs;
  const asks = unanswered > 0 || silentMs >= askAfterMs[pace] || measures;
  const late = unanswered >= enoughUnanswered && nowMs - doubtMs >= answerMs;
  const silent = silentMs >= deadPathMs && late;
  const still = silentMs < quietMs ? null : link.suspectSinceMs;
  const suspectSinceMs = silent ? (link.suspectSinceMs ?? nowMs) : still;
  const dead = silent && silentMs >= deadSessionMs;
  return {
    link: {
      ...link,
      suspectSinceMs,
      unanswered: asks ? unanswered + 1 : unanswered,
      askedMs: asks ? nowMs : link.askedMs,
      doubtMs,
    },
    asks,
    verdict: dead ? 'dead' : suspectSinceMs === null ? 'healthy' : 'suspect',
    silentMs,
  };
}
