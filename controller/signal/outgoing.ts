/**
 * The way of a message to a member: by the server where both are there, else in-band, and where that
 * is refused too it waits. Owns the outbox and what may still come back from in-band.
 */
import { messageOf } from '../../base/errors.ts';
import type { NodeId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import { remember } from '../../base/remember.ts';
import type { PeerMessage } from '../peer-messages.ts';
import { emptyOutbox, putMessage, takeMessages } from './core/outbox.ts';
import type { OverlaySignalConfig, SignalDeps } from './deps.ts';
import type { Members } from './members.ts';
import { peerMessage } from './stanzas-out.ts';
import type { XmppStream } from './xmpp/contract.ts';

/** Messages in-band that may still be refused; beyond it the oldest is taken as sent. */
const maxInBand = 256;

/** So long it may be on its way in-band without an answer. */
const inBandMs = 10_000;

interface InBand {
  readonly to: NodeId;
  readonly message: PeerMessage;
  readonly atMs: number;
}

export class Outgoing {
  readonly #config: OverlaySignalConfig;
  readonly #deps: SignalDeps;
  readonly #log: Logger;
  readonly #members: Members;
  readonly #stream: () => XmppStream | null;
  #outbox = emptyOutbox;
  /** What went in-band last, by number. */
  readonly #inBand = new Map<number, InBand>();
  #number = 0;

  /** `stream`: the one that is online now, or null. */
  constructor(
    config: OverlaySignalConfig,
    deps: SignalDeps,
    log: Logger,
    members: Members,
    stream: () => XmppStream | null,
  ) {
    this.#config = config;
    this.#deps = deps;
    this.#log = log;
    this.#members = members;
    this.#stream = stream;
  }

  /** Signs and sends. */
  send(to: NodeId, message: PeerMessage): void {
    const stream = this.#stream();
    const jid = stream === null ? null : this.#members.jidOf(to);
    if (jid === null && !this.#members.state.peers.has(to)) {
      this.#keep(to, message);
      return;
    }
    try {
      const envelope = this.#deps.authority.seal(this.#config.overlay, to, message);
      if (stream !== null && jid !== null) stream.send(peerMessage(jid, envelope));
      else this.#sendInBand(to, message, envelope);
    } catch (error) {
      this.#members.counters.droppedOutbound += 1;
      this.#log.error('message cannot be sent', { peer: to, error: messageOf(error) });
    }
  }

  /** No way in-band: it goes by the server if the peer has come back, or waits for that. */
  refused(number: number): void {
    const refused = this.#inBand.get(number);
    if (refused === undefined) return;
    this.#inBand.delete(number);
    this.#members.counters.sentInBand -= 1;
    const { to, message } = refused;
    if (this.#stream() !== null && this.#members.jidOf(to) !== null) this.send(to, message);
    else this.#keep(to, message);
  }

  /**
   * The peer is reachable: what waits for it goes, and once more what may be lost in-band: a peer
   * that was started anew has not got it, for any other a second time changes nothing.
   */
  flush(peer: NodeId): void {
    for (const [number, { to, message, atMs }] of this.#inBand) {
      if (to !== peer) continue;
      this.#inBand.delete(number);
      if (this.#deps.clock.now() - atMs < inBandMs) this.#keep(to, message);
    }
    const taken = takeMessages(this.#outbox, peer, this.#deps.clock.now());
    this.#outbox = taken.outbox;
    for (const message of taken.messages) this.send(peer, message);
  }

  #sendInBand(to: NodeId, message: PeerMessage, envelope: string): void {
    const { overlay } = this.#config;
    this.#number += 1;
    const number = this.#number;
    remember(this.#inBand, number, { to, message, atMs: this.#deps.clock.now() }, maxInBand);
    this.#members.counters.sentInBand += 1;
    this.#deps.port.publish('signal.envelopeSealed', { overlay, to, number, envelope });
  }

  #keep(to: NodeId, message: PeerMessage): void {
    const put = putMessage(this.#outbox, to, message, this.#deps.clock.now());
    this.#outbox = put.outbox;
    this.#members.counters.droppedOutbound += put.dropped;
  }
}
