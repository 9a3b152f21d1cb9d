/**
 * Which members this node wants sessions with: for now all of them. Owns the decision; the shell
 * only announces it. A link that stands is kept while its peer is merely off the XMPP server.
 *
 *   unknown ──seen──▶ reachable ──lost: left──▶ (link up) unreachable ──link down──▶ unknown
 *                        │  ▲──────seen─────────────┘
 *                        └──lost: removed──▶ unknown
 */
import type { NodeId } from '../../../base/ids.ts';
import { type Step, stay, step } from '../../../base/machine.ts';

export interface Member {
  /** It can be signalled to. */
  readonly reachable: boolean;
  /** Frames can cross. */
  readonly up: boolean;
}

export interface MembersState {
  readonly self: NodeId;
  readonly members: ReadonlyMap<NodeId, Member>;
}

export type MembersInput =
  | { readonly kind: 'seen'; readonly peer: NodeId }
  | {
      readonly kind: 'lost';
      readonly peer: NodeId;
      readonly reason: 'left' | 'removed' | 'signal-lost';
    }
  | { readonly kind: 'link-up'; readonly peer: NodeId }
  | { readonly kind: 'link-down'; readonly peer: NodeId };

export type MembersEffect =
  | { readonly kind: 'want'; readonly peer: NodeId }
  | { readonly kind: 'unwant'; readonly peer: NodeId; readonly reason: string };

/** Members that are kept; signal bounds them likewise. */
export const maxMembers = 4096;

export const noMembers = (self: NodeId): MembersState => ({ self, members: new Map() });

export function nextMembers(
  state: MembersState,
  input: MembersInput,
): Step<MembersState, MembersEffect> {
  if (input.peer === state.self) return stay(state, 'a node has no session with itself');
  const member = state.members.get(input.peer);
  switch (input.kind) {
    case 'seen':
      if (member === undefined && state.members.size >= maxMembers) {
        return stay(state, 'the table is full: signal refuses members beyond it too');
      }
      return step(put(state, input.peer, { reachable: true, up: member?.up ?? false }), {
        kind: 'want',
        peer: input.peer,
      });
    case 'lost':
      return member === undefined ? stay(state, 'never seen') : lost(state, member, input);
    case 'link-up':
      if (member === undefined) return stay(state, 'unwanted meanwhile; the wish is on its way');
      return step(put(state, input.peer, { ...member, up: true }));
    case 'link-down':
      if (member === undefined) return stay(state, 'unwanted meanwhile');
      if (member.reachable) return step(put(state, input.peer, { ...member, up: false }));
      return drop(state, input.peer, 'the link ended and the peer is not reachable');
  }
}

function lost(
  state: MembersState,
  member: Member,
  input: Extract<MembersInput, { kind: 'lost' }>,
): Step<MembersState, MembersEffect> {
  switch (input.reason) {
    case 'removed':
      return drop(state, input.peer, 'no longer a member of the overlay');
    case 'left':
      return member.up
        ? step(put(state, input.peer, { ...member, reachable: false }))
        : drop(state, input.peer, 'the peer left');
    case 'signal-lost':
      // Our own stream is down: nothing is known about the peer, and links stand without XMPP.
      return member.up
        ? step(put(state, input.peer, { ...member, reachable: false }))
        : drop(state, input.peer, 'signalling was lost before the link stood');
  }
}

function put(state: MembersState, peer: NodeId, member: Member): MembersState {
  return { ...state, members: new Map(state.members).set(peer, member) };
}

function drop(
  state: MembersState,
  peer: NodeId,
  reason: string,
): Step<MembersState, MembersEffect> {
  const members = new Map(state.members);
  members.delete(peer);
  return step({ ...state, members }, { kind: 'unwant', peer, reason });
}
