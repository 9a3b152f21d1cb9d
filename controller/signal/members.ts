/**
 * The members of one overlay and what they say: screens every presence and message, has it verified,
 * publishes what is believed. Owns the membership, the rates and the counters; knows no stream.
 */
import type { NodeId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type { Events } from '../events.ts';
import { type Jid, parseJid } from './core/jid.ts';
import {
  initialMembership,
  isMember,
  type Membership,
  type MembershipInput,
  nextMembership,
  nodeOf,
} from './core/membership.ts';
import { type Buckets, type RateLimit, takeToken } from './core/rate.ts';
import { attributeOf, childOf, evioNamespace, printable, type Stanza } from './core/stanza.ts';
import type { OverlaySignalConfig, SignalDeps } from './deps.ts';
import { decodePayload } from './stanzas-out.ts';

/** Verified messages per member: trickled candidates come in bursts of some tens. */
const messageLimit: RateLimit = { perSecond: 50, burst: 200, maxSenders: 4_096 };
/** Announcements per full JID: one per login, and each costs a signature check. */
const announcementLimit: RateLimit = { perSecond: 1, burst: 10, maxSenders: 4_096 };
/**
 * Announcements of strangers that are kept unread: ejabberd delivers the presences of a new member
 * before the roster push that makes it one. The one that came first goes when there are more.
 */
const maxEarly = 128;
/** Longest of them, characters of base64. */
const maxEarlyChars = 8_192;
/** Reports of one stranger or refused member. */
const reportLimit: RateLimit = { perSecond: 1 / 60, burst: 1, maxSenders: 256 };

/** Announcements that the policy refused and may accept later; the oldest gives way. */
const maxRefusedKept = 64;

/** What was dropped since the start, by reason. */
export interface SignalCounters {
  readonly strangerStanzas: number;
  readonly refusedAnnouncements: number;
  readonly refusedMessages: number;
  readonly limitedStanzas: number;
  readonly droppedOutbound: number;
  /** Messages that went, or came, over sessions with peers instead of the server. */
  readonly sentInBand: number;
  readonly receivedInBand: number;
  /** Members or nodes beyond the bound. */
  readonly ignoredMembers: number;
}

export class Members {
  readonly #config: OverlaySignalConfig;
  readonly #deps: SignalDeps;
  readonly #log: Logger;
  readonly #account: Jid;
  readonly #seen: (peer: NodeId) => void;
  #state: Membership;
  /** By full JID. */
  readonly #refused = new Map<string, { readonly from: Jid; readonly text: string }>();
  #messageRates: Buckets = new Map();
  #announcementRates: Buckets = new Map();
  #reportRates: Buckets = new Map();
  /** Full JID → presence. */
  readonly #early = new Map<string, Stanza>();
  /** Peers of the membership that announced pod ranges. */
  readonly #withPods = new Set<NodeId>();
  /** Counted here and by the stream's owner; read by status. */
  readonly counters = {
    strangerStanzas: 0,
    refusedAnnouncements: 0,
    refusedMessages: 0,
    limitedStanzas: 0,
    droppedOutbound: 0,
    sentInBand: 0,
    receivedInBand: 0,
  };

  /** `seen` is called after `signal.peerSeen` was published. */
  constructor(
    config: OverlaySignalConfig,
    account: Jid,
    deps: SignalDeps,
    log: Logger,
    seen: (peer: NodeId) => void,
  ) {
    this.#config = config;
    this.#account = account;
    this.#deps = deps;
    this.#log = log;
    this.#seen = seen;
    this.#state = initialMembership(deps.self, account.bare);
  }

  get state(): Membership {
    return this.#state;
  }

  /** Full JID where a node is reachable, or null. */
  jidOf(node: NodeId): string | null {
    return this.#state.peers.get(node)?.jid ?? null;
  }

  /** Judges everybody anew: who is in by what the policy says now, who was refused likewise. */
  rejudge(): void {
    const { overlay } = this.#config;
    for (const [node, { name, account }] of this.#state.peers) {
      const reason = this.#deps.authority.distrusted(overlay, node);
      if (reason === null) continue;
      this.advance({ kind: 'distrusted', node });
      this.#report(account, name, reason, null);
    }
    for (const { from, text } of [...this.#refused.values()]) this.#admit(from, text);
  }

  advance(input: MembershipInput): void {
    if (input.kind === 'offline') this.#refused.clear(); // the next login tells who is there
    const { state, effects } = nextMembership(this.#state, input);
    this.#state = state;
    const { overlay } = this.#config;
    for (const effect of effects) {
      if (effect.kind === 'lost') {
        const { node: peer, reason } = effect;
        this.#log.info('peer lost', { peer, reason });
        if (reason === 'removed') this.#withPods.delete(peer);
        this.#deps.port.publish('signal.peerLost', { overlay, peer, reason });
      } else {
        const { node: peer, name, account, leaf, addresses } = effect;
        this.#log.info('peer seen', { peer, name, account });
        const seen = { overlay, peer, name, account, leaf, addresses };
        this.#deps.port.publish('signal.peerSeen', seen);
        this.#seen(peer);
      }
    }
    if (input.kind === 'roster-changed') this.#readEarly();
    else if (input.kind === 'offline') this.#early.clear();
  }

  #keepEarly(from: Jid, presence: Stanza, text: string): void {
    if (text.length > maxEarlyChars || from.resource === null) return;
    this.#early.set(from.full, presence);
    const [first] = this.#early.keys();
    if (this.#early.size > maxEarly && first !== undefined) this.#early.delete(first);
  }

  /** Those who have become members meanwhile. */
  #readEarly(): void {
    for (const [jid, presence] of [...this.#early]) {
      const account = parseJid(jid)?.bare;
      if (account !== undefined && isMember(this.#state, account)) this.receivePresence(presence);
    }
  }

  receivePresence(stanza: Stanza): void {
    const from = parseJid(attributeOf(stanza, 'from') ?? '');
    if (from === null || from.full === this.#state.jid) return;
    const type = attributeOf(stanza, 'type');
    const text = childOf(stanza, 'evio', evioNamespace)?.text ?? null;
    this.#early.delete(from.full);
    if (!this.screen(from, 'presence')) {
      if (type === null && text !== null) this.#keepEarly(from, stanza, text);
      return;
    }
    if (type === 'unavailable' || (type === null && text === null)) {
      this.#refused.delete(from.full);
      this.advance({ kind: 'unavailable', jid: from.full });
      return;
    }
    if (type !== null || text === null || from.resource === null) return; // subscriptions, errors
    const taken = takeToken(
      this.#announcementRates,
      from.full,
      this.#deps.clock.now(),
      announcementLimit,
    );
    this.#announcementRates = taken.buckets;
    if (!taken.allowed) {
      this.counters.limitedStanzas += 1;
      return;
    }
    if (!this.#admit(from, text)) this.counters.refusedAnnouncements += 1;
  }

  #admit(from: Jid, text: string): boolean {
    const place = { overlay: this.#config.overlay, jid: from.full, account: from.bare };
    if (!isMember(this.#state, from.bare)) {
      this.#refused.delete(from.full); // removed from the roster since it was refused
      return false;
    }
    const admission = this.#deps.authority.admit(decodePayload(text) ?? '', place);
    this.#refused.delete(from.full);
    if (admission.kind === 'admitted') {
      const { node, name, leaf, issuedAtMs, addresses, podRanges } = admission;
      const announced = { jid: from.full, node, name, leaf, addresses, issuedAtMs };
      this.advance({ kind: 'announced', ...announced });
      const peer = this.#state.peers.get(node);
      const isCurrent = peer?.jid === from.full && peer.issuedAtMs === issuedAtMs;
      const pods = podRanges === null ? null : { addresses, ranges: podRanges };
      if (isCurrent) this.#tellPods(node, name, pods);
      return true;
    }
    this.advance({ kind: 'unavailable', jid: from.full });
    if (admission.reason === 'untrusted') this.#keepRefused(from, text);
    this.#report(from.bare, admission.name, admission.detail, admission.change);
    return false;
  }

  /** Those who never announced any are not mentioned. */
  #tellPods(peer: NodeId, name: string, pods: Events['signal.podsAnnounced']['pods']): void {
    if (pods === null && !this.#withPods.has(peer)) return;
    if (pods === null) this.#withPods.delete(peer);
    else this.#withPods.add(peer);
    const { overlay } = this.#config;
    this.#deps.port.publish('signal.podsAnnounced', { overlay, peer, name, pods });
  }

  #keepRefused(from: Jid, text: string): void {
    this.#refused.set(from.full, { from, text });
    const [oldest] = this.#refused.keys();
    if (this.#refused.size > maxRefusedKept && oldest !== undefined) this.#refused.delete(oldest);
  }

  #report(
    account: string,
    name: string,
    detail: string,
    change: Events['signal.peerRefused']['change'],
  ): void {
    const reason = printable(detail);
    if (!this.#mayReport(`${account} ${reason}`)) return;
    this.#log.warn('peer refused', { account, name, reason });
    this.#deps.port.publish('signal.peerRefused', {
      overlay: this.#config.overlay,
      account,
      name,
      problem: { code: 'peer.untrusted', message: reason },
      change,
    });
  }

  receiveMessage(stanza: Stanza): void {
    const from = parseJid(attributeOf(stanza, 'from') ?? '');
    const text = childOf(stanza, 'evio', evioNamespace)?.text ?? null;
    if (from === null || text === null || attributeOf(stanza, 'type') === 'error') return;
    if (!this.screen(from, 'message')) return;
    const node = nodeOf(this.#state, from.full);
    if (node === null) this.counters.refusedMessages += 1;
    else this.#open(node, decodePayload(text) ?? '');
  }

  /** An envelope that came over the session with the node; it must be a member all the same. */
  receiveInBand(node: NodeId, envelope: string): void {
    if (!this.#state.peers.has(node)) {
      this.counters.refusedMessages += 1;
      return;
    }
    this.counters.receivedInBand += 1;
    this.#open(node, envelope);
  }

  /** Whatever way it came: the same limits, the same checks, each believed once. */
  #open(node: NodeId, envelope: string): void {
    const taken = takeToken(this.#messageRates, node, this.#deps.clock.now(), messageLimit);
    this.#messageRates = taken.buckets;
    if (!taken.allowed) {
      this.counters.limitedStanzas += 1;
      return;
    }
    const { overlay } = this.#config;
    const opened = this.#deps.authority.open(overlay, node, envelope);
    if (opened.kind === 'message') {
      this.#deps.port.publish('signal.messageReceived', {
        overlay,
        from: node,
        message: opened.message,
      });
      return;
    }
    this.counters.refusedMessages += 1;
    if (this.#mayReport(`${node} ${opened.reason}`)) {
      const reason = `${opened.reason}: ${printable(opened.detail)}`;
      this.#log.warn('message refused', { peer: node, reason });
    }
  }

  /** Whether a sender is a member; strangers are counted and reported once a minute at most. */
  screen(from: Jid, name: string): boolean {
    if (isMember(this.#state, from.bare)) return true;
    if (from.bare === this.#account.domain) return false; // the server itself
    this.counters.strangerStanzas += 1;
    if (this.#mayReport(from.bare)) {
      this.#log.info('stanza of a stranger dropped', { account: printable(from.bare), name });
    }
    return false;
  }

  #mayReport(key: string): boolean {
    const taken = takeToken(this.#reportRates, key, this.#deps.clock.now(), reportLimit);
    this.#reportRates = taken.buckets;
    return taken.allowed;
  }
}
