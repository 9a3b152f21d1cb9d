/**
 * The signalling of one overlay: keeps a stream to its server, its members and their messages. Owns
 * the stream and the membership; decides by the cores, believes only what Authority verified.
 */
import { EvioError, messageOf, toEvioError } from '../../base/errors.ts';
import type { NodeId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type { Problem, SignalState } from '../events.ts';
import type { PeerMessage } from '../peer-messages.ts';
import { isRefusal, nextTry, noFailures } from './core/backoff.ts';
import {
  type ExternalServices,
  readServices,
  servicesNamespace,
  servicesQuery,
} from './core/external-services.ts';
import { type Jid, parseJid } from './core/jid.ts';
import {
  initialMembership,
  isMember,
  type Membership,
  type MembershipInput,
  nextMembership,
  nodeOf,
} from './core/membership.ts';
import { emptyOutbox, putMessage, takeMessages } from './core/outbox.ts';
import { type Buckets, type RateLimit, takeToken } from './core/rate.ts';
import { isRosterPush, readRoster, rosterQuery } from './core/roster.ts';
import { attributeOf, childOf, evioNamespace, printable, type Stanza } from './core/stanza.ts';
import { defaultPolicy, type OverlaySignalConfig, type SignalDeps } from './deps.ts';
import {
  announcePresence,
  answerTo,
  decodePayload,
  leavePresence,
  peerMessage,
  pingNamespace,
  pingRequest,
} from './stanzas-out.ts';
import { openStream, StanzaError, type XmppStream } from './xmpp.ts';

/** Verified messages per member: trickled candidates come in bursts of some tens. */
const messageLimit: RateLimit = { perSecond: 50, burst: 200, maxSenders: 4_096 };
/** Announcements per full JID: one per login, and each costs a signature check. */
const announcementLimit: RateLimit = { perSecond: 1, burst: 10, maxSenders: 4_096 };
/** Reports of one stranger or refused member. */
const reportLimit: RateLimit = { perSecond: 1 / 60, burst: 1, maxSenders: 256 };

/** What was dropped since the start, by reason. */
export interface SignalCounters {
  readonly strangerStanzas: number;
  readonly refusedAnnouncements: number;
  readonly refusedMessages: number;
  readonly limitedStanzas: number;
  readonly droppedOutbound: number;
}

export interface OverlaySnapshot {
  readonly overlay: string;
  readonly state: SignalState;
  readonly problem: Problem | null;
  readonly server: string;
  readonly account: string;
  /** Full JID while online. */
  readonly jid: string | null;
  /** Accounts in the roster that are members. */
  readonly members: number;
  readonly peers: readonly {
    readonly node: NodeId;
    readonly name: string;
    readonly account: string;
    readonly isReachable: boolean;
  }[];
  readonly counters: SignalCounters;
}

export class OverlaySignal {
  readonly #config: OverlaySignalConfig;
  readonly #deps: SignalDeps;
  readonly #policy;
  readonly #log: Logger;
  readonly #account: Jid;
  readonly #stopping = new AbortController();
  readonly #counters = {
    strangerStanzas: 0,
    refusedAnnouncements: 0,
    refusedMessages: 0,
    limitedStanzas: 0,
    droppedOutbound: 0,
  };
  #state: SignalState = 'stopped';
  #problem: Problem | null = null;
  #membership: Membership;
  #stream: XmppStream | null = null;
  /** Ends with the stream: timers and late answers of an old one do nothing. */
  #session = new AbortController();
  #outbox = emptyOutbox;
  #messageRates: Buckets = new Map();
  #announcementRates: Buckets = new Map();
  #reportRates: Buckets = new Map();
  #running: Promise<void> | null = null;
  #offered = '';

  constructor(config: OverlaySignalConfig, deps: SignalDeps) {
    const account = parseJid(config.username);
    if (account === null || account.resource !== null || account.bare === account.domain) {
      throw new EvioError('config.invalid', `"${config.username}" is no account (user@domain)`);
    }
    this.#config = config;
    this.#deps = deps;
    this.#policy = deps.policy ?? defaultPolicy;
    this.#log = deps.log.child('signal', { overlay: config.overlay });
    this.#account = account;
    this.#membership = initialMembership(deps.self, account.bare);
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Leaves in order, within two seconds. Idempotent; publishes `stopped` last. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    this.#running = null;
  }

  /** Signs and sends, or keeps the message for when its peer is reachable. */
  sendMessage(to: NodeId, message: PeerMessage): void {
    const jid = this.#membership.peers.get(to)?.jid ?? null;
    if (this.#stream === null || jid === null) {
      const put = putMessage(this.#outbox, to, message, this.#deps.clock.now());
      this.#outbox = put.outbox;
      this.#counters.droppedOutbound += put.dropped;
      return;
    }
    try {
      const envelope = this.#deps.authority.seal(this.#config.overlay, to, message);
      this.#stream.send(peerMessage(jid, envelope));
    } catch (error) {
      this.#counters.droppedOutbound += 1;
      this.#log.error('message cannot be sent', { peer: to, error: messageOf(error) });
    }
  }

  snapshot(): OverlaySnapshot {
    const { config, membership } = { config: this.#config, membership: this.#membership };
    return {
      overlay: config.overlay,
      state: this.#state,
      problem: this.#problem,
      server: `${config.host}:${config.port}`,
      account: this.#account.bare,
      jid: this.#stream?.address.full ?? null,
      members: membership.roster.size,
      peers: [...membership.peers].map(([node, { name, account, jid }]) => ({
        node,
        name,
        account,
        isReachable: jid !== null,
      })),
      counters: { ...this.#counters },
    };
  }

  /** Tries for ever: connect, serve until it ends, wait. Ends by `stop` only. */
  async #run(): Promise<void> {
    const { clock, random } = this.#deps;
    let backoff = noFailures;
    while (!this.#stopping.signal.aborted) {
      this.#setState('connecting', this.#problem, null);
      let onlineAtMs: number | null = null;
      const error = await this.#serve(() => {
        onlineAtMs = clock.now();
      });
      if (this.#stopping.signal.aborted) break;
      const livedMs = onlineAtMs === null ? 0 : Math.max(1, clock.now() - onlineAtMs);
      const next = nextTry(backoff, error.code, livedMs, random(), this.#policy.backoff);
      backoff = next.backoff;
      const state = isRefusal(error.code) ? 'refused' : 'offline';
      this.#setState(state, { code: error.code, message: error.message }, next.delayMs);
      await this.#wait(next.delayMs);
    }
    this.#setState('stopped', null, null);
  }

  /** One stream from its first packet to its end; resolves with what ended it, never rejects. */
  async #serve(online: () => void): Promise<EvioError> {
    this.#session = new AbortController();
    const session = this.#session.signal;
    let stream: XmppStream | null = null;
    try {
      const ended = Promise.withResolvers<EvioError>();
      stream = await this.#open((error) => ended.resolve(error));
      const opened = stream;
      this.#stopping.signal.addEventListener('abort', () => this.#leave(opened, ended.resolve), {
        once: true,
        signal: session,
      });
      await this.#enter(opened);
      this.#setState('online', null, null);
      online();
      this.#ping(opened, session);
      void this.#discoverServices(opened, session);
      return await ended.promise;
    } catch (error) {
      return toEvioError(error);
    } finally {
      this.#session.abort();
      this.#stream = null;
      await stream?.close();
      this.#advance({ kind: 'offline' });
    }
  }

  #leave(stream: XmppStream, ended: (error: EvioError) => void): void {
    stream.send(leavePresence);
    void stream.close();
    ended(new EvioError('signal.disconnected', 'stopped'));
  }

  #open(ended: (error: EvioError) => void): Promise<XmppStream> {
    const { overlay, host, port, tls, password, clientCertificate, caPem } = this.#config;
    const { connectTimeoutMs, loginTimeoutMs } = this.#policy;
    return openStream(
      {
        account: this.#account,
        // The same at each login: the server then ends our own stale stream (RFC 6120 7.7.2.2).
        resource: `evio-${overlay}-${this.#deps.self}`,
        host,
        port,
        tls,
        password,
        clientCertificate,
        caPem,
        connectTimeoutMs,
        loginTimeoutMs,
      },
      { stanza: (stanza) => this.#receive(stanza), ended },
      this.#stopping.signal,
    );
  }

  /** The roster first, then presence: without it nobody could be told from a stranger. */
  async #enter(stream: XmppStream): Promise<void> {
    const { overlay, nodeName, rosterGroup } = this.#config;
    const answer = await this.#request(stream, rosterQuery, 'the roster');
    this.#stream = stream;
    const { full } = stream.address;
    this.#advance({ kind: 'online', jid: full, roster: readRoster(answer, rosterGroup) });
    stream.send(announcePresence(this.#deps.authority.announce(overlay, full, nodeName)));
  }

  async #request(stream: XmppStream, request: Stanza, what: string): Promise<Stanza> {
    try {
      return await stream.request(request, this.#policy.requestTimeoutMs);
    } catch (error) {
      if (error instanceof EvioError && error.code !== 'request.timeout') throw error;
      throw new EvioError('signal.disconnected', `${what}: ${messageOf(error)}`, { cause: error });
    }
  }

  /** A server that does not answer a ping is gone, whatever TCP says. */
  #ping(stream: XmppStream, session: AbortSignal): void {
    this.#deps.clock.after(this.#policy.pingEveryMs, session, () => {
      stream.request(pingRequest(this.#account.domain), this.#policy.pingDeadlineMs).then(
        () => this.#ping(stream, session),
        (error: unknown) => {
          // An error answer is an answer: the server is there and does not know pings.
          if (error instanceof StanzaError) this.#ping(stream, session);
          else if (!session.aborted) stream.abandon('the server does not answer');
        },
      );
    });
  }

  async #discoverServices(stream: XmppStream, session: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    const again = (ms: number): void =>
      clock.after(ms, session, () => void this.#discoverServices(stream, session));
    try {
      const answer = await stream.request(
        servicesQuery(this.#account.domain),
        this.#policy.requestTimeoutMs,
      );
      if (session.aborted) return;
      const services = readServices(answer, clock.wallNow());
      this.#offer(services);
      again(services.refreshInMs);
    } catch (error) {
      if (session.aborted) return;
      this.#log.debug('no external services', { error: messageOf(error) });
      if (!(error instanceof StanzaError)) again(this.#policy.requestTimeoutMs);
    }
  }

  #offer({ stun, turn }: ExternalServices): void {
    const key = JSON.stringify([stun, turn.map((t) => [t, t.password.reveal()])]);
    if (key === this.#offered || (this.#offered === '' && stun.length + turn.length === 0)) return;
    this.#offered = key;
    this.#deps.port.publish('signal.serversOffered', {
      overlay: this.#config.overlay,
      stun,
      turn,
    });
  }

  #receive(stanza: Stanza): void {
    try {
      if (stanza.name === 'presence') this.#receivePresence(stanza);
      else if (stanza.name === 'message') this.#receiveMessage(stanza);
      else if (stanza.name === 'iq') this.#receiveRequest(stanza);
    } catch (error) {
      this.#log.error('stanza handler failed', { name: stanza.name, error: messageOf(error) });
    }
  }

  #receivePresence(stanza: Stanza): void {
    const from = parseJid(attributeOf(stanza, 'from') ?? '');
    if (from === null || from.full === this.#stream?.address.full) return;
    if (!this.#screen(from, 'presence')) return;
    const type = attributeOf(stanza, 'type');
    const text = childOf(stanza, 'evio', evioNamespace)?.text ?? null;
    if (type === 'unavailable' || (type === null && text === null)) {
      this.#advance({ kind: 'unavailable', jid: from.full });
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
      this.#counters.limitedStanzas += 1;
      return;
    }
    this.#admit(from, text);
  }

  #admit(from: Jid, text: string): void {
    const place = { overlay: this.#config.overlay, jid: from.full, account: from.bare };
    const admission = this.#deps.authority.admit(decodePayload(text) ?? '', place);
    if (admission.kind === 'admitted') {
      const { node, name, issuedAtMs } = admission;
      this.#advance({ kind: 'announced', jid: from.full, node, name, issuedAtMs });
      return;
    }
    this.#counters.refusedAnnouncements += 1;
    this.#advance({ kind: 'unavailable', jid: from.full });
    const reason = printable(admission.detail);
    if (!this.#mayReport(`${from.bare} ${reason}`)) return;
    this.#log.warn('peer refused', { account: from.bare, name: admission.name, reason });
    this.#deps.port.publish('signal.peerRefused', {
      overlay: place.overlay,
      account: from.bare,
      name: admission.name,
      problem: { code: 'peer.untrusted', message: reason },
    });
  }

  #receiveMessage(stanza: Stanza): void {
    const from = parseJid(attributeOf(stanza, 'from') ?? '');
    const text = childOf(stanza, 'evio', evioNamespace)?.text ?? null;
    if (from === null || text === null || attributeOf(stanza, 'type') === 'error') return;
    if (!this.#screen(from, 'message')) return;
    const node = nodeOf(this.#membership, from.full);
    if (node === null) {
      this.#counters.refusedMessages += 1;
      return;
    }
    const taken = takeToken(this.#messageRates, node, this.#deps.clock.now(), messageLimit);
    this.#messageRates = taken.buckets;
    if (!taken.allowed) {
      this.#counters.limitedStanzas += 1;
      return;
    }
    const { overlay } = this.#config;
    const opened = this.#deps.authority.open(overlay, node, decodePayload(text) ?? '');
    if (opened.kind === 'message') {
      this.#deps.port.publish('signal.messageReceived', {
        overlay,
        from: node,
        message: opened.message,
      });
      return;
    }
    this.#counters.refusedMessages += 1;
    if (this.#mayReport(`${node} ${opened.reason}`)) {
      const reason = `${opened.reason}: ${printable(opened.detail)}`;
      this.#log.warn('message refused', { peer: node, reason });
    }
  }

  /** Requests: the server's are answered; a peer has none, and a stranger is not even told we exist. */
  #receiveRequest(stanza: Stanza): void {
    const stream = this.#stream;
    const type = attributeOf(stanza, 'type');
    if (stream === null || (type !== 'get' && type !== 'set')) return;
    const from = parseJid(attributeOf(stanza, 'from') ?? this.#account.bare);
    if (from === null) return;
    const { bare, domain } = this.#account;
    if (from.full !== bare && from.full !== domain) {
      if (!isMember(this.#membership, from.bare)) this.#counters.strangerStanzas += 1;
      else stream.send(answerTo(stanza, false));
      return;
    }
    if (isRosterPush(stanza, bare)) {
      stream.send(answerTo(stanza, true));
      const items = readRoster(stanza, this.#config.rosterGroup);
      this.#advance({ kind: 'roster-changed', items });
    } else if (type === 'set' && childOf(stanza, 'services', servicesNamespace) !== null) {
      stream.send(answerTo(stanza, true)); // what changed is asked for: a push may be partial
      void this.#discoverServices(stream, this.#session.signal);
    } else {
      stream.send(answerTo(stanza, childOf(stanza, 'ping', pingNamespace) !== null));
    }
  }

  /** Whether a sender is a member; strangers are counted and reported once a minute at most. */
  #screen(from: Jid, name: string): boolean {
    if (isMember(this.#membership, from.bare)) return true;
    if (from.bare === this.#account.domain) return false; // the server itself
    this.#counters.strangerStanzas += 1;
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

  #advance(input: MembershipInput): void {
    const { state, effects } = nextMembership(this.#membership, input);
    this.#membership = state;
    const { overlay } = this.#config;
    for (const effect of effects) {
      if (effect.kind === 'lost') {
        const { node: peer, reason } = effect;
        this.#log.info('peer lost', { peer, reason });
        this.#deps.port.publish('signal.peerLost', { overlay, peer, reason });
      } else {
        const { node: peer, name, account } = effect;
        this.#log.info('peer seen', { peer, name, account });
        this.#deps.port.publish('signal.peerSeen', { overlay, peer, name, account });
        this.#flush(peer);
      }
    }
  }

  #flush(peer: NodeId): void {
    const taken = takeMessages(this.#outbox, peer, this.#deps.clock.now());
    this.#outbox = taken.outbox;
    for (const message of taken.messages) this.sendMessage(peer, message);
  }

  #setState(state: SignalState, problem: Problem | null, retryInMs: number | null): void {
    this.#state = state;
    this.#problem = problem;
    const { overlay, host, port } = this.#config;
    const server = `${host}:${port}`;
    if (problem === null) this.#log.info('signalling changed', { state, server });
    else {
      const fields = { state, server, code: problem.code, error: problem.message };
      this.#log.warn('signalling changed', {
        ...fields,
        ...(retryInMs === null ? {} : { delayMs: retryInMs }),
      });
    }
    this.#deps.port.publish('signal.stateChanged', { overlay, state, problem, retryInMs });
  }

  #wait(ms: number): Promise<void> {
    const { signal } = this.#stopping;
    return new Promise((resolve) => {
      if (signal.aborted) resolve();
      const over = new AbortController();
      const end = (): void => {
        over.abort();
        resolve();
      };
      signal.addEventListener('abort', end, { once: true, signal: over.signal });
      this.#deps.clock.after(ms, signal, end);
    });
  }
}
