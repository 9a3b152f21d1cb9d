/**
 * The topology of one overlay: carries out what the machine decides. Owns the machine's state, its
 * one timer and which peers have a path of their own; knows links by events only.
 */
import { Alarm, type Clock } from '../../base/clock.ts';
import type { NodeId, OverlayId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type { Port } from '../bus.ts';
import type { PathKind } from '../events.ts';
import type { LinkMessage, LinkReason } from '../peer-messages.ts';
import { isWanted } from './core/adjacency.ts';
import { seenBatchMs, type TopologyConfig } from './core/config.ts';
import { initialTopology, type TopologyEffect, type TopologyInput } from './core/state.ts';
import { nextTopology } from './core/topology.ts';

export interface OverlayTopologyDeps {
  readonly port: Port<'topology'>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  readonly self: NodeId;
  readonly overlay: OverlayId;
  readonly config: TopologyConfig;
  /** Aborts when the module stops. */
  readonly over: AbortSignal;
}

/** A link for the operator. */
export interface LinkView {
  readonly peer: NodeId;
  /** Why this node wants it, or null. */
  readonly reason: LinkReason | null;
  /** Why the peer wants it, or null. */
  readonly incoming: LinkReason | null;
  /** `asking`: the peer has not agreed yet; `setting-up`: agreed, no frame can cross yet. */
  readonly state: 'asking' | 'setting-up' | 'up' | 'down';
  readonly sinceMs: number;
}

/** Whether a link for topology: a path through other members is none. */
const isOwnPath = (kind: PathKind): boolean => kind !== 'ring' && kind !== 'none';

export class OverlayTopology {
  readonly #deps: OverlayTopologyDeps;
  readonly #own = new Set<NodeId>();
  /** Sightings that wait for the others of the same login. */
  #seen = new Map<NodeId, boolean>();
  #state;
  readonly #alarm: Alarm;
  #offsetMs: number | undefined;

  constructor(deps: OverlayTopologyDeps) {
    this.#deps = deps;
    this.#alarm = new Alarm(deps.clock);
    this.#state = initialTopology(deps.self, deps.config);
  }

  peerSeen(peer: NodeId, leaf: boolean): void {
    const { clock, over } = this.#deps;
    if (this.#seen.size === 0) clock.after(seenBatchMs, over, () => this.#tellSeen());
    this.#seen.set(peer, leaf);
  }

  peerLost(peer: NodeId, reason: 'left' | 'removed' | 'signal-lost'): void {
    this.#input({ kind: 'peer-lost', peer, reason });
  }

  pathIs(peer: NodeId, kind: PathKind): void {
    const has = isOwnPath(kind);
    if (has === this.#own.has(peer)) return;
    if (has) this.#own.add(peer);
    else this.#own.delete(peer);
    this.#input({ kind: has ? 'link-up' : 'link-down', peer });
  }

  message(from: NodeId, message: LinkMessage): void {
    this.#deps.log.debug('link heard', { peer: from, event: wordsOf(message) });
    this.#input({ kind: 'message', from, message });
  }

  traffic(sample: ReadonlyMap<NodeId, number>): void {
    this.#input({ kind: 'traffic', sample });
  }

  /** Says goodbye; from now on nothing is wanted and everything is refused. */
  leave(): void {
    this.#input({ kind: 'leave' });
  }

  stop(): void {
    this.#alarm.end();
  }

  snapshot(): readonly LinkView[] {
    const nowMs = this.#nowMs();
    return [...this.#state.links].map(([peer, link]) => ({
      peer,
      reason: link.own?.reason ?? null,
      incoming: link.theirs?.reason ?? null,
      state: link.up ? 'up' : !isWanted(link) ? 'asking' : link.wasUp ? 'down' : 'setting-up',
      sinceMs: Math.max(0, nowMs - link.sinceMs),
    }));
  }

  #tellSeen(): void {
    if (this.#seen.size === 0) return;
    const peers = [...this.#seen.keys()];
    const leaves = peers.filter((peer) => this.#seen.get(peer) === true);
    this.#seen = new Map();
    this.#apply({ kind: 'peers-seen', peers, leaves });
  }

  /** Sightings that wait came before it. */
  #input(input: TopologyInput): void {
    this.#tellSeen();
    this.#apply(input);
  }

  #apply(input: TopologyInput): void {
    const { state, effects } = nextTopology(this.#state, input, this.#nowMs(), this.#deps.random);
    this.#state = state;
    for (const effect of effects) this.#carryOut(effect);
    // Wanted again before it had drained: it goes on, and nobody will say that it came up.
    for (const effect of effects) {
      const goesOn = effect.kind === 'want' && this.#own.has(effect.peer);
      if (goesOn) this.#apply({ kind: 'link-up', peer: effect.peer });
    }
  }

  #carryOut(effect: TopologyEffect): void {
    const { port, overlay, log } = this.#deps;
    switch (effect.kind) {
      case 'want':
        port.publish('topology.linkWanted', { overlay, peer: effect.peer });
        return;
      case 'unwant': {
        const { peer, reason } = effect;
        log.debug('link unwanted', { peer, reason });
        port.publish('topology.linkUnwanted', { overlay, peer, reason });
        return;
      }
      case 'send':
        log.debug('link said', { peer: effect.to, event: wordsOf(effect.message) });
        port.publish('topology.messageReady', { overlay, to: effect.to, message: effect.message });
        return;
      case 'wake':
        this.#wake(effect.atMs);
    }
  }

  #wake(atMs: number): void {
    if (this.#deps.over.aborted) return;
    const waitMs = Math.max(1, atMs - this.#nowMs());
    this.#alarm.set(waitMs, () => this.#input({ kind: 'tick' }));
  }

  /** Wall clock of the start, going on monotonically: numbers of claims outlive this process. */
  #nowMs(): number {
    const { clock } = this.#deps;
    this.#offsetMs ??= clock.wallNow() - clock.now();
    return Math.floor(clock.now() + this.#offsetMs);
  }
}

/** Of a message, for the log. */
function wordsOf(message: LinkMessage): string {
  switch (message.kind) {
    case 'link-request':
      return `request ${message.claim}: ${message.reason}`;
    case 'link-answer':
      return `answer ${message.claim}: ${message.refusal ?? 'granted'}`;
    case 'link-ended':
      return `ended ${message.claim}${message.leaving ? ', leaving' : ''}`;
  }
}
