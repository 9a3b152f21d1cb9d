/**
 * What becomes of a peer: seen, lost, its link up or down, forgotten. Owns these transitions of the
 * topology machine; `topology.ts` calls them.
 */
import type { NodeId } from '../../../base/ids.ts';
import { isWanted } from './adjacency.ts';
import { ailingMs, settleMs } from './config.ts';
import { askAgain } from './negotiation.ts';
import { isMember, withMembers, withoutMember } from './ring.ts';
import type { Draft } from './state.ts';

export function seen(draft: Draft, peers: readonly NodeId[], says: readonly NodeId[]): void {
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

export function lost(draft: Draft, peer: NodeId, reason: 'left' | 'removed' | 'signal-lost'): void {
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
export function forget(draft: Draft, peer: NodeId, why: string): void {
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

export function linkUp(draft: Draft, peer: NodeId): void {
  const link = draft.state.links.get(peer);
  if (link === undefined || !isWanted(link)) {
    draft.effects.push({ kind: 'unwant', peer, reason: 'nobody claims the link' });
    return;
  }
  draft.put(peer, { ...link, up: true, wasUp: true, sinceMs: draft.nowMs }, '');
  draft.putTrouble(peer, null);
  draft.planBy(draft.nowMs);
}

export function linkDown(draft: Draft, peer: NodeId): void {
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
