/**
 * One tunnel: the datapath of one TAP, the sessions over it and the switch between them, and what the
 * controller may ask of them. Owns their construction and their end; decides nothing itself.
 */
import { type Clock, every } from '../base/clock.ts';
import { EvioError } from '../base/errors.ts';
import type { NodeId, OverlayId } from '../base/ids.ts';
import { Lifecycle } from '../base/lifecycle.ts';
import type { Logger } from '../base/log.ts';
import type { Datapath, DatapathOptions, Upcall } from './datapath/datapath.ts';
import type { Handshake, HandshakeOptions } from './datapath/handshake.ts';
import { DeviceMtu } from './device-mtu.ts';
import { Switch } from './fabric/switch.ts';
import { DatagramRouter } from './ice/router.ts';
import { appendKeyLog } from './key-log.ts';
import type { HostStations } from './network/host-stations.ts';
import { type KernelEvents, watchNetwork } from './network/watch.ts';
import type { Params, Result, TrustAnchors } from './protocol/schema.ts';
import type { BridgeServer } from './server.ts';
import { noPath } from './session/associations.ts';
import { defaultRekeyRules } from './session/core/session-state.ts';
import { ringKeepMs } from './session/core/timers.ts';
import { type PeerTrust, peerProblem, readTrust } from './session/peer-certificate.ts';
import { PeerSession } from './session/peer-session.ts';
import type { SessionDeps, SessionEvents } from './session/session-contract.ts';
import { SessionBook } from './session-book.ts';
import { UpcallRouter } from './upcall-router.ts';

/** Stations that `status` lists. */
const maxListed = 1_024;
/** Transitions that `status` tells of all sessions together, and of one at least and at most. */
const maxTold = { all: 2_000, least: 4, most: 64 } as const;

/** How often sessions that nobody needs any more are looked for. */
const sweepMs = 5_000;
/** Messages to peers that wait for an answer. */
const maxMessages = 64;

export interface TunnelDeps {
  readonly createDatapath: (options: DatapathOptions) => Datapath;
  readonly createHandshake: (options: HandshakeOptions) => Handshake;
  /** This machine has no instructions for AES. */
  readonly preferChaCha: boolean;
  /** Network changes; without it (tests in one process) none are noticed. */
  readonly kernelEvents?: KernelEvents;
  /** What the kernel's bridge knows of a TAP's host side; without it idle times decide. */
  readonly hostStations?: (tap: string) => HostStations;
  readonly clock: Clock;
  readonly log: Logger;
  readonly notify: BridgeServer['notify'];
  /** Loopback addresses are candidates: tests only. */
  readonly loopback: boolean;
}

type Settings = Pick<Params<'open'>, 'servers' | 'ignoredInterfaces'>;
type Nothing = Result<'echo'>;

export class Tunnel {
  readonly #deps: TunnelDeps;
  readonly #log: Logger;
  readonly #life = new AbortController();
  readonly #parts: Lifecycle;
  readonly #router = new DatagramRouter();
  readonly #datapath: Datapath;
  readonly #switch: Switch;
  readonly #book: SessionBook;
  readonly #upcalls: UpcallRouter;
  readonly #sessionDeps: SessionDeps;
  readonly #overlay: OverlayId;
  readonly #mtu: DeviceMtu;
  #settings: Settings;
  #trust: PeerTrust | null;

