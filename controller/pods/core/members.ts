/**
 * Which member has which pod range, by what all of them announce: a range belongs to the first live
 * member that was seen with it, and nobody is given what is ours, the host's or the services'. Owns
 * that judgement and how long a silent member is remembered; programs no route.
 *
 *            announced            off XMPP and no link        graceMs, or another live one wants it
 *  (unknown) ─────────▶ live ───────────────────────▶ silent ─────────────────────────▶ (unknown)
 *      ▲                 ▲  └──── seen, or linked ◀─────┘
 *      └── removed: at once, whatever the state
 */
import {
  type Address,
  contains,
  covers,
  formatAddress,
  formatRange,
  isSpecial,
  overlaps,
  parseAddress,
  parseRange,
  type Range,
} from '../../../base/cidr.ts';
import { unreachable } from '../../../base/errors.ts';
import type { NodeId } from '../../../base/ids.ts';

/** A silent member's routes stay so long: it may restart, or be reached by others only. */
export const graceMs = 120_000;
/** Wider ranges than these are no node's. */
const shortest = { 4: 12, 6: 32 } as const;

export interface Member {
  readonly name: string;
  readonly addresses: readonly string[];
  readonly ranges: readonly string[];
  /** The server says that it is there. */
  readonly isReachable: boolean;
  /** Our link to it stands. */
  readonly isLinked: boolean;
  /** When it was seen last, while it is silent and we are not; else null. */
  readonly silentSinceMs: number | null;
}

/** A range that is believed. */
export interface Holding {
  readonly range: Range;
  readonly node: NodeId;
}

/** What no member may announce, with the words for why. */
export interface Reserved {
  readonly range: Range;
  readonly what: string;
}

/** What this node knows of itself. */
export interface Surroundings {
  readonly self: NodeId;
  /** This node's pod ranges. */
  readonly own: readonly Range[];
  /** Its addresses in the overlay, with what is on the link. */
  readonly links: readonly { readonly address: Address; readonly range: Range }[];
  /** Members' ranges must be inside one of these, where there are any of their family. */
  readonly cluster: readonly Range[];
  readonly reserved: readonly Reserved[];
  /** We can hear who is there. */
  readonly isOnline: boolean;
}

export interface MembersState {
  readonly members: ReadonlyMap<NodeId, Member>;
  readonly holdings: readonly Holding[];
  readonly refused: readonly Refused[];
}

export interface Refused {
  readonly node: NodeId;
  readonly name: string;
  /** The range or address. */
  readonly what: string;
  readonly reason: string;
  /** It is one of ours that it announces. */
  readonly isOurs: boolean;
}

export type MembersInput =
  | {
      readonly kind: 'announced';
      readonly node: NodeId;
      readonly name: string;
      readonly addresses: readonly string[];
      readonly ranges: readonly string[];
    }
  | { readonly kind: 'withdrawn'; readonly node: NodeId }
  | { readonly kind: 'seen'; readonly node: NodeId }
  | { readonly kind: 'unreachable'; readonly node: NodeId }
  | { readonly kind: 'removed'; readonly node: NodeId }
  | { readonly kind: 'linked'; readonly node: NodeId }
  | { readonly kind: 'unlinked'; readonly node: NodeId }
  /** Time has passed, or our surroundings changed. */
  | { readonly kind: 'tick' };

export const noMembers: MembersState = { members: new Map(), holdings: [], refused: [] };

export const isLive = (member: Member): boolean => member.isReachable || member.isLinked;

/** The state after an input; everything is judged anew. */
export function nextMembers(
  state: MembersState,
  input: MembersInput,
  around: Surroundings,
  nowMs: number,
): MembersState {
  const members = new Map(state.members);
  change(members, input);
  for (const [node, member] of members) {
    const silentSinceMs =
      isLive(member) || !around.isOnline ? null : (member.silentSinceMs ?? nowMs);
    if (silentSinceMs !== null && nowMs - silentSinceMs >= graceMs) members.delete(node);
    else members.set(node, { ...member, silentSinceMs });
  }
  return judge(members, state.holdings, around);
}

function change(members: Map<NodeId, Member>, input: MembersInput): void {
  if (input.kind === 'tick') return;
  const old = members.get(input.node);
  const set = (changes: Partial<Member>): void => {
    if (old !== undefined) members.set(input.node, { ...old, ...changes });
  };
  switch (input.kind) {
    case 'announced': {
      const { node, name, addresses, ranges } = input;
      // A link that was there before the announcement is told by the shell.
      const isLinked = old?.isLinked ?? false;
      members.set(node, {
        name,
        addresses,
        ranges,
        isReachable: true,
        isLinked,
        silentSinceMs: null,
      });
      return;
    }
    case 'withdrawn':
    case 'removed':
      members.delete(input.node);
      return;
    case 'seen':
      set({ isReachable: true });
      return;
    case 'unreachable':
      set({ isReachable: false });
      return;
    case 'linked':
      set({ isLinked: true });
      return;
    case 'unlinked':
      set({ isLinked: false });
      return;
    default:
      unreachable(input);
  }
}

