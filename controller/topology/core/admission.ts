/**
 * Whether a peer's claim on a link is granted, or why not. Owns the reason codes' conditions: one
 * place that says what a node lets others do to it. A claim that was granted is not looked at again.
 */
import type { NodeId } from '../../../base/ids.ts';
import type { LinkReason, LinkRefusal } from '../../peer-messages.ts';
import { waitedMs } from './adjacency.ts';
import { maxIncomingSetUps, maxLinks } from './config.ts';
import { defaultIncomingCap, defaultLongDistance } from './long-distance.ts';
import type { TopologyState } from './state.ts';

/** Long-distance links that this node lets come in. */
export function incomingCap({ config, ring }: Pick<TopologyState, 'config' | 'ring'>): number {
  if (config.incomingCap !== null) return config.incomingCap;
  return defaultIncomingCap(config.maxLongDistance ?? defaultLongDistance(ring.length));
}

/** Null: granted. */
export function admission(
  state: TopologyState,
  from: NodeId,
  reason: LinkReason,
): LinkRefusal | null {
  const { config, links } = state;
  if (state.leaving) return 'leaving';
  const before = links.get(from);
  // A link that this node wants itself, or that stands for the same reason, costs nothing more.
  if (before?.theirs?.reason === reason) return null;
  const listed = before?.own !== null && before?.own !== undefined;
  if (config.role === 'leaf' && !listed) return 'leaf';
  if (config.manual && reason !== 'static' && !listed) return 'manual';
  if (before === undefined && links.size >= maxLinks) return 'too-many-links';
  if (reason === 'long-distance' && incomingLongDistance(state, from) >= incomingCap(state)) {
    return 'incoming-cap';
  }
  const urgent = reason === 'static' || reason === 'successor' || before !== undefined;
  return !urgent && incomingSetUps(state) >= maxIncomingSetUps ? 'busy' : null;
}

/** Granted long-distance claims of peers, without that one. */
export function incomingLongDistance(
  { links }: Pick<TopologyState, 'links'>,
  without: NodeId | null,
): number {
  let count = 0;
  for (const [peer, { theirs }] of links) {
    if (theirs?.reason === 'long-distance' && peer !== without) count += 1;
  }
  return count;
}

function incomingSetUps({ links }: TopologyState): number {
  let count = 0;
  for (const link of links.values()) {
    if (link.own === null && waitedMs(link, Number.POSITIVE_INFINITY) > 0) count += 1;
  }
  return count;
}
