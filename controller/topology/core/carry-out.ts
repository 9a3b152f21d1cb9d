/**
 * How a plan (`plan.ts`) is carried out: what is not in it is released, what is new is asked for, so much
 * at once. Owns this transition of the topology machine; `topology.ts` calls it.
 */
import type { NodeId } from '../../../base/ids.ts';
import { isWanted, type Link, waitedMs } from './adjacency.ts';
import { ailingMs, replanMs } from './config.ts';
import { ask, release } from './negotiation.ts';
import { type Plan, planLinks } from './plan.ts';
import type { Draft } from './state.ts';

/** Makes the plan and begins as much of it as may be under way at once. */
export function carryOut(draft: Draft): void {
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
