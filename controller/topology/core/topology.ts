/**
 * The topology of one overlay as one pure machine: members, links, messages and time come in; wishes,
 * messages and the next time to be woken come out. Owns when a plan is made and carried out; what is
 * wanted is `plan.ts`, how it is agreed is `negotiation.ts`.
 */
import type { NodeId } from '../../../base/ids.ts';
import type { Step } from '../../../base/machine.ts';
import type { LinkMessage, LinkReason, LinkRefusal } from '../../peer-messages.ts';
import { isWanted, type Link, waitedMs } from './adjacency.ts';
import { admission } from './admission.ts';
import { afterBusy, afterFailure, afterLeaving } from './backoff.ts';
import {
  ailingMs,
  answerMs,
  cappedMs,
  maxAsks,
  recoverMs,
  replanMs,
  settleMs,
  setUpMs,
} from './config.ts';
import type { Random } from './long-distance.ts';
import { ask, askAgain, onAnswer, onEnded, onRequest, release, withdraw } from './negotiation.ts';
import { nextDemands, type TrafficSample } from './on-demand.ts';
import { type Plan, planLinks } from './plan.ts';
import { isMember, withMembers, withoutMember } from './ring.ts';
import { Draft, type TopologyEffect, type TopologyInput, type TopologyState } from './state.ts';

/** One input at a time; the shell stores the state, then carries the effects out in order. */
export function nextTopology(
  state: TopologyState,
  input: TopologyInput,
  nowMs: number,
  random: Random,
): Step<TopologyState, TopologyEffect> {
  const draft = new Draft(state, nowMs, random);
  hear(draft, input);
  for (const peer of draft.state.unreachable) {
    if (!draft.state.links.has(peer)) forget(draft, peer, 'out of reach');
  }
  if (!draft.state.leaving) {
    passDeadlines(draft);
    if (draft.state.planMs <= nowMs) carryOut(draft);
  }
  const wakeMs = draft.nextWakeMs();
  if (Number.isFinite(wakeMs) && wakeMs !== state.wakeMs) {
    draft.set({ wakeMs });
    draft.effects.push({ kind: 'wake', atMs: wakeMs });
  }
  return { state: draft.state, effects: draft.effects };
}

function hear(draft: Draft, input: TopologyInput): void {
  if (draft.state.leaving) {
    if (input.kind !== 'message' || input.message.kind !== 'link-request') return;
    const { claim } = input.message;
    draft.send(input.from, { kind: 'link-answer', claim, refusal: 'leaving' });
    return;
  }
  switch (input.kind) {
    case 'peers-seen':
      seen(draft, input.peers, input.leaves);
      return;
    case 'peer-lost':
      lost(draft, input.peer, input.reason);
      return;
    case 'link-up':
      linkUp(draft, input.peer);
      return;
    case 'link-down':
      linkDown(draft, input.peer);
      return;
    case 'message':
      if (input.from !== draft.state.self) heard(draft, input.from, input.message);
      return;
    case 'traffic':
      sampled(draft, input.sample);
      return;
    case 'tick':
      // The shell's timer is used up: the next wake is said again.
      draft.set({ wakeMs: null });
      return;
    case 'leave':
      leave(draft);
  }
}

function seen(draft: Draft, peers: readonly NodeId[], says: readonly NodeId[]): void {
  const { state } = draft;
  const ring = withMembers(state.ring, state.self, peers);
  for (const peer of peers) {
    const isKnown = isMember(state.ring, peer) && !state.unheard.has(peer);
    const isNew = !isKnown || state.troubles.get(peer)?.failures === 0;
    if (isNew) draft.putTrouble(peer, null);
  }
  const unreachable = new Set(state.unreachable);
  const unheard = new Set(state.unheard);
  const leaves = new Set(state.leaves);
  for (const peer of peers) for (const each of [unreachable, unheard, leaves]) each.delete(peer);
  for (const peer of says) if (isMember(ring, peer)) leaves.add(peer);
  draft.set({ ring, unreachable, unheard, leaves });
  for (const peer of peers) remind(draft, peer);
  draft.planBy(draft.nowMs + settleMs);
}

/** A peer that was started anew knows nothing of our claim: it is told again. */
function remind(draft: Draft, peer: NodeId): void {
  const link = draft.state.links.get(peer);
  if (link?.own === undefined || link.own === null) return;
  const own = { ...link.own, answered: false, asks: 0 };
  draft.say(peer, askAgain({ ...link, own }, draft.nowMs), '');
}

function lost(draft: Draft, peer: NodeId, reason: 'left' | 'removed' | 'signal-lost'): void {
  if (reason === 'signal-lost') {
    // Nothing is known about it, and it can still be asked in-band: it stays what it was.
    if (!isMember(draft.state.ring, peer)) return;
    draft.set({ unheard: new Set(draft.state.unheard).add(peer) });
    return;
  }
  const link = draft.state.links.get(peer);
  if (reason !== 'removed' && link?.up === true) {
    // Its link stands without the server; it stays a member until that ends too.
    if (isMember(draft.state.ring, peer)) {
      draft.set({ unreachable: new Set(draft.state.unreachable).add(peer) });
    }
    return;
  }
  forget(draft, peer, reason === 'removed' ? 'no longer a member' : 'not reachable any more');
}

