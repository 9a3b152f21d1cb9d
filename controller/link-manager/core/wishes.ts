/**
 * Which peers are wanted, and descriptions that came before the wish. Pure. The tunnel process is
 * told the same wishes again after a restart, so nothing here is lost with it.
 */
import type { NodeId } from '../../../base/ids.ts';
import { remember } from '../../../base/remember.ts';
import type { SessionDescription } from '../../../tincan-bridge/protocol/description.ts';
import { earlyDescriptionMs, maxEarlyDescriptions } from './timers.ts';

export interface WishesState {
  readonly wanted: ReadonlySet<NodeId>;
  readonly early: ReadonlyMap<
    NodeId,
    { readonly description: SessionDescription; readonly atMs: number }
  >;
}

export const noWishes: WishesState = { wanted: new Set(), early: new Map() };

export const want = (state: WishesState, peer: NodeId): WishesState => ({
  ...state,
  wanted: new Set(state.wanted).add(peer),
});

/** Takes out the description that came before the wish could be told, or null. */
export function takeEarly(
  state: WishesState,
  peer: NodeId,
  nowMs: number,
): { readonly state: WishesState; readonly description: SessionDescription | null } {
  const kept = state.early.get(peer);
  if (kept === undefined) return { state, description: null };
  const early = new Map(state.early);
  early.delete(peer);
  const fresh = nowMs - kept.atMs < earlyDescriptionMs;
  return { state: { ...state, early }, description: fresh ? kept.description : null };
}

export function unwant(state: WishesState, peer: NodeId): WishesState {
  const wanted = new Set(state.wanted);
  wanted.delete(peer);
  return { ...state, wanted };
}

/** Keeps a description that cannot be told yet: not wanted, or no process. The oldest gives way. */
export function keepEarly(
  state: WishesState,
  peer: NodeId,
  description: SessionDescription,
  nowMs: number,
): WishesState {
  const early = new Map(state.early);
  remember(early, peer, { description, atMs: nowMs }, maxEarlyDescriptions);
  return { ...state, early };
}