  constructor(deps: TunnelDeps, params: Params<'open'>) {
    const { nodeId, certificate, tap, servers, ignoredInterfaces, offload } = params;
    // Not by the CA: an own certificate that has expired is for the controller to report.
    const problem = peerProblem(Buffer.from(certificate), nodeId, null, deps.clock.wallNow());
    if (problem !== null) throw new EvioError('identity.mismatch', `own certificate: ${problem}`);
    this.#deps = deps;
    this.#log = deps.log.child('bridge', { overlay: params.overlay });
    this.#parts = new Lifecycle(this.#log);
    this.#settings = { servers, ignoredInterfaces };
    this.#overlay = params.overlay;
    this.#trust = readTrust(params.overlay, params.trust);
    const onUpcalls = (upcalls: readonly Upcall[]): void => this.#upcalls.answer(upcalls);
    this.#datapath = deps.createDatapath({ tap, offload, nodeId, onUpcalls });
    this.#parts.add('datapath', 1_000, () => this.#datapath.close());
    this.#book = new SessionBook({
      clock: deps.clock,
      log: this.#log,
      me: nodeId,
      isMember: (node) => this.#switch.ring.isMember(node),
      create: (peer, wanted) =>
        new PeerSession(peer, wanted, this.#sessionDeps, this.#eventsOf(peer)),
    });
    this.#switch = new Switch({
      datapath: this.#datapath,
      clock: deps.clock,
      signal: this.#life.signal,
      self: nodeId,
      transit: params.transit,
      log: this.#log,
      ...(deps.hostStations === undefined ? {} : { hostStations: deps.hostStations(tap) }),
      onNeeded: (node) => this.#book.overRing(node)?.need(),
      onNarrow: () => this.#mtu.look(),
      onWaysChanged: () => {
        for (const session of this.#book.all) session.waysChanged();
      },
      onTraced: ({ origin, number, hops }) => {
        this.#book.get(origin)?.answerTrace(number, hops);
      },
      admits: () => this.#book.admitsHandshake(),
    });
    this.#upcalls = new UpcallRouter({
      me: nodeId,
      log: this.#log,
      router: this.#router,
      switch: this.#switch,
      book: this.#book,
    });
    this.#mtu = new DeviceMtu(params.mtu, {
      clock: deps.clock,
      signal: this.#life.signal,
      maxFrames: () => this.#switch.maxFrames(),
      onChanged: (mtu) => deps.notify('mtuChanged', { mtu }),
    });
    this.#parts.add('timers', 100, () => this.#life.abort());
    this.#parts.add('sessions', 1_000, () => this.#book.close('the tunnel is closed'));
    this.#sessionDeps = this.#depsOf(params);
    if (deps.kernelEvents !== undefined) this.#watch(deps.kernelEvents);
    every(deps.clock, sweepMs, this.#life.signal, () => this.#book.sweep());
    this.#log.info('tunnel open', { device: tap, nodeId, mtu: this.#mtu.mtu });
  }

  /** What all sessions are given. */
  #depsOf(params: Params<'open'>): SessionDeps {
    const deps = this.#deps;
    return {
      me: params.nodeId,
      certificate: params.certificate,
      key: params.key,
      datapath: this.#datapath,
      ring: this.#switch.ring,
      router: this.#router,
      clock: deps.clock,
      log: this.#log,
      createHandshake: deps.createHandshake,
      preferChaCha: deps.preferChaCha,
      settings: () => this.#settings,
      trust: () => this.#trust,
      nextNumber: () => this.#upcalls.nextNumber(),
      rekey: params.rekey ?? defaultRekeyRules,
      loopback: deps.loopback,
      keyLog: (line) => appendKeyLog(params.keyLogFile, line, this.#log),
    };
  }

  get mtu(): number {
    return this.#mtu.mtu;
  }

  setServers(settings: Settings): Nothing {
    this.#settings = settings;
    return {};
  }

  setTrust(anchors: TrustAnchors | null): Nothing {
    this.#trust = readTrust(this.#overlay, anchors);
    for (const session of this.#book.all) session.trustChanged();
    return {};
  }

  connect(peer: NodeId): Nothing {
    this.#book.wanted(peer).connect();
    return {};
  }

  /**
   * What is on its way from a member still arrives; then its session ends, unless frames flowed and
   * the ring carries it on. Who is no member (any more) gets nothing from now on.
   */
  disconnect(peer: NodeId, reason: string): Nothing {
    const session = this.#book.get(peer);
    if (session?.isWanted !== true) return {};
    const used = session.payloadBytes > 0 && session.payloadAgoMs() < ringKeepMs;
    if (this.#switch.ring.isMember(peer)) session.release(reason, used);
    else this.#book.end(peer, reason);
    return {};
  }

  setMembers(params: Params<'setMembers'>): Nothing {
    const { ring } = this.#switch;
    this.#switch.setMembers(params);
    for (const { peer, isWanted } of this.#book.all) {
      if (!isWanted && !ring.isMember(peer)) this.#book.end(peer, 'it is no member any more');
    }
    const gone = new Set(params.away);
    for (const session of this.#book.all) session.setAway(gone.has(session.peer));
    return {};
  }

  async sendMessage(peer: NodeId, body: string): Promise<Result<'sendMessage'>> {
    let waiting = 0;
    for (const session of this.#book.all) waiting += session.waitingMessages;
    const session = waiting < maxMessages ? this.#book.overRing(peer) : null;
    return { sent: session !== null && (await session.sendMessage(body)) };
  }

  async ping(peer: NodeId, timeoutMs: number): Promise<Result<'ping'>> {
    const session = this.#book.overRing(peer);
    if (session === null) return { rttMs: null, path: noPath, hops: [] };
    const { rttMs, path, hops } = await session.ping(timeoutMs);
    return {
      rttMs: rttMs === null ? null : Math.round(rttMs * 1_000) / 1_000,
      path,
      hops: [...hops],
    };
  }

  traffic(): Result<'traffic'> {
    return { peers: this.#book.all.map(({ peer, payloadBytes: bytes }) => ({ peer, bytes })) };
  }

  routes(): Result<'routes'> {
    return this.#switch.ring.routes();
  }

  describe({ peer, description }: Params<'describe'>): Nothing {
    this.#known(peer).describe(description);
    return {};
  }

  ended(peer: NodeId, reason: string): Nothing {
    this.#known(peer).ended(reason);
    return {};
  }

  status(): Result<'status'> {
    const { all, least, most } = maxTold;
    const sessions = this.#book.all;
    const told = Math.min(most, Math.max(least, Math.floor(all / sessions.length)));
    return {
      mtu: this.mtu,
      sessions: sessions.map((session) => session.status(told)),
      counters: {
        ...this.#datapath.counters(),
        ...this.#switch.counters(),
        ...this.#upcalls.counts,
        ...this.#book.counts,
        associations: this.#upcalls.associations,
        ringSessions: sessions.filter(({ isWanted }) => !isWanted).length,
        rekeys: sessions.reduce((sum, { rekeys }) => sum + rekeys, 0),
        refusedMessages: sessions.reduce((sum, { refusedMessages: n }) => sum + n, 0),
        sockets: this.#router.size,
        unclaimedDatagrams: this.#router.unclaimed,
        refusedChecks: this.#router.refusedChecks,
      },
      stations: [...this.#switch.stations(maxListed)],
    };
  }

  stop(): Promise<void> {
    return this.#parts.stop();
  }

  #watch(kernelEvents: KernelEvents): void {
    watchNetwork({
      clock: this.#deps.clock,
      log: this.#log,
      signal: this.#life.signal,
      kernelEvents,
      ignoredInterfaces: () => this.#settings.ignoredInterfaces,
      onChanged: () => {
        this.#log.info('the network of this host changed', { count: this.#book.all.length });
        // First: the signalling has to know before it is given descriptions to carry.
        this.#deps.notify('networkChanged', {});
        for (const session of this.#book.all) session.networkChanged();
      },
    });
  }

  #known(peer: NodeId): PeerSession {
    const session = this.#book.get(peer);
    if (session?.isWanted === true) return session;
    throw new EvioError('bridge.unknown-peer', `no session with ${peer} is wanted`);
  }

  #eventsOf(peer: NodeId): SessionEvents {
    const { notify } = this.#deps;
    return {
      onDescription: (description) => notify('description', { peer, description }),
      onInstalled: (number) => {
        const session = this.#book.get(peer);
        if (session !== undefined) this.#upcalls.installed(number, session);
      },
      onUsed: (number, maxFrameBytes, settled) => {
        this.#switch.used(number, peer, maxFrameBytes, settled);
        this.#mtu.look();
      },
      onRemoved: (number) => {
        this.#upcalls.removed(number);
        this.#switch.removed(number);
        this.#mtu.look();
      },
      onUp: (path, setUpMs) => notify('sessionUp', { peer, path, setUpMs }),
      onPathChanged: (path) => notify('pathChanged', { peer, path }),
      onDown: (reason) => notify('sessionDown', { peer, reason: reason.slice(0, 300) }),
      onLink: (up) => {
        if (up) this.#switch.ring.linkUp(peer);
        else this.#switch.ring.linkDown(peer);
      },
      onMessage: (body) => notify('message', { peer, body }),
      onUnused: (reason) => this.#book.end(peer, reason),
    };
  }
}
