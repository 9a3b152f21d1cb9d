/**
 * Who is a member, who of them is reachable, and at which JID. Owns the mapping of nodes to JIDs;
 * signatures and trust were judged before an announcement gets here.
 *
 *              announced                     unavailable, offline, moved to another JID
 *   (unknown) ───────────▶ reachable (jid) ─────────────────────────▶ known (jid null)
 *       ▲                      │    ▲──────────────announced─────────────┘   │
 *       └──────── account removed, or distrusted: "removed" ◀────────────────┘
 *
 * A known node is remembered because its link may still be up: the link must end with membership.
 */
import { unreachable } from '../../../base/errors.ts';
import type { NodeId } from '../../../base/ids.ts';
import { type Step, stay, step, type Transition } from '../../../base/machine.ts';
import { parseJid } from './jid.ts';
import { maxMembers, type RosterItem } from './roster.ts';

export interface Peer {
  readonly account: string;
  readonly name: string;
  /** Full JID where it is reachable; null when it is not. */
  readonly jid: string | null;
  readonly leaf: boolean;
  /** Of its host in the overlay, as it says. */
  readonly addresses: readonly string[];
  /** Our own outage made it unreachable, and it has not announced itself since. */
  readonly awaited: boolean;
  readonly issuedAtMs: number;
}

export interface Membership {
  readonly self: NodeId;
  /** Our full and bare JID, null while offline. */
  readonly jid: string | null;
  readonly account: string;
  /** Bare JIDs of the roster's members, without our own. */
  readonly roster: ReadonlySet<string>;
  readonly peers: ReadonlyMap<NodeId, Peer>;
  /** Members or nodes beyond the bound, ignored. */
  readonly overflow: number;
}

export type MembershipInput =
  | { readonly kind: 'online'; readonly jid: string; readonly roster: readonly RosterItem[] }
  | { readonly kind: 'roster-changed'; readonly items: readonly RosterItem[] }
  | {
      readonly kind: 'announced';
      readonly jid: string;
      readonly node: NodeId;
      readonly name: string;
      readonly leaf: boolean;
      readonly addresses: readonly string[];
      readonly issuedAtMs: number;
    }
  /** The server says so, or its announcement is not (any more) acceptable. */
  | { readonly kind: 'unavailable'; readonly jid: string }
  /** The trust policy does not accept this node any more. */
  | { readonly kind: 'distrusted'; readonly node: NodeId }
  | { readonly kind: 'offline' }
  /** So long after a login that everybody who is there has announced itself. */
  | { readonly kind: 'settled' };

export type MembershipEffect =
  | {
      readonly kind: 'seen';
      readonly node: NodeId;
      readonly name: string;
      readonly account: string;
      readonly leaf: boolean;
      readonly addresses: readonly string[];
    }
  | {
      readonly kind: 'lost';
      readonly node: NodeId;
      readonly reason: 'left' | 'removed' | 'signal-lost';
    };

export const initialMembership = (self: NodeId, account: string): Membership => ({
  self,
  jid: null,
  account,
  roster: new Set(),
  peers: new Map(),
  overflow: 0,
});

/** Whether an account is a member: in the roster, or our own (several nodes may share one). */
export const isMember = (state: Membership, account: string): boolean =>
  account === state.account || state.roster.has(account);

/** The node that a full JID stands for, or null. */
export function nodeOf(state: Membership, jid: string): NodeId | null {
  for (const [node, peer] of state.peers) if (peer.jid === jid) return node;
  return null;
}

export const nextMembership: Transition<Membership, MembershipInput, MembershipEffect> = (
  state,
  input,
) => {
  switch (input.kind) {
    case 'online':
      return online(state, input.jid, input.roster);
    case 'roster-changed':
      return changeRoster(state, input.items);
    case 'announced':
      return announced(state, input);
    case 'unavailable': {
      const node = nodeOf(state, input.jid);
      if (node === null) return stay(state, 'nobody is known there');
      return lose(state, [node], 'left');
    }
    case 'distrusted':
      return lose(state, [input.node], 'removed');
    case 'offline': {
      const reachable = [...state.peers].filter(([, p]) => p.jid !== null).map(([n]) => n);
      return lose({ ...state, jid: null }, reachable, 'signal-lost');
    }
    case 'settled': {
      if (state.jid === null) return stay(state, 'offline again');
      const gone = [...state.peers].filter(([, p]) => p.awaited).map(([n]) => n);
      return lose(state, gone, 'left');
    }
    default:
      return unreachable(input);
  }
};

