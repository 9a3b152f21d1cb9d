/**
 * One tunnel: the datapath of one TAP, the sessions over it and the switch between them, behind the
 * handlers of the bridge protocol. Owns their construction and their end; decides nothing itself.
 */
import { appendFileSync } from 'node:fs';
import { type Clock, every } from '../base/clock.ts';
import { EvioError, messageOf } from '../base/errors.ts';
import type { NodeId, OverlayId } from '../base/ids.ts';
import { Lifecycle } from '../base/lifecycle.ts';
import type { Logger } from '../base/log.ts';
import type { Datapath, DatapathOptions, SessionNumber, Upcall } from './datapath/datapath.ts';
import type { Handshake, HandshakeOptions } from './datapath/handshake.ts';
import type { EnvelopeUpcall } from './fabric/ring.ts';
import { Switch } from './fabric/switch.ts';
import { DatagramRouter } from './ice/router.ts';
import type { HostStations } from './network/host-stations.ts';
import { type KernelEvents, watchNetwork } from './network/watch.ts';
import type { Handlers, Params, Result, TrustAnchors } from './protocol/schema.ts';
import type { BridgeServer } from './server.ts';
import { noPath } from './session/associations.ts';
import { initialMtu, type MtuState, nextMtu } from './session/core/mtu.ts';
import { decodeRingSetup } from './session/core/ring-setup.ts';
import { defaultRekeyRules } from './session/core/session-state.ts';
import { ringKeepMs } from './session/core/timers.ts';
import { type PeerTrust, peerProblem, readTrust } from './session/peer-certificate.ts';
import { PeerSession } from './session/peer-session.ts';
import type { SessionDeps, SessionEvents } from './session/session-contract.ts';
import { SessionBook } from './session-book.ts';

/** Stations that `status` lists. */
const maxListed = 1_024;
/** Transitions that `status` tells of all sessions together, and of one at least and at most. */
const maxTold = { all: 2_000, least: 4, most: 64 } as const;

/** How often sessions that nobody needs any more are looked for. */
const sweepMs = 5_000;
/** Messages to peers that wait for an answer. */
const maxMessages = 64;
/** Content type of a record (RFC 6347 section 4.1). */
const applicationData = 23;

export interface BridgeDeps {
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
  /** `close` was called: everything is ended, the answer is on its way. */
  readonly onClosed: () => void;
}

export interface Bridge {
  readonly handlers: Handlers;
  /** Ends everything, in order. Idempotent. */
  stop(): Promise<void>;
}

/** A bridge that has nothing open yet: `open` must be the first call. */
export function createBridge(deps: BridgeDeps): Bridge {
  let tunnel: Tunnel | null = null;
  const opened = (): Tunnel => {
    if (tunnel === null) throw new EvioError('request.invalid', 'open must be the first call');
    return tunnel;
  };
  const stop = async (): Promise<void> => tunnel?.stop();
  const handlers: Handlers = {
    open: async (params) => {
      if (tunnel !== null) throw new EvioError('request.invalid', 'the tunnel is open already');
      tunnel = new Tunnel(deps, params);
      return { mtu: tunnel.mtu };
    },
    setServers: async (params) => opened().setServers(params),
    setTrust: async ({ trust }) => opened().setTrust(trust),
    connect: async ({ peer }) => opened().connect(peer),
    disconnect: async ({ peer, reason }) => opened().disconnect(peer, reason),
    describe: async (params) => opened().describe(params),
    ended: async ({ peer, reason }) => opened().ended(peer, reason),
    setMembers: async (params) => opened().setMembers(params),
    sendMessage: async ({ peer, body }) => opened().sendMessage(peer, body),
    traffic: async () => opened().traffic(),
    routes: async () => opened().routes(),
    ping: async ({ peer, timeoutMs }) => opened().ping(peer, timeoutMs),
    status: async () => opened().status(),
    echo: async () => ({}),
    close: async () => {
      await stop();
      deps.onClosed();
      return {};
    },
  };
  return { handlers, stop };
}

/** Kinds of control payloads below are the session's own. */
const firstRingKind = 16;
type MessageUpcall = Extract<Upcall, { readonly kind: 'message' }>;
type Settings = Pick<Params<'open'>, 'servers' | 'ignoredInterfaces'>;
type Nothing = Result<'echo'>;