/** The peer is no member any more: all that is known about it goes. */
function forget(draft: Draft, peer: NodeId, why: string): void {
  const link = draft.state.links.get(peer);
  if (link !== undefined) draft.put(peer, { ...link, own: null, theirs: null }, why);
  const unreachable = new Set(draft.state.unreachable);
  const unheard = new Set(draft.state.unheard);
  const leaves = new Set(draft.state.leaves);
  const capped = new Map(draft.state.capped);
  for (const each of [unreachable, unheard, leaves, capped]) each.delete(peer);
  draft.putTrouble(peer, null);
  const ring = withoutMember(draft.state.ring, peer);
  draft.set({ ring, unreachable, unheard, leaves, capped });
  draft.planBy(draft.nowMs);
}

function linkUp(draft: Draft, peer: NodeId): void {
  const link = draft.state.links.get(peer);
  if (link === undefined || !isWanted(link)) {
    draft.effects.push({ kind: 'unwant', peer, reason: 'nobody claims the link' });
    return;
  }
  draft.put(peer, { ...link, up: true, wasUp: true, sinceMs: draft.nowMs }, '');
  draft.putTrouble(peer, null);
  draft.planBy(draft.nowMs);
}

function linkDown(draft: Draft, peer: NodeId): void {
  const link = draft.state.links.get(peer);
  if (link === undefined) return;
  draft.put(peer, { ...link, up: false, sinceMs: draft.nowMs }, '');
  if (draft.state.unreachable.has(peer)) {
    forget(draft, peer, 'the link ended out of reach');
    return;
  }
  remind(draft, peer);
  draft.planBy(draft.nowMs + ailingMs);
}

function heard(draft: Draft, from: NodeId, message: LinkMessage): void {
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

function sampled(draft: Draft, sample: TrafficSample): void {
  const { demands, config, links, self, leaves } = draft.state;
  const hasOther = (peer: NodeId): boolean => {
    const link = links.get(peer);
    if (peer === self || leaves.has(peer)) return true;
    return link !== undefined && (link.theirs !== null || link.own?.reason !== 'on-demand');
  };
  const next = nextDemands(demands, sample, hasOther, config.onDemand, draft.nowMs);
  draft.set({ demands: next });
  draft.planBy(draft.nowMs);
}

function leave(draft: Draft): void {
  const claim = draft.nextClaim();
  for (const peer of draft.state.links.keys()) {
    draft.send(peer, { kind: 'link-ended', claim, leaving: true });
  }
  draft.set({ leaving: true, planMs: Number.POSITIVE_INFINITY });
}

/** What was not answered is asked again, then given up; so is what did not come up. */
function passDeadlines(draft: Draft): void {
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

/** Makes the plan and begins as much of it as may be under way at once. */
function carryOut(draft: Draft): void {
  const { nowMs, random } = draft;
  draft.set({ planMs: nowMs + Math.round(replanMs * (0.75 + random() / 2)) });
  const plan = makePlan(draft);
  closeUnplanned(draft, plan);
  let room = draft.state.config.maxConcurrent - underWay(draft.state.links);
  for (const [peer, reason] of plan) {
    const link = draft.link(peer);
    const troubled = (draft.state.troubles.get(peer)?.untilMs ?? 0) > nowMs;
    if (link.own?.reason === reason || draft.state.unreachable.has(peer)) continue;
    if (link.own === null && (troubled || room <= 0)) continue;
    if (link.own === null && !link.up) room -= 1;
    draft.say(peer, ask(link, reason, draft.nextClaim(), nowMs), '');
  }
  for (const { untilMs } of draft.state.troubles.values()) {
    if (untilMs > nowMs) draft.planBy(untilMs);
  }
  for (const link of draft.state.links.values()) {
    // A stand-in is looked for when a link is late.
    if (waitedMs(link, nowMs) < ailingMs && isWanted(link) && !link.up) {
      draft.planBy(link.sinceMs + ailingMs);
    }
  }
}

function makePlan(draft: Draft): Plan {
  const { nowMs, random, state } = draft;
  const { self, ring, config, links, leaves, troubles, capped, demands } = state;
  return planLinks(
    {
      self,
      ring,
      config,
      links,
      demanded: demands.keys(),
      isLeaf: (peer) => leaves.has(peer),
      isTroubled: (peer) => (troubles.get(peer)?.untilMs ?? 0) > nowMs,
      isCapped: (peer) => (capped.get(peer) ?? 0) > nowMs,
      isAiling: (peer) => {
        const link = links.get(peer);
        return link !== undefined && waitedMs(link, nowMs) >= ailingMs;
      },
    },
    random,
  );
}

function closeUnplanned(draft: Draft, plan: Plan): void {
  for (const [peer, link] of draft.state.links) {
    if (link.own !== null && !plan.has(peer)) {
      draft.say(peer, release(link), 'neither side claims the link');
    }
  }
}

/** Own claims that are being asked for or set up. */
function underWay(links: ReadonlyMap<NodeId, Link>): number {
  let count = 0;
  for (const { own, up } of links.values()) if (own !== null && !up) count += 1;
  return count;
}
