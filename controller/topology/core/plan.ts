/**
 * Which links this node wants for reasons of its own, from what it knows: the members, the links
 * that are, the configuration. Owns the rules and their precedence (static, successor, on-demand,
 * long-distance); a link that only the peer claims is none of its business.
 */
import type { NodeId } from '../../../base/ids.ts';
import type { LinkReason } from '../../peer-messages.ts';
import type { Link } from './adjacency.ts';
import type { TopologyConfig } from './config.ts';
import { defaultLongDistance, drawMember, isTooClose, type Random } from './long-distance.ts';
import { isMember, type Ring, successors } from './ring.ts';

export interface PlanInput {
  readonly self: NodeId;
  readonly ring: Ring;
  readonly config: TopologyConfig;
  readonly links: ReadonlyMap<NodeId, Link>;
  /** Peers that on-demand links lead to. */
  readonly demanded: Iterable<NodeId>;
  /** Carries nobody's traffic. */
  readonly isLeaf: (peer: NodeId) => boolean;
  /** Is being left alone after a failure. */
  readonly isTroubled: (peer: NodeId) => boolean;
  /** Takes no long-distance links for now. */
  readonly isCapped: (peer: NodeId) => boolean;
  /** Its link is wanted and should be up by now. */
  readonly isAiling: (peer: NodeId) => boolean;
}

/** In the order in which they are to be opened. */
export type Plan = ReadonlyMap<NodeId, LinkReason>;

/** The links that this node wants. */
export function planLinks(input: PlanInput, random: Random): Plan {
  const { config, ring } = input;
  const plan = new Map<NodeId, LinkReason>();
  for (const peer of config.staticEdges) if (isMember(ring, peer)) plan.set(peer, 'static');
  if (config.manual) return plan;
  if (config.role === 'leaf') {
    if (config.staticEdges.length === 0) addSuccessors(plan, input, 1);
    return plan;
  }
  addSuccessors(plan, input, config.minSuccessors);
  for (const peer of input.demanded) {
    if (isMember(ring, peer) && !plan.has(peer)) plan.set(peer, 'on-demand');
  }
  addLongDistance(plan, input, random);
  return plan;
}

/**
 * The next ones clockwise that can be had. One that should be up and is not gets a stand-in; an
 * earlier one that is up stays until enough of the right ones are.
 */
function addSuccessors(plan: Map<NodeId, LinkReason>, input: PlanInput, count: number): void {
  const { ring, self, links } = input;
  const usable = (peer: NodeId): boolean =>
    !input.isLeaf(peer) && (!input.isTroubled(peer) || isUp(links, peer));
  const ideal = successors(ring, self, count, usable);
  const wanted = new Set([
    ...ideal,
    ...successors(ring, self, count, (peer) => usable(peer) && !input.isAiling(peer)),
  ]);
  const enough = ideal.filter((peer) => isUp(links, peer)).length >= ideal.length;
  for (const [peer, link] of links) {
    const earlier = link.own?.reason === 'successor' && link.up && isMember(ring, peer);
    if (earlier && !enough) wanted.add(peer);
  }
  for (const peer of wanted) if (!plan.has(peer)) plan.set(peer, 'successor');
}

function addLongDistance(plan: Map<NodeId, LinkReason>, input: PlanInput, random: Random): void {
  const { ring, self, config, links } = input;
  if (ring.length < 2 * config.minSuccessors) return;
  const count = config.maxLongDistance ?? defaultLongDistance(ring.length);
  // The same for what is kept and what is drawn: else a draw would be given up as soon as granted.
  const isFit = (peer: NodeId): boolean =>
    !input.isLeaf(peer) && !isTooClose(ring, self, peer, config.minSuccessors);
  let kept = 0;
  for (const [peer, link] of links) {
    if (link.own?.reason !== 'long-distance' || plan.has(peer)) continue;
    // One more than the number stays: membership that goes to and fro must not move links.
    const allowed = config.maxLongDistance === null && count > 0 ? count + 1 : count;
    if (!isMember(ring, peer) || !isFit(peer) || kept >= allowed) continue;
    plan.set(peer, 'long-distance');
    kept += 1;
  }
  const passes = (peer: NodeId): boolean =>
    !plan.has(peer) &&
    !links.has(peer) &&
    isFit(peer) &&
    !input.isTroubled(peer) &&
    !input.isCapped(peer);
  for (; kept < count; kept += 1) {
    const drawn = drawMember(ring, self, random, passes);
    if (drawn === null) return;
    plan.set(drawn, 'long-distance');
  }
}

const isUp = (links: ReadonlyMap<NodeId, Link>, peer: NodeId): boolean =>
  links.get(peer)?.up === true;
