/**
 * The sessions of one tunnel: those whose link the controller wants, and those that the bridge makes over
 * the ring when something needs them. Owns how many there may be, and the end of what nobody uses.
 */
import type { Clock } from '../base/clock.ts';
import { EvioError, messageOf } from '../base/errors.ts';
import type { NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { type Budget, fullBudget, spend } from './fabric/core/budget.ts';
import { ringIdleMs } from './session/core/timers.ts';
import type { PeerSession } from './session/peer-session.ts';

/** Of one tunnel: a full mesh of the largest overlay that the fabric floods. */
const maxSessions = 4_096;
/** Sessions that nobody asked for, over the ring alone: each costs keys and a ping now and then. */
const maxRingSessions = 512;
/** One that carried nothing for this long gives way to a new one. */
const ringEvictMs = 10_000;
/**
 * Handshakes over the ring at once, and begun in a while: each costs some milliseconds. Who comes up in a
 * large overlay is asked for as many as it has members.
 */
const maxRingHandshakes = 128;
const handshakeBudget = { perSecond: 40, burst: 320 } as const;

export interface BookDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly me: NodeId;
  readonly isMember: (node: NodeId) => boolean;
  /** `wanted`: a link; else the ring is enough. */
  readonly create: (peer: NodeId, wanted: boolean) => PeerSession;
}

export class SessionBook {
  readonly counts = { ringSessionsRefused: 0, ringSessionsIdle: 0, ringHandshakesRefused: 0 };
  readonly #deps: BookDeps;
  readonly #sessions = new Map<NodeId, PeerSession>();
  #handshakes: Budget;

  constructor(deps: BookDeps) {
    this.#deps = deps;
    this.#handshakes = fullBudget(handshakeBudget, deps.clock.now());
  }

  get all(): readonly PeerSession[] {
    return [...this.#sessions.values()];
  }

  get(peer: NodeId): PeerSession | undefined {
    return this.#sessions.get(peer);
  }

  /** A link with the peer is wanted. Throws `request.invalid` when there is no room. */
  wanted(peer: NodeId): PeerSession {
    const known = this.#sessions.get(peer);
    if (known === undefined && this.#sessions.size >= maxSessions) {
      throw new EvioError('request.invalid', `${maxSessions} sessions are wanted already`);
    }
    if (peer === this.#deps.me) throw new EvioError('request.invalid', 'peer is this node');
    return known ?? this.#add(peer, true);
  }

  #add(peer: NodeId, wanted: boolean): PeerSession {
    const session = this.#deps.create(peer, wanted);
    this.#sessions.set(peer, session);
    return session;
  }

  /** The session with a node, made over the ring if there is none; null: no member, or no room. */
  overRing(peer: NodeId): PeerSession | null {
    const known = this.#sessions.get(peer);
    if (known !== undefined) return known;
    if (!this.#deps.isMember(peer) || peer === this.#deps.me) return null;
    if (!this.#hasRoom()) {
      this.counts.ringSessionsRefused += 1;
      return null;
    }
    return this.#add(peer, false);
  }

  /** The one that was of no use for the longest gives way. */
  #hasRoom(): boolean {
    const ring = [...this.#sessions].filter(([, session]) => !session.isWanted);
    if (ring.length < maxRingSessions && this.#sessions.size < maxSessions) return true;
    let idlest: readonly [NodeId, number] | null = null;
    for (const [peer, session] of ring) {
      const agoMs = session.payloadAgoMs();
      if (agoMs > (idlest?.[1] ?? ringEvictMs)) idlest = [peer, agoMs];
    }
    if (idlest === null) return false;
    this.counts.ringSessionsIdle += 1;
    this.end(idlest[0], 'others need the room');
    return true;
  }

  /** One more handshake over the ring may begin. */
  admitsHandshake(): boolean {
    let running = 0;
    for (const session of this.#sessions.values()) if (session.isSettingUpOverRing) running += 1;
    const { budget, allowed } = spend(this.#handshakes, this.#deps.clock.now());
    this.#handshakes = budget;
    if (allowed && running <= maxRingHandshakes) return true;
    this.counts.ringHandshakesRefused += 1;
    return false;
  }

  end(peer: NodeId, reason: string): void {
    const session = this.#sessions.get(peer);
    this.#sessions.delete(peer);
    session?.close(reason).catch((error: unknown) => {
      this.#deps.log.warn('session did not close cleanly', { peer, error: messageOf(error) });
    });
  }

  /** Ends sessions over the ring alone that are of no use any more. */
  sweep(): void {
    for (const [peer, session] of [...this.#sessions]) {
      if (session.isWanted || session.isReleasing) continue;
      if (session.isIdle) this.end(peer, 'idle');
      else if (session.waitingMessages === 0 && session.payloadAgoMs() >= ringIdleMs) {
        this.counts.ringSessionsIdle += 1;
        this.end(peer, 'idle');
      }
    }
  }

  /** Ends all. */
  async close(reason: string): Promise<void> {
    const sessions = this.all;
    this.#sessions.clear();
    await Promise.all(sessions.map((session) => session.close(reason)));
  }
}
