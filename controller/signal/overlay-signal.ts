/**
 * The signalling of one overlay: keeps a stream to its server, its members and their messages. Owns
 * the stream; what others say is judged by Members, what is said to them goes by Outgoing.
 */
import { every } from '../../base/clock.ts';
import { EvioError, messageOf, toEvioError } from '../../base/errors.ts';
import type { NodeId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type { Problem, SignalState } from '../events.ts';
import type { PeerMessage } from '../peer-messages.ts';
import { isRefusal, nextTry, noFailures } from './core/backoff.ts';
import { type Jid, parseJid } from './core/jid.ts';
import { readRoster, rosterQuery } from './core/roster.ts';
import type { Stanza } from './core/stanza.ts';
import { defaultPolicy, type OverlaySignalConfig, type SignalDeps } from './deps.ts';
import { Members, type SignalCounters } from './members.ts';
import { OfferedServices } from './offered-services.ts';
import { Outgoing } from './outgoing.ts';
import { answerRequest } from './server-requests.ts';
import { announcePresence, leavePresence } from './stanzas-out.ts';
import { keepAsking, problemNow } from './stream-health.ts';
import type { XmppStream } from './xmpp/contract.ts';
import { openStream } from './xmpp/stream.ts';

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
  readonly #members: Members;
  readonly #outgoing: Outgoing;
  readonly #services: OfferedServices;
  readonly #stopping = new AbortController();
  #state: SignalState = 'stopped';
  #problem: Problem | null = null;
  #stream: XmppStream | null = null;
  /** The same from login to end, whether or not its roster is there yet. */
  #opened: XmppStream | null = null;
  /** Aborts when the next try must not wait, and no try of before must go on. */
  #hurry = new AbortController();
  /** Ends with the stream: timers and late answers of an old one do nothing. */
  #session = new AbortController();
  #running: Promise<void> | null = null;
  /** Of our pods, to be announced. */
  #podRanges: readonly string[] | null = null;

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
    this.#members = new Members(config, account, deps, this.#log, (peer) =>
      this.#outgoing.flush(peer),
    );
    this.#outgoing = new Outgoing(config, deps, this.#log, this.#members, () => this.#stream);
    this.#services = new OfferedServices(
      deps.clock,
      this.#log,
      this.#policy.requestTimeoutMs,
      ({ stun, turn }) =>
        deps.port.publish('signal.serversOffered', { overlay: config.overlay, stun, turn }),
    );
  }

  start(): void {
    if (this.#running !== null) return;
    this.#running = this.#run();
    every(this.#deps.clock, this.#policy.judgeEveryMs, this.#stopping.signal, () => this.rejudge());
  }

  /** What the trust policy rests on has changed. */
  rejudge(): void {
    try {
      this.#members.rejudge();
    } catch (error) {
      this.#log.error('peers cannot be judged', { error: messageOf(error) });
    }
  }

  /** Leaves in order, within two seconds. Idempotent; publishes `stopped` last. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    this.#running = null;
  }

  /** By the server, in-band, or when its peer is reachable. */
  sendMessage(to: NodeId, message: PeerMessage): void {
    this.#outgoing.send(to, message);
  }

  /** No way in-band for the message of that number. */
  envelopeRefused(number: number): void {
    this.#outgoing.refused(number);
  }

  receiveInBand(from: NodeId, envelope: string): void {
    this.#members.receiveInBand(from, envelope);
  }

  /**
   * Addresses or routes of this host changed: a try or a wait of before is cut short, and a stream
   * whose connection is not what the kernel would make now is replaced at once.
   */
  networkChanged(): void {
    const stream = this.#opened;
    if (stream !== null) void this.#recheck(stream);
    else if (this.#state !== 'refused') this.#hurry.abort();
  }

  async #recheck(stream: XmppStream): Promise<void> {
    const problem = await problemNow(stream, this.#account.domain, this.#policy.hurriedPingMs);
    if (problem === null || this.#opened !== stream) return;
    this.#hurry.abort();
    stream.abandon(problem);
  }

  snapshot(): OverlaySnapshot {
    const { config, membership } = { config: this.#config, membership: this.#members.state };
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
      counters: { ...this.#members.counters, ignoredMembers: membership.overflow },
    };
  }

  /** Tries for ever: connect, serve until it ends, wait. Ends by `stop` only. */
  async #run(): Promise<void> {
    const { clock, random } = this.#deps;
    let backoff = noFailures;
    while (!this.#stopping.signal.aborted) {
      this.#hurry = new AbortController();
      this.#setState('connecting', this.#problem, null);
      let onlineAtMs: number | null = null;
      const error = await this.#serve(() => {
        onlineAtMs = clock.now();
      });
      if (this.#stopping.signal.aborted) break;
      const livedMs = onlineAtMs === null ? 0 : Math.max(1, clock.now() - onlineAtMs);
      const next = nextTry(backoff, error.code, livedMs, random(), this.#policy.backoff);
      const isHurried = this.#hurry.signal.aborted && !isRefusal(error.code);
      backoff = isHurried ? noFailures : next.backoff;
      const delayMs = isHurried ? 0 : next.delayMs;
      const state = isRefusal(error.code) ? 'refused' : 'offline';
      this.#setState(state, { code: error.code, message: error.message }, delayMs);
      await this.#wait(delayMs);
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
      this.#opened = stream;
      this.#stopping.signal.addEventListener('abort', () => this.#leave(opened, ended.resolve), {
        once: true,
        signal: session,
      });
      await this.#enter(opened);
      this.#setState('online', null, null);
      online();
      keepAsking(opened, this.#account.domain, this.#deps.clock, this.#policy, session);
      this.#services.discover(opened, session);
      return await ended.promise;
    } catch (error) {
      return toEvioError(error);
    } finally {
      this.#session.abort();
      this.#stream = null;
      this.#opened = null;
      await stream?.close();
      this.#members.advance({ kind: 'offline' });
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
      AbortSignal.any([this.#stopping.signal, this.#hurry.signal]),
    );
  }

  /** The roster first, then presence: without it nobody could be told from a stranger. */
  async #enter(stream: XmppStream): Promise<void> {
    const { rosterGroup } = this.#config;
    const answer = await this.#request(stream, rosterQuery, 'the roster');
    this.#stream = stream;
    const { full } = stream.address;
    this.#members.advance({ kind: 'online', jid: full, roster: readRoster(answer, rosterGroup) });
    this.#announce(stream);
    this.#deps.clock.after(this.#policy.settleMs, this.#session.signal, () =>
      this.#members.advance({ kind: 'settled' }),
    );
  }

  #announce(stream: XmppStream): void {
    const { overlay, nodeName, leaf, addresses } = this.#config;
    const { full } = stream.address;
    const text = this.#deps.authority.announce(overlay, full, nodeName, {
      leaf,
      addresses,
      podRanges: this.#podRanges,
    });
    stream.send(announcePresence(text));
  }

  /** Our pod ranges are these from now on: said at once when online, and at each login. */
  podsChanged(ranges: readonly string[] | null): void {
    this.#podRanges = ranges;
    if (this.#stream !== null) this.#announce(this.#stream);
  }

  async #request(stream: XmppStream, request: Stanza, what: string): Promise<Stanza> {
    try {
      return await stream.request(request, this.#policy.requestTimeoutMs);
    } catch (error) {
      if (error instanceof EvioError && error.code !== 'request.timeout') throw error;
      throw new EvioError('signal.disconnected', `${what}: ${messageOf(error)}`, { cause: error });
    }
  }

  #receive(stanza: Stanza): void {
    try {
      if (stanza.name === 'presence') this.#members.receivePresence(stanza);
      else if (stanza.name === 'message') this.#members.receiveMessage(stanza);
      else if (stanza.name === 'iq' && this.#stream !== null) {
        this.#receiveRequest(stanza, this.#stream);
      }
    } catch (error) {
      this.#log.error('stanza handler failed', { name: stanza.name, error: messageOf(error) });
    }
  }

  #receiveRequest(stanza: Stanza, stream: XmppStream): void {
    answerRequest(stanza, stream, this.#account, {
      members: this.#members,
      rosterGroup: this.#config.rosterGroup,
      onServicesChanged: () => this.#services.discover(stream, this.#session.signal),
    });
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
      for (const early of [signal, this.#hurry.signal]) {
        early.addEventListener('abort', end, { once: true, signal: over.signal });
      }
      this.#deps.clock.after(ms, over.signal, end);
    });
  }
}
