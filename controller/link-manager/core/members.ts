/**
 * The members that the tunnel process may route to: trusted, and there as far as is known. Pure.
 * Signalling says who is there; one that is merely off the server stays while a session with it
 * stands, for the ring still leads to it.
 *
 *   unknown ──seen──▶ there ──left──▶ (session) away ──session down──▶ unknown
 *                      │  ▲────seen──────────┘
 *                      └──removed, leaving──▶ unknown
 */
import { unreachable } from '../../../base/errors.ts';
import type { NodeId } from '../../../base/ids.ts';
import { type Step, stay, step, type Transition } from '../../../base/machine.ts';
import type { Params } from '../../../tincan-bridge/protocol/schema.ts';

export interface Member {
  readonly leaf: boolean;
  /** Of its host in the overlay, as it says. */
  readonly addresses: readonly string[];
  readonly standing: 'there' | 'away';
}

export interface MembersState {
  readonly members: ReadonlyMap<NodeId, Member>;
  /** Peers with a session, on whatever path. */
  readonly sessions: ReadonlySet<NodeId>;
}

export type MembersInput =
  | {
      readonly kind: 'seen';
      readonly peer: NodeId;
      readonly leaf: boolean;
      readonly addresses: readonly string[];
    }
  | {
      readonly kind: 'lost';
      readonly peer: NodeId;
      readonly reason: 'left' | 'removed' | 'signal-lost';
    }
  | { readonly kind: 'leaving'; readonly peer: NodeId }
  | { readonly kind: 'session-up'; readonly peer: NodeId }
  | { readonly kind: 'session-down'; readonly peer: NodeId };

/** The list has changed; `now`: somebody must not be routed to any more. */
export type MembersEffect = { readonly kind: 'tell'; readonly when: 'soon' | 'now' };

/** As many as the bridge protocol carries; signal bounds them likewise. */
export const maxMembers = 4_096;

export const noMembers: MembersState = { members: new Map(), sessions: new Set() };

export const nextMembers: Transition<MembersState, MembersInput, MembersEffect> = (
  state,
  input,
) => {
  const { peer } = input;
  const member = state.members.get(peer);
  switch (input.kind) {
    case 'seen': {
      const { leaf, addresses } = input;
      if (member === undefined && state.members.size >= maxMembers) {
        return stay(state, 'the table is full: signal refuses members beyond it too');
      }
      const next = put(state, peer, { leaf, addresses, standing: 'there' });
      const isKnown = member?.leaf === leaf && member.addresses.join() === addresses.join();
      if (isKnown && member.standing === 'there') return step(next);
      return step(next, { kind: 'tell', when: 'soon' });
    }
    case 'lost':
      return member === undefined ? stay(state, 'never seen') : lost(state, member, input);
    case 'leaving':
      // At once: else the process would take what is left of its link for a way over the ring.
      return member === undefined ? stay(state, 'never seen') : drop(state, peer, 'now');
    case 'session-up':
      return step({ ...state, sessions: new Set(state.sessions).add(peer) });
    case 'session-down': {
      const sessions = new Set(state.sessions);
      sessions.delete(peer);
      const next = { ...state, sessions };
      return member?.standing === 'away' ? drop(next, peer, 'soon') : step(next);
    }
    default:
      return unreachable(input);
  }
};

/** What the tunnel process is told. */
export function membersOf({ members }: MembersState): Params<'setMembers'> {
  const those = (is: (member: Member) => boolean): NodeId[] =>
    [...members].filter(([, member]) => is(member)).map(([peer]) => peer);
  const away = those(({ standing }) => standing === 'away');
  const addresses = [...members].flatMap(([node, member]) =>
    member.addresses.map((address) => ({ node, address })),
  );
  return { members: [...members.keys()], leaves: those(({ leaf }) => leaf), away, addresses };
}

function lost(
  state: MembersState,
  member: Member,
  { peer, reason }: Extract<MembersInput, { kind: 'lost' }>,
): Step<MembersState, MembersEffect> {
  switch (reason) {
    case 'removed':
      return drop(state, peer, 'now');
    case 'left':
      return state.sessions.has(peer)
        ? step(put(state, peer, { ...member, standing: 'away' }), { kind: 'tell', when: 'soon' })
        : drop(state, peer, 'soon');
    case 'signal-lost':
      return stay(state, 'we are offline: nothing is known about it');
    default:
      return unreachable(reason);
  }
}

const put = (state: MembersState, peer: NodeId, member: Member): MembersState => ({
  ...state,
  members: new Map(state.members).set(peer, member),
});

function drop(
  state: MembersState,
  peer: NodeId,
  when: 'soon' | 'now',
): Step<MembersState, MembersEffect> {
  const members = new Map(state.members);
  members.delete(peer);
  return step({ ...state, members }, { kind: 'tell', when });
}
