/**
 * How two nodes agree on a link: request, answer, end, for each side's claim by itself. A claim has a
 * number that grows, so that whatever is lost, repeated or late, the newest word of the owner
 * decides. Owns these rules; whether a request is admitted is the caller's to say.
 *
 *   own:    none ──ask──▶ asking ──granted──▶ held ──release, refusal──▶ none
 *   theirs: none ──request admitted──▶ held ──ended, withdrawn──▶ none
 */

import type { LinkMessage, LinkReason, LinkRefusal } from '../../peer-messages.ts';
import type { Link } from './adjacency.ts';

type Request = Extract<LinkMessage, { kind: 'link-request' }>;
type Answer = Extract<LinkMessage, { kind: 'link-answer' }>;
type Ended = Extract<LinkMessage, { kind: 'link-ended' }>;

export interface Said {
  readonly link: Link;
  readonly message: LinkMessage | null;
}

/** Claims the link, or claims it for another reason from now on. */
export function ask(link: Link, reason: LinkReason, claim: number, nowMs: number): Said {
  const granted = link.own?.granted ?? false;
  const own = { claim, reason, granted, answered: false, askedMs: nowMs, asks: 1 };
  return { link: { ...link, own }, message: { kind: 'link-request', claim, reason } };
}

/** The request again: it or its answer may be lost. */
export function askAgain(link: Link, nowMs: number): Said {
  if (link.own === null) return { link, message: null };
  const own = { ...link.own, askedMs: nowMs, asks: link.own.asks + 1 };
  const { claim, reason } = own;
  return { link: { ...link, own }, message: { kind: 'link-request', claim, reason } };
}

/** Gives up the own claim; also one that was never answered. */
export function release(link: Link): Said {
  if (link.own === null) return { link, message: null };
  const { claim } = link.own;
  return {
    link: { ...link, own: null },
    message: { kind: 'link-ended', claim, leaving: false },
  };
}

/** Withdraws what was granted to the peer. */
export function withdraw(link: Link, refusal: LinkRefusal): Said {
  if (link.theirs === null) return { link, message: null };
  const { claim } = link.theirs;
  return { link: { ...link, theirs: null }, message: { kind: 'link-answer', claim, refusal } };
}

/** A request came; `refusal` says why it is not admitted, or null. */
export function onRequest(link: Link, request: Request, refusal: LinkRefusal | null): Said {
  const { claim, reason } = request;
  // An older request was overtaken by a newer one; the newer one has been answered.
  if (link.theirs !== null && claim < link.theirs.claim) return { link, message: null };
  const theirs = refusal === null ? { claim, reason } : null;
  return { link: { ...link, theirs }, message: { kind: 'link-answer', claim, refusal } };
}

export type Verdict = 'granted' | 'refused' | 'ignored';

/** An answer came. A grant of what is no longer claimed is given back, so that it cannot linger. */
export function onAnswer(link: Link, answer: Answer): Said & { readonly verdict: Verdict } {
  const { own } = link;
  if (own === null || answer.claim !== own.claim) {
    const stale = answer.refusal === null && (own === null || answer.claim > own.claim);
    const { claim } = answer;
    return {
      link,
      message: stale ? { kind: 'link-ended', claim, leaving: false } : null,
      verdict: 'ignored',
    };
  }
  if (answer.refusal !== null) {
    return { link: { ...link, own: null }, message: null, verdict: 'refused' };
  }
  const held = { ...own, granted: true, answered: true };
  return { link: { ...link, own: held }, message: null, verdict: 'granted' };
}

/** The peer gave its claims up to a number up; when it leaves, ours are void too. */
export function onEnded(link: Link, ended: Ended): Link {
  if (ended.leaving) return { ...link, own: null, theirs: null };
  const stale = link.theirs !== null && ended.claim < link.theirs.claim;
  return stale ? link : { ...link, theirs: null };
}