type MembershipStep = Step<Membership, MembershipEffect>;

/** A new login: its roster is the whole truth, whatever changed while we were away. */
function online(state: Membership, jid: string, items: readonly RosterItem[]): MembershipStep {
  const accounts = new Set(
    items.filter((i) => i.member && i.account !== state.account).map((i) => i.account),
  );
  const roster = new Set([...accounts].slice(0, maxMembers));
  const overflow = state.overflow + accounts.size - roster.size;
  return dropStrangers({ ...state, jid, roster, overflow });
}

function changeRoster(state: Membership, items: readonly RosterItem[]): MembershipStep {
  const roster = new Set(state.roster);
  let { overflow } = state;
  for (const { account, member } of items) {
    if (account === state.account) continue;
    if (!member) roster.delete(account);
    else if (roster.has(account) || roster.size < maxMembers) roster.add(account);
    else overflow += 1;
  }
  return dropStrangers({ ...state, roster, overflow });
}

function dropStrangers(state: Membership): MembershipStep {
  const gone = [...state.peers].filter(([, p]) => !isMember(state, p.account)).map(([n]) => n);
  return lose(state, gone, 'removed');
}

function announced(
  state: Membership,
  input: MembershipInput & { readonly kind: 'announced' },
): MembershipStep {
  const account = parseJid(input.jid)?.bare;
  if (account === undefined || !isMember(state, account)) return stay(state, 'not a member');
  if (input.node === state.self) return stay(state, 'our own announcement, or a copy of our key');
  const old = state.peers.get(input.node);
  if (old !== undefined && old.jid !== null && input.issuedAtMs < old.issuedAtMs) {
    return stay(state, 'a newer announcement of this node is known');
  }
  const peers = new Map(state.peers);
  const effects: MembershipEffect[] = [];
  // A JID stands for one node: the one that was there before has left it.
  const before = nodeOf(state, input.jid);
  const tenant = before === null ? undefined : peers.get(before);
  if (before !== null && before !== input.node && tenant !== undefined) {
    peers.set(before, { ...tenant, jid: null, awaited: false });
    effects.push({ kind: 'lost', node: before, reason: 'left' });
  }
  if (old === undefined && !makeRoom(peers)) {
    return step({ ...state, peers, overflow: state.overflow + 1 }, ...effects);
  }
  const { jid, name, leaf, addresses, issuedAtMs, node } = input;
  peers.set(node, { account, name, jid, leaf, addresses, awaited: false, issuedAtMs });
  const isNews =
    old === undefined ||
    old.jid === null ||
    old.account !== account ||
    old.name !== name ||
    old.leaf !== leaf ||
    old.addresses.join() !== addresses.join();
  if (isNews) effects.push({ kind: 'seen', node, name, account, leaf, addresses });
  return step({ ...state, peers }, ...effects);
}

/** Room for one more node; the one that became known first and is not reachable makes it. */
function makeRoom(peers: Map<NodeId, Peer>): boolean {
  if (peers.size < maxMembers) return true;
  for (const [node, peer] of peers) {
    if (peer.jid !== null) continue;
    peers.delete(node);
    return true;
  }
  return false;
}

function lose(
  state: Membership,
  nodes: readonly NodeId[],
  reason: 'left' | 'removed' | 'signal-lost',
): MembershipStep {
  const peers = new Map(state.peers);
  for (const node of nodes) {
    const peer = peers.get(node);
    if (peer === undefined) continue;
    if (reason === 'removed') peers.delete(node);
    else peers.set(node, { ...peer, jid: null, awaited: reason === 'signal-lost' });
  }
  const effects = nodes.map((node): MembershipEffect => ({ kind: 'lost', node, reason }));
  return step({ ...state, peers }, ...effects);
}
