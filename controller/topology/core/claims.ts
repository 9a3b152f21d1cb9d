/**
 * What is done with the peers' words about links (`negotiation.ts`), and with own claims that are not
 * answered or do not come up. Owns these transitions of the topology machine; `topology.ts` calls them.
 */
import type { NodeId } from '../../../base/ids.ts';
import type { LinkMessage, LinkReason, LinkRefusal } from '../../peer-messages.ts';
import { waitedMs } from './adjacency.ts';
import { admission } from './admission.ts';
import { afterBusy, afterFailure, afterLeaving } from './backoff.ts';
import { answerMs, cappedMs, maxAsks, recoverMs, setUpMs } from './config.ts';
import type { Random } from './long-distance.ts';
import { askAgain, onAnswer, onEnded, onRequest, release, withdraw } from './negotiation.ts';
import type { Draft } from './state.ts';

export function heard(draft: Draft, from: NodeId, message: LinkMessage): void {
  const link = draft.link(from);
  switch (message.kind) {
    case 'link-request': {
      const refusal = admission(draft.state, from, message.reason);
      const said = onRequest(link, message, refusal);
      draft.say(from, said, `refused: ${refusal}`);
      return;
    }
    case 'link-answer': {
      const { verdict, ...said } = onAnswer(link, message);
      draft.say(from, said, `refused by the peer: ${message.refusal}`);
      if (verdict === 'refused')
        refused(draft, from, message.refusal ?? 'not-up', link.own?.reason);
      if (verdict === 'granted') draft.planBy(draft.nowMs);
      return;
    }
    case 'link-ended':
      draft.put(from, onEnded(link, message), 'neither side claims the link');
      // The server says that it is gone; should it not, then it was started anew.
      if (message.leaving) draft.putTrouble(from, afterLeaving(draft.nowMs));
      draft.planBy(draft.nowMs);
  }
}

/** Each refusal keeps its own claim from being asked again at once, whatever the plan wants. */
function refused(
  draft: Draft,
  peer: NodeId,
  refusal: LinkRefusal,
  reason: LinkReason | undefined,
): void {
  const { nowMs, random, state } = draft;
  const trouble = state.troubles.get(peer);
  draft.planBy(nowMs);
  if (refusal === 'busy') {
    draft.putTrouble(peer, afterBusy(trouble, nowMs, random));
    return;
  }
  if (refusal === 'leaf') draft.set({ leaves: new Set(state.leaves).add(peer) });
  if (refusal === 'incoming-cap') {
    const untilMs = nowMs + cappedMs * (0.5 + random() / 2);
    draft.set({ capped: new Map(state.capped).set(peer, untilMs) });
    if (reason === 'long-distance') return; // no failure: it may still be a successor
  }
  // A leaf too: a static edge is planned whatever the peer is.
  draft.putTrouble(peer, afterFailure(trouble, nowMs, random));
}

/** What was not answered is asked again, then given up; so is what did not come up. */
export function passDeadlines(draft: Draft): void {
  const { nowMs, random } = draft;
  for (const [peer, link] of draft.state.links) {
    const { own } = link;
    if (own !== null && !own.answered && nowMs - own.askedMs >= answerMs) {
      if (own.asks < maxAsks) draft.say(peer, askAgain(link, nowMs), '');
      else if (own.granted) draft.put(peer, { ...link, own: { ...own, answered: true } }, '');
      else fail(draft, peer, 'no answer', random);
    }
    const now = draft.link(peer);
    if (waitedMs(now, nowMs) >= (now.wasUp ? recoverMs : setUpMs)) {
      fail(draft, peer, 'the link did not come up', random);
      draft.say(peer, withdraw(draft.link(peer), 'not-up'), 'the link did not come up');
    }
  }
}

/** The own claim is given up, and the peer left alone for a while. */
function fail(draft: Draft, peer: NodeId, why: string, random: Random): void {
  draft.say(peer, release(draft.link(peer)), why);
  const trouble = draft.state.troubles.get(peer);
  draft.putTrouble(peer, afterFailure(trouble, draft.nowMs, random));
  draft.planBy(draft.nowMs);
}
