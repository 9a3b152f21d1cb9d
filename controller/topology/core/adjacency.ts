/**
 * A link as this node sees it: who claims it, and whether it is up. Two claims, one of each side,
 * each owned by the side that made it: the link is wanted while either is granted, so that no two
 * plans can fight over it. Owns the record and its deadlines; the rules of talking are negotiation's.
 */

import type { LinkReason } from '../../peer-messages.ts';
import { answerMs, recoverMs, setUpMs } from './config.ts';

export interface OwnClaim {
  readonly claim: number;
  readonly reason: LinkReason;
  /** The peer agreed to a claim of ours, this one or the one that it replaces. */
  readonly granted: boolean;
  /** The request of this number was answered. */
  readonly answered: boolean;
  readonly askedMs: number;
  readonly asks: number;
}

export interface TheirClaim {
  readonly claim: number;
  readonly reason: LinkReason;
}

export interface Link {
  readonly own: OwnClaim | null;
  readonly theirs: TheirClaim | null;
  readonly up: boolean;
  /** It was up since it became wanted. */
  readonly wasUp: boolean;
  /** When `up` or wantedness last changed. */
  readonly sinceMs: number;
}

export const noLink = (nowMs: number): Link => ({
  own: null,
  theirs: null,
  up: false,
  wasUp: false,
  sinceMs: nowMs,
});

/** Both sides of an agreed link see it as wanted: that is what makes sessions. */
export const isWanted = (link: Link): boolean => link.own?.granted === true || link.theirs !== null;

/** Nothing is left to remember. */
export const isEmpty = (link: Link): boolean => link.own === null && link.theirs === null;

/** Wanted, and not up for so long; 0 when up or not wanted. */
export const waitedMs = (link: Link, nowMs: number): number =>
  link.up || !isWanted(link) ? 0 : nowMs - link.sinceMs;

/** When something must happen if nothing else does before; null: never. */
export function deadlineMs(link: Link): number | null {
  const { own } = link;
  const answer = own !== null && !own.answered ? own.askedMs + answerMs : null;
  const rise =
    isWanted(link) && !link.up ? link.sinceMs + (link.wasUp ? recoverMs : setUpMs) : null;
  if (answer === null || rise === null) return answer ?? rise;
  return Math.min(answer, rise);
}
