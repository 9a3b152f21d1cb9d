/**
 * The topology of one overlay as one pure machine: members, links, messages and time come in; wishes,
 * messages and the next time to be woken come out. Owns which transition answers which input, and when a
 * plan is made; what is wanted is `plan.ts`, how it is agreed is `negotiation.ts`.
 */
import type { NodeId } from '../../../base/ids.ts';
import type { Step } from '../../../base/machine.ts';
import { carryOut } from './carry-out.ts';
import { heard, passDeadlines } from './claims.ts';
import type { Random } from './long-distance.ts';
import { nextDemands, type TrafficSample } from './on-demand.ts';
import { forget, linkDown, linkUp, lost, seen } from './peers.ts';
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
  if (Number.isFinite(wakeMs) && wakeMs !== draft.state.wakeMs) {
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
