/**
 * What an overlay's tunnel process is told of the ring beyond links: who is a member, envelopes to
 * be carried in-band, how much goes to whom. Owns the member list and its debounce; the process and
 * the links are OverlayLinks'.
 */
import { type Clock, every } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import type { NodeId, OverlayId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type { Port } from '../bus.ts';
import {
  type MembersInput,
  type MembersState,
  membersOf,
  nextMembers,
  noMembers,
} from './core/members.ts';
import {
  callTimeoutMs,
  inBandTimeoutMs,
  maxInBandWaiting,
  membersDelayMs,
  trafficPeriodMs,
} from './core/timers.ts';
import { type Reading, ratesBetween } from './core/traffic-rates.ts';
import type { TunnelProcess } from './tunnel-process.ts';

export interface OverlayRingDeps {
  readonly port: Port<'links'>;
  readonly log: Logger;
  readonly clock: Clock;
  readonly overlay: OverlayId;
  readonly process: Pick<TunnelProcess, 'call' | 'tell'>;
  /** Ends with the links. */
  readonly over: AbortSignal;
}

interface Outgoing {
  readonly number: number;
  readonly envelope: string;
}

export class OverlayRing {
  readonly #deps: OverlayRingDeps;
  #members: MembersState = noMembers;
  #reading: Reading | null = null;
  /** What waits behind the message that is on its way to a peer. */
  readonly #outgoing = new Map<NodeId, Outgoing[]>();
  #telling = false;

  constructor(deps: OverlayRingDeps) {
    this.#deps = deps;
    every(deps.clock, trafficPeriodMs, deps.over, () => this.#measure());
  }

  members(input: MembersInput): void {
    const { state, effects } = nextMembers(this.#members, input);
    this.#members = state;
    for (const { when } of effects) {
      if (when === 'now') this.#tellMembers();
      else this.#tellSoon();
    }
  }

  /** A new process knows nobody, and its counters start anew. */
  opened(): void {
    this.#reading = null;
    this.#tellMembers();
  }

  #tellMembers(): void {
    this.#deps.process.tell('setMembers', membersOf(this.#members));
  }

  /**
   * Carries an envelope in-band, or says that there is no way. One at a time to a peer: a message
   * that overtook an earlier one would make that a replay.
   */
  send(to: NodeId, number: number, envelope: string): void {
    const waiting = this.#outgoing.get(to);
    if (waiting === undefined) {
      this.#outgoing.set(to, []);
      void this.#sendAll(to, { number, envelope });
    } else if (waiting.length < maxInBandWaiting) waiting.push({ number, envelope });
    else this.#refused(to, number);
  }

  async #sendAll(to: NodeId, first: Outgoing): Promise<void> {
    let next: Outgoing | undefined = first;
    while (next !== undefined) {
      if (!(await this.#sendOne(to, next.envelope))) this.#refused(to, next.number);
      next = this.#outgoing.get(to)?.shift();
    }
    this.#outgoing.delete(to);
  }

  async #sendOne(to: NodeId, body: string): Promise<boolean> {
    try {
      const { process } = this.#deps;
      const answer = await process.call('sendMessage', { peer: to, body }, inBandTimeoutMs);
      return answer?.sent === true;
    } catch (error) {
      this.#deps.log.debug('message not carried in-band', { peer: to, error: messageOf(error) });
      return false;
    }
  }

  #refused(to: NodeId, number: number): void {
    const { port, overlay, over } = this.#deps;
    if (!over.aborted) port.publish('links.envelopeRefused', { overlay, to, number });
  }

  #tellSoon(): void {
    if (this.#telling) return;
    this.#telling = true;
    this.#deps.clock.after(membersDelayMs, this.#deps.over, () => {
      this.#telling = false;
      this.#tellMembers();
    });
  }

  #measure(): void {
    const { process, clock, port, overlay, log } = this.#deps;
    process.call('traffic', {}, callTimeoutMs)?.then(
      ({ peers }) => {
        const bytes = new Map(peers.map((each) => [each.peer, each.bytes]));
        const reading = { atMs: clock.now(), bytes };
        const rates = ratesBetween(this.#reading, reading);
        this.#reading = reading;
        port.publish('links.trafficMeasured', { overlay, rates });
      },
      (error: unknown) => log.debug('traffic is not known', { error: messageOf(error) }),
    );
  }
}