/** Who held a range keeps it while it announces it, unless it is silent and a live one wants it. */
function judge(
  members: ReadonlyMap<NodeId, Member>,
  before: readonly Holding[],
  around: Surroundings,
): MembersState {
  const refused: Refused[] = [];
  const lives = (node: NodeId): boolean => {
    const member = members.get(node);
    return member !== undefined && isLive(member);
  };
  let holdings = before.filter(({ node, range }) => {
    const text = formatRange(range);
    const claims = members.get(node)?.ranges.includes(text) ?? false;
    return claims && whyNotAny(range, around) === null;
  });
  for (const [node, { name, ranges }] of members) {
    for (const text of ranges) {
      if (holdings.some((held) => held.node === node && formatRange(held.range) === text)) continue;
      const refuse = (reason: string, isOurs = false): void => {
        refused.push({ node, name, what: text, reason, isOurs });
      };
      const range = parseRange(text);
      const isOurs = range !== null && around.own.some((own) => overlaps(own, range));
      const why = range === null ? 'is no range' : whyNotAny(range, around);
      if (why !== null || range === null) {
        refuse(why ?? '', isOurs);
        continue;
      }
      const rival = holdings.find((held) => held.node !== node && overlaps(held.range, range));
      if (rival !== undefined && (lives(rival.node) || !lives(node))) {
        const whose = members.get(rival.node)?.name ?? rival.node;
        refuse(`overlaps ${formatRange(rival.range)} of node ${whose}, which had it first`);
        continue;
      }
      holdings = [...holdings.filter((held) => held !== rival), { range, node }];
    }
  }
  return { members, holdings, refused };
}

/** Why a range can be no other member's, whoever announces it; null when it can. */
function whyNotAny(range: Range, around: Surroundings): string | null {
  if (range.length === 0) return 'is a default route';
  if (isSpecial(range)) return 'is not for hosts';
  if (range.length < shortest[range.family]) return `is wider than a /${shortest[range.family]}`;
  const own = around.own.find((each) => overlaps(each, range));
  if (own !== undefined) return `overlaps ${formatRange(own)}, the range of this node`;
  const cluster = around.cluster.filter(({ family }) => family === range.family);
  if (cluster.length > 0 && !cluster.some((each) => covers(each, range))) {
    return `is outside of ${cluster.map(formatRange).join(', ')}`;
  }
  const link = around.links.find((each) => overlaps(each.range, range));
  if (link !== undefined) return `overlaps ${formatRange(link.range)}, the overlay itself`;
  const taken = around.reserved.find((each) => overlaps(each.range, range));
  return taken === undefined ? null : `overlaps ${formatRange(taken.range)}, ${taken.what}`;
}

export interface PodRoute {
  readonly node: NodeId;
  readonly range: Range;
  /** Null: the member has no address of the family that can be believed. */
  readonly via: Address | null;
}

/** Where the members' pods are: one route for each holding. */
export function routesOf(state: MembersState, around: Surroundings): readonly PodRoute[] {
  return state.holdings.map(({ node, range }) => ({
    node,
    range,
    via: viaOf(state, around, node, range),
  }));
}

/** The first of its addresses that can be believed, of the range's family. */
function viaOf(
  state: MembersState,
  around: Surroundings,
  node: NodeId,
  range: Range,
): Address | null {
  const addresses = addressesOf(state, around, node);
  return addresses.find(({ family }) => family === range.family) ?? null;
}

/** Addresses of all members that know where pods are: they have a way back to each of them. */
export const routingAddresses = (state: MembersState, around: Surroundings): readonly Address[] =>
  [...state.members.keys()].flatMap((node) => addressesOf(state, around, node));

/** Those of a member's addresses that are on our link, not ours, and of no live member before it. */
function addressesOf(
  { members }: MembersState,
  { links }: Surroundings,
  node: NodeId,
): readonly Address[] {
  return (members.get(node)?.addresses ?? []).flatMap((text) => {
    const address = parseAddress(text);
    if (address === null || formatAddress(address) !== text) return [];
    if (!links.some((link) => contains(link.range, address))) return [];
    if (
      links.some(({ address: own }) => own.family === address.family && own.bits === address.bits)
    ) {
      return [];
    }
    const first = [...members].find(([, other]) => isLive(other) && other.addresses.includes(text));
    return first === undefined || first[0] === node ? [address] : [];
  });
}
