/**
 * One tunnel: the datapath of one TAP, the sessions over it and the switch between them, behind the
 * handlers of the bridge protocol. Owns their construction and their end; decides nothing itself.
 */
import { appendFileSync } from 'node:fs';
import type { Clock } from '../base/clock.ts';
import { EvioError, messageOf } from '../base/errors.ts';
import type { NodeId, OverlayId } from '../base/ids.ts';
import { Lifecycle } from '../base/lifecycle.ts';
import type { Logger } from '../base/log.ts';
import type { Datapath, DatapathOptions, SessionNumber, Upcall } from './datapath/datapath.ts';
import type { Handshake, HandshakeOptions } from './datapath/handshake.ts';
import { Switch } from './fabric/switch.ts';
import { DatagramRouter } from './ice/router.ts';
import { type KernelEvents, watchNetwork } from './network/watch.ts';
import type { Handlers, Params, Result, TrustAnchors } from './protocol/schema.ts';
import type { BridgeServer } from './server.ts';
import { initialMtu, type MtuState, nextMtu } from './session/core/mtu.ts';
import { defaultRekeyRules } from './session/core/session-state.ts';
import { type PeerTrust, peerProblem, readTrust } from './session/peer-certificate.ts';
import { PeerSession, type SessionDeps, type SessionEvents } from './session/peer-session.ts';

/** Sessions of one tunnel: a full mesh of the largest overlay that the fabric floods. */
const maxSessions = 4_096;
/** Stations that `status` lists. */
const maxListed = 1_024;

export interface BridgeDeps {
  readonly createDatapath: (options: DatapathOptions) => Datapath;
  readonly createHandshake: (options: HandshakeOptions) => Handshake;
  /** This machine has no instructions for AES. */
  readonly preferChaCha: boolean;
  /** Network changes; without it (tests in one process) none are noticed. */
  readonly kernelEvents?: KernelEvents;
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
  readonly #sessions = new Map<NodeId, PeerSession>();
  readonly #byNumber = new Map<SessionNumber, PeerSession>();
  readonly #sessionDeps: SessionDeps;
  readonly #counts = { upcallErrors: 0, droppedFloods: 0, droppedEnvelopes: 0, lateControls: 0 };
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
    this.#switch = new Switch(this.#datapath, deps.clock, this.#life.signal);
    this.#parts.add('timers', 100, () => this.#life.abort());
    this.#parts.add('sessions', 1_000, () => this.#endSessions());
    this.#sessionDeps = {
      me: nodeId,
      certificate,
      key,
      datapath: this.#datapath,
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
    for (const session of this.#sessions.values()) session.trustChanged();
    return {};
  }

  connect(peer: NodeId): Nothing {
    const known = this.#sessions.get(peer);
    if (known === undefined && this.#sessions.size >= maxSessions) {
      throw new EvioError('request.invalid', `${maxSessions} sessions are wanted already`);
    }
    if (peer === this.#sessionDeps.me) throw new EvioError('request.invalid', 'peer is this node');
    const session = known ?? new PeerSession(peer, this.#sessionDeps, this.#eventsOf(peer));
    this.#sessions.set(peer, session);
    session.connect();
    return {};
  }

  async disconnect(peer: NodeId, reason: string): Promise<Nothing> {
    const session = this.#sessions.get(peer);
    this.#sessions.delete(peer);
    await session?.close(reason);
    return {};
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
    return {
      mtu: this.mtu,
      sessions: [...this.#sessions.values()].map((session) => session.status()),
      counters: {
        ...this.#datapath.counters(),
        ...this.#switch.counters(),
        ...this.#counts,
        associations: this.#byNumber.size,
        rekeys: [...this.#sessions.values()].reduce((sum, { rekeys }) => sum + rekeys, 0),
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
        this.#log.info('the network of this host changed', { count: this.#sessions.size });
        // First: the signalling has to know before it is given descriptions to carry.
        this.#deps.notify('networkChanged', {});
        for (const session of this.#sessions.values()) session.networkChanged();
      },
    });
  }

  #known(peer: NodeId): PeerSession {
    const session = this.#sessions.get(peer);
    if (session !== undefined) return session;
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
        const session = this.#sessions.get(peer);
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
      case 'frame-out':
        this.#switch.upcall(upcall);
        return;
      case 'message': {
        if (upcall.type === 'flood') {
          this.#counts.droppedFloods += 1;
          return;
        }
        const session = this.#byNumber.get(upcall.session);
        if (session === undefined) this.#counts.lateControls += 1;
        else session.control(upcall.session, upcall.bytes);
        return;
      }
      case 'envelope':
        this.#counts.droppedEnvelopes += 1;
    }
  }

  async #endSessions(): Promise<void> {
    const sessions = [...this.#sessions.values()];
    this.#sessions.clear();
    await Promise.all(sessions.map((session) => session.close('the tunnel is closed')));
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
