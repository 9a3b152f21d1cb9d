/**
 * What the topology machine of one overlay remembers, hears and says: the types of `topology.ts`, and
 * the draft that one step works on. Owns no rule.
 */
import type { NodeId } from '../../../base/ids.ts';
import type { LinkMessage } from '../../peer-messages.ts';
import { deadlineMs, isEmpty, isWanted, type Link, noLink } from './adjacency.ts';
import type { Trouble } from './backoff.ts';
import type { TopologyConfig } from './config.ts';
import type { Random } from './long-distance.ts';
import type { Said } from './negotiation.ts';
import type { Demands, TrafficSample } from './on-demand.ts';
import type { Ring } from './ring.ts';

export interface TopologyState {
  readonly self: NodeId;
  readonly config: TopologyConfig;
  readonly ring: Ring;
  /** Members that left the server, but have a link up: they can be told things in-band. */
  readonly unreachable: ReadonlySet<NodeId>;
  /** Members of whom nothing is known since our own signalling was lost: asked in-band meanwhile. */
  readonly unheard: ReadonlySet<NodeId>;
  readonly leaves: ReadonlySet<NodeId>;
  readonly links: ReadonlyMap<NodeId, Link>;
  readonly troubles: ReadonlyMap<NodeId, Trouble>;
  /** Peers that take no long-distance links, until then. */
  readonly capped: ReadonlyMap<NodeId, number>;
  readonly demands: Demands;
  readonly lastClaim: number;
  /** When the plan is made next. */
  readonly planMs: number;
  /** What the shell was told last. */
  readonly wakeMs: number | null;
  readonly leaving: boolean;
}

export type TopologyInput =
  /** Members are reachable; several at once after a login. `leaves`: those that say so of themselves. */
  | {
      readonly kind: 'peers-seen';
      readonly peers: readonly NodeId[];
      readonly leaves: readonly NodeId[];
    }
  | {
      readonly kind: 'peer-lost';
      readonly peer: NodeId;
      readonly reason: 'left' | 'removed' | 'signal-lost';
    }
  /** Frames can cross, on a path of its own (not through other members); or cannot any more. */
  | { readonly kind: 'link-up'; readonly peer: NodeId }
  | { readonly kind: 'link-down'; readonly peer: NodeId }
  /** A verified message of a trusted member. */
  | { readonly kind: 'message'; readonly from: NodeId; readonly message: LinkMessage }
  /** Bytes per second with each peer, both ways, since the last sample; adjacent or not. */
  | { readonly kind: 'traffic'; readonly sample: TrafficSample }
  /** The time of the last `wake`, or later. */
  | { readonly kind: 'tick' }
  /** This node is about to stop. */
  | { readonly kind: 'leave' };

export type TopologyEffect =
  | { readonly kind: 'want'; readonly peer: NodeId }
  | { readonly kind: 'unwant'; readonly peer: NodeId; readonly reason: string }
  | { readonly kind: 'send'; readonly to: NodeId; readonly message: LinkMessage }
  /** Replaces the earlier one. */
  | { readonly kind: 'wake'; readonly atMs: number };

export const initialTopology = (self: NodeId, config: TopologyConfig): TopologyState => ({
  self,
  config,
  ring: [],
  unreachable: new Set(),
  unheard: new Set(),
  leaves: new Set(),
  links: new Map(),
  troubles: new Map(),
  capped: new Map(),
  demands: new Map(),
  lastClaim: 0,
  planMs: Number.POSITIVE_INFINITY,
  wakeMs: null,
  leaving: false,
});

/** One step's working copy: collections are copied when first written to. */
export class Draft {
  state: TopologyState;
  readonly nowMs: number;
  readonly random: Random;
  readonly effects: TopologyEffect[] = [];

  constructor(state: TopologyState, nowMs: number, random: Random) {
    this.state = state;
    this.nowMs = nowMs;
    this.random = random;
  }

  set(change: Partial<TopologyState>): void {
    this.state = { ...this.state, ...change };
  }

  link(peer: NodeId): Link {
    return this.state.links.get(peer) ?? noLink(this.nowMs);
  }

  /** Stores the link; says so when it became wanted or unwanted; forgets it when nobody claims it. */
  put(peer: NodeId, link: Link, why: string): void {
    const before = this.link(peer);
    const links = new Map(this.state.links);
    const wanted = isWanted(link);
    if (isEmpty(link)) links.delete(peer);
    else if (wanted === isWanted(before)) links.set(peer, link);
    // One that is no longer wanted is ended, though a claim of ours is still being asked for.
    else links.set(peer, { ...link, sinceMs: this.nowMs, up: false, wasUp: false });
    this.set({ links });
    if (wanted && !isWanted(before)) this.effects.push({ kind: 'want', peer });
    if (!wanted && isWanted(before)) this.effects.push({ kind: 'unwant', peer, reason: why });
  }

  /** Stores what a rule of negotiation left, and says what it says. */
  say(peer: NodeId, { link, message }: Said, why: string): void {
    this.put(peer, link, why);
    if (message !== null) this.send(peer, message);
  }

  send(to: NodeId, message: LinkMessage): void {
    this.effects.push({ kind: 'send', to, message });
  }

  nextClaim(): number {
    const claim = Math.max(this.state.lastClaim + 1, Math.floor(this.nowMs));
    this.set({ lastClaim: claim });
    return claim;
  }

  /** The plan is made at that time, unless an earlier one is set. */
  planBy(atMs: number): void {
    if (atMs < this.state.planMs) this.set({ planMs: atMs });
  }

  putTrouble(peer: NodeId, trouble: Trouble | null): void {
    if (trouble === null && !this.state.troubles.has(peer)) return;
    const troubles = new Map(this.state.troubles);
    if (trouble === null) troubles.delete(peer);
    else troubles.set(peer, trouble);
    this.set({ troubles });
  }

  /** Earliest time at which a tick has something to do. */
  nextWakeMs(): number {
    let at = this.state.planMs;
    for (const link of this.state.links.values()) at = Math.min(at, deadlineMs(link) ?? at);
    return at;
  }
}