class Tunnel {
  readonly #deps: BridgeDeps;
  readonly #log: Logger;
  readonly #life = new AbortController();
  readonly #parts: Lifecycle;
  readonly #router = new DatagramRouter();
  readonly #datapath: Datapath;
  readonly #switch: Switch;
  readonly #book: SessionBook;
  readonly #byNumber = new Map<SessionNumber, PeerSession>();
  readonly #sessionDeps: SessionDeps;
  readonly #counts = {
    upcallErrors: 0,
    lateControls: 0,
    lateFloods: 0,
    envelopesUnreadable: 0,
  };
  readonly #overlay: OverlayId;
  #settings: Settings;
  #trust: PeerTrust | null;
  #mtu: MtuState;
  #nextNumber = 0;

  constructor(deps: BridgeDeps, params: Params<'open'>) {
    const { nodeId, certificate, key, tap, keyLogFile, servers, ignoredInterfaces, offload } =
      params;
    // Not by the CA: an own certificate that has expired is for the controller to report.
    const problem = peerProblem(Buffer.from(certificate), nodeId, null, deps.clock.wallNow());
    if (problem !== null) throw new EvioError('identity.mismatch', `own certificate: ${problem}`);
    this.#deps = deps;
    this.#log = deps.log.child('bridge', { overlay: params.overlay });
    this.#parts = new Lifecycle(this.#log);
    this.#settings = { servers, ignoredInterfaces };
    this.#overlay = params.overlay;
    this.#trust = readAnchors(params.overlay, params.trust);
    this.#mtu = initialMtu(params.mtu);
    const onUpcalls = (upcalls: readonly Upcall[]): void => this.#answer(upcalls);
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
      onNarrow: () => this.#lookAtMtu(),
      onWaysChanged: () => {
        for (const session of this.#book.all) session.waysChanged();
      },
      onTraced: ({ origin, number, hops }) => {
        this.#book.get(origin)?.answerTrace(number, hops);
      },
      admits: () => this.#book.admitsHandshake(),
    });
    this.#parts.add('timers', 100, () => this.#life.abort());
    this.#parts.add('sessions', 1_000, () => this.#book.close('the tunnel is closed'));
    this.#sessionDeps = {
      me: nodeId,
      certificate,
      key,
      datapath: this.#datapath,
      ring: this.#switch.ring,
      router: this.#router,
      clock: deps.clock,
      log: this.#log,
      createHandshake: deps.createHandshake,
      preferChaCha: deps.preferChaCha,
      settings: () => this.#settings,
      trust: () => this.#trust,
      nextNumber: () => this.#number(),
      rekey: params.rekey ?? defaultRekeyRules,
      loopback: deps.loopback,
      keyLog: (line) => this.#keyLog(keyLogFile, line),
    };
    if (deps.kernelEvents !== undefined) this.#watch(deps.kernelEvents);
    every(deps.clock, sweepMs, this.#life.signal, () => this.#book.sweep());
    this.#log.info('tunnel open', { device: tap, nodeId, mtu: this.#mtu.mtu });
  }

  get mtu(): number {
    return this.#mtu.mtu;
  }

  setServers(settings: Settings): Nothing {
    this.#settings = settings;
    return {};
  }

  setTrust(anchors: TrustAnchors | null): Nothing {
    this.#trust = readAnchors(this.#overlay, anchors);
    for (const session of this.#book.all) session.trustChanged();
    return {};
  }

  connect(peer: NodeId): Nothing {
    this.#book.wanted(peer).connect();
    return {};
  }

  /** What is on its way still arrives; then it ends, unless frames flowed and the ring carries it on. */
  disconnect(peer: NodeId, reason: string): Nothing {
    const session = this.#book.get(peer);
    if (session?.isWanted !== true) return {};
    const used = session.payloadBytes > 0 && session.payloadAgoMs() < ringKeepMs;
    session.release(reason, used && this.#switch.ring.isMember(peer));
    return {};
  }

  setMembers({ members, leaves }: Params<'setMembers'>): Nothing {
    const { ring } = this.#switch;
    ring.setMembers(members, leaves);
    for (const { peer, isWanted } of this.#book.all) {
      if (!isWanted && !ring.isMember(peer)) this.#book.end(peer, 'it is no member any more');
    }
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
        ...this.#counts,
        ...this.#book.counts,
        associations: this.#byNumber.size,
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

  /** Numbers of sessions are not reused: a late upcall must not meet another session. */
  #number(): SessionNumber {
    this.#nextNumber = (this.#nextNumber % 0x7fff_ffff) + 1;
    return this.#nextNumber;
  }

  #eventsOf(peer: NodeId): SessionEvents {
    const { notify } = this.#deps;
    return {
      onDescription: (description) => notify('description', { peer, description }),
      onInstalled: (number) => {
        const session = this.#book.get(peer);
        if (session !== undefined) this.#byNumber.set(number, session);
      },
      onUsed: (number, maxFrameBytes, settled) => {
        this.#switch.used(number, peer, maxFrameBytes, settled);
        this.#lookAtMtu();
      },
      onRemoved: (number) => {
        this.#byNumber.delete(number);
        this.#switch.removed(number);
        this.#lookAtMtu();
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

  #lookAtMtu(): void {
    const { clock, notify } = this.#deps;
    const { state, effects } = nextMtu(this.#mtu, this.#switch.maxFrames(), clock.now());
    this.#mtu = state;
    for (const effect of effects) {
      if (effect.kind === 'changed') notify('mtuChanged', { mtu: effect.mtu });
      else {
        const waitMs = Math.max(1, effect.atMs - clock.now());
        clock.after(waitMs, this.#life.signal, () => this.#lookAtMtu());
      }
    }
  }

  #answer(upcalls: readonly Upcall[]): void {
    for (const upcall of upcalls) {
      try {
        this.#answerOne(upcall);
      } catch (error) {
        this.#counts.upcallErrors += 1;
        // Counted, and logged at most for each power of two: a peer may cause it at will.
        const count = this.#counts.upcallErrors;
        if ((count & (count - 1)) === 0) {
          this.#log.error('upcall failed', { event: upcall.kind, error: messageOf(error), count });
        }
      }
    }
  }

  #answerOne(upcall: Upcall): void {
    switch (upcall.kind) {
      case 'datagram':
        this.#router.route(upcall.socket, upcall.from, upcall.bytes);
        return;
      case 'frame-in':
        // First: a session that waits to be heard is up from now on, and the frame teaches.
        this.#byNumber.get(upcall.session)?.heard(upcall.session);
        this.#switch.upcall(upcall);
        return;
      case 'frame-out':
        this.#switch.upcall(upcall);
        return;
      case 'message': {
        this.#message(upcall);
        return;
      }
      case 'envelope':
        this.#envelope(upcall);
    }
  }

  #message({ session: number, type, bytes, checksumUndone }: MessageUpcall): void {
    const session = this.#byNumber.get(number);
    if (session === undefined) {
      if (type === 'flood') this.#counts.lateFloods += 1;
      else this.#counts.lateControls += 1;
    } else if (type === 'flood') this.#switch.ring.flood(session.peer, bytes, checksumUndone);
    else if ((bytes[0] ?? 0) < firstRingKind) session.control(number, bytes);
    else this.#switch.ring.control(session.peer, bytes);
  }

  #envelope(upcall: EnvelopeUpcall): void {
    const from = this.#byNumber.get(upcall.session);
    if (from === undefined) {
      this.#counts.envelopesUnreadable += 1;
      return;
    }
    if (upcall.destination !== this.#sessionDeps.me) {
      this.#switch.ring.forward(from.peer, upcall);
      return;
    }
    const { source, bytes } = upcall;
    const setup = decodeRingSetup(bytes);
    const isRecord = bytes[0] === applicationData;
    const session = setup !== null || isRecord ? this.#book.overRing(source) : null;
    if (session === null) this.#counts.envelopesUnreadable += 1;
    else if (setup !== null) {
      if (!session.isUp) this.#switch.ring.hint(source, from.peer);
      session.ringDatagram(setup);
    }
    // The source has keys that we do not have (any more): new ones are made.
    else if (!session.isUp) session.need();
  }

  #keyLog(file: string | null, line: string): void {
    if (file === null) return;
    try {
      appendFileSync(file, `${line}\n`, { mode: 0o600 });
    } catch (error) {
      this.#log.warn('key log cannot be written', { file, error: messageOf(error) });
    }
  }
}

function readAnchors(overlay: OverlayId, anchors: TrustAnchors | null): PeerTrust | null {
  try {
    return readTrust(overlay, anchors);
  } catch (error) {
    throw new EvioError('request.invalid', `trust.ca: ${messageOf(error)}`, { cause: error });
  }
}
