/**
 * Which peers are wanted, and descriptions that came before the wish. Pure. The tunnel process is
 * told the same wishes again after a restart, so nothing here is lost with it.
 */
import type { NodeId } from '../../../base/ids.ts';
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

/** Adds a wish; `early` is a description of that peer that came before it, or null. */
export function want(
  state: WishesState,
  peer: NodeId,
  nowMs: number,
): { readonly state: WishesState; readonly early: SessionDescription | null } {
  const kept = state.early.get(peer);
  const early = new Map(state.early);
  early.delete(peer);
  return {
    state: { wanted: new Set(state.wanted).add(peer), early },
    early: kept !== undefined && nowMs - kept.atMs < earlyDescriptionMs ? kept.description : null,
  };
}

export function unwant(state: WishesState, peer: NodeId): WishesState {
  const wanted = new Set(state.wanted);
  wanted.delete(peer);
  return { ...state, wanted };
}

/** Keeps the description of a peer that is not wanted yet; the oldest gives way. */
export function keepEarly(
  state: WishesState,
  peer: NodeId,
  description: SessionDescription,
  nowMs: number,
): WishesState {
  const early = new Map(state.early);
  early.delete(peer);
  early.set(peer, { description, atMs: nowMs });
  const oldest = early.keys().next().value;
  if (early.size > maxEarlyDescriptions && oldest !== undefined) early.delete(oldest);
  return { ...state, early };
}
