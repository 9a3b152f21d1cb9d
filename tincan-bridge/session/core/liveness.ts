/**
 * Whether a session that is up still is: when to ask, when to suspect its path, when it is dead.
 * Owns the rules; consent (RFC 7675) is ICE's and arrives at the machine as `ice-failed`.
 */
import type { Link } from './session-state.ts';
import { deadPathMs, deadSessionMs, measureMs, quietMs } from './timers.ts';

/** Unanswered questions without which silence proves nothing: our own clock may have stood still. */
const enoughUnanswered = 2;

type Up = Link & { readonly kind: 'up' };

export interface LinkHealth {
  readonly link: Up;
  /** A ping is due. */
  readonly asks: boolean;
  readonly verdict: 'healthy' | 'suspect' | 'dead';
  readonly silentMs: number;
}

/** Once in `tickMs` while the link is up. `heardAgoMs`: since the last record, -1 for never. */
export function lookAfterLink(link: Up, heardAgoMs: number, nowMs: number): LinkHealth {
  const upMs = nowMs - link.sinceMs;
  const silentMs = heardAgoMs < 0 ? upMs : Math.min(heardAgoMs, upMs);
  const unanswered = silentMs < nowMs - link.askedMs ? 0 : link.unanswered;
  const asks = unanswered > 0 || silentMs >= quietMs || nowMs - link.askedMs >= measureMs;
  const silent = silentMs >= deadPathMs && unanswered >= enoughUnanswered;
  const still = silentMs < quietMs ? null : link.suspectSinceMs;
  const suspectSinceMs = silent ? (link.suspectSinceMs ?? nowMs) : still;
  const dead = silent && silentMs >= deadSessionMs;
  return {
    link: {
      ...link,
      suspectSinceMs,
      unanswered: asks ? unanswered + 1 : unanswered,
      askedMs: asks ? nowMs : link.askedMs,
    },
    asks,
    verdict: dead ? 'dead' : suspectSinceMs === null ? 'healthy' : 'suspect',
    silentMs,
  };
}
