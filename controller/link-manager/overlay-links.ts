/**
 * The links of one overlay: tells its tunnel process what is wanted, turns its notifications into
 * events. Owns the wishes and which sessions stand; the process itself is TunnelProcess's, members
 * and messages in-band are OverlayRing's.
 */
import type { Clock } from '../../base/clock.ts';
import { EvioError } from '../../base/errors.ts';
import type { NodeId, OverlayId } from '../../base/ids.ts';
import type { LogFields, Logger } from '../../base/log.ts';
import type { NotificationMessage } from '../../tincan-bridge/client.ts';
import type { SessionDescription } from '../../tincan-bridge/protocol/description.ts';
import type {
  IceServers,
  Params,
  Result,
  TrustAnchors,
} from '../../tincan-bridge/protocol/schema.ts';
import type { Port } from '../bus.ts';
import type { DeviceSummary, PathKind, StunServer, TurnServer } from '../events.ts';
import type { PeerMessage } from '../peer-messages.ts';
import type { MembersInput } from './core/members.ts';
import { callTimeoutMs } from './core/timers.ts';
import { keepEarly, noWishes, takeEarly, unwant, type WishesState, want } from './core/wishes.ts';
import { OverlayRing } from './overlay-ring.ts';
import { type ProcessSnapshot, TunnelProcess } from './tunnel-process.ts';

/** What the operator configured for the links of one overlay. */
export interface LinksConfig {
  readonly overlay: OverlayId;
  readonly stun: readonly StunServer[];
  readonly turn: readonly TurnServer[];
  readonly ignoredInterfaces: readonly string[];
  /** Null: derived from the paths in use. */
  readonly mtu: number | null;
  /** This node carries what others send to others: false for a leaf. */
  readonly transit: boolean;
  /** What this node shows of itself in DTLS handshakes. */
  readonly credentials: Credentials;
  /** What a peer's certificate must stand in a handshake, as of now; null where peers are pinned. */
  readonly anchors: () => TrustAnchors | null;
}

/** Own certificate and key, PEM, for the DTLS handshakes of the tunnel process. */
export interface Credentials {
  readonly nodeId: NodeId;
  readonly certificate: string;
  readonly key: string;
}

export interface OverlayLinksDeps {
  readonly port: Port<'links'>;
  readonly log: Logger;
  readonly clock: Clock;
  readonly random: () => number;
  /** File for DTLS key logs in a laboratory, or null. */
  readonly keyLogFile: string | null;
  /** Keys of sessions are replaced after so long; null: the default. */
  readonly rekeyMs: number | null;
  readonly config: LinksConfig;
}

export class OverlayLinks {
  readonly #deps: OverlayLinksDeps;
  readonly #overlay: OverlayId;
  readonly #over = new AbortController();
  readonly #log: Logger;
  readonly #process: TunnelProcess;
  readonly #ring: OverlayRing;
  #wishes: WishesState = noWishes;
  #device: DeviceSummary | null = null;
  #offered: { readonly stun: readonly StunServer[]; readonly turn: readonly TurnServer[] } = {
    stun: [],
    turn: [],
  };
  /** Peers with a session and its kind of path; the end of the process ends each of them once. */
  readonly #up = new Map<NodeId, PathKind>();

  constructor(deps: OverlayLinksDeps) {
    const { port, clock, log, random, config } = deps;
    this.#deps = deps;
    this.#overlay = config.overlay;
    this.#log = log;
    this.#process = new TunnelProcess({
      port,
      clock,
      log,
      random,
      overlay: config.overlay,
      openParams: () => this.#openParams(),
      onOpened: () => this.#opened(),
      onNotification: (message) => this.#notified(message),
      onDown: () => {
        for (const peer of [...this.#up.keys()]) this.#linkDown(peer, 'the tunnel process ended');
      },
    });
    this.#ring = new OverlayRing({
      port,
      clock,
      log,
      overlay: config.overlay,
      over: this.#over.signal,
      process: this.#process,
    });
  }

  deviceReady(device: DeviceSummary): void {
    this.#device = device;
    this.#process.start();
  }

  serversOffered(stun: readonly StunServer[], turn: readonly TurnServer[]): void {
    this.#offered = { stun, turn };
    const { ignoredInterfaces } = this.#deps.config;
    this.#process.tell('setServers', {
      servers: this.#servers(),
      ignoredInterfaces: [...ignoredInterfaces],
    });
  }

  /** The tunnel process judges all sessions by the new anchors; signal says which peers are none. */
  trustChanged(): void {
    const trust = this.#deps.config.anchors();
    if (trust !== null) this.#process.tell('setTrust', { trust });
  }

  linkWanted(peer: NodeId): void {
    this.#wishes = want(this.#wishes, peer);
    if (this.#process.serves) this.#request(peer);
  }

  linkUnwanted(peer: NodeId, reason: string): void {
    if (!this.#wishes.wanted.has(peer)) return;
    this.#wishes = unwant(this.#wishes, peer);
    // The session may go on over the ring: the process says what becomes of it.
    this.#process.tell('disconnect', { peer, reason: reason.slice(0, 120) });
  }

  /** What signalling says about members, and what they say about themselves. */
  members(input: MembersInput): void {
    this.#ring.members(input);
  }

  sendInBand(to: NodeId, number: number, envelope: string): void {
    this.#ring.send(to, number, envelope);
  }

  described(peer: NodeId, description: SessionDescription): void {
    const ready = this.#process.serves && this.#wishes.wanted.has(peer);
    if (ready) this.#process.tell('describe', { peer, description });
    else this.#wishes = keepEarly(this.#wishes, peer, description, this.#deps.clock.now());
  }

  peerEnded(peer: NodeId, reason: string): void {
    if (this.#wishes.wanted.has(peer)) this.#process.tell('ended', { peer, reason });
  }

  /** Sessions and counters from the process; null when it does not serve. */
  status(): Promise<Result<'status'> | null> {
    return this.#process.ask('status', {});
  }

  /** The ring as the process sees it; null when it does not serve. */
  routes(): Promise<Result<'routes'> | null> {
    return this.#process.ask('routes', {});
  }

  /** One overlay ping. Throws `bridge.failed` when the process does not serve. */
  async ping(peer: NodeId, timeoutMs: number): Promise<Result<'ping'>> {
    const asked = this.#process.call('ping', { peer, timeoutMs }, timeoutMs + callTimeoutMs);
    if (asked !== null) return asked;
    throw new EvioError('bridge.failed', `the tunnel process of ${this.#overlay} does not serve`);
  }

  snapshot(): ProcessSnapshot {
    return this.#process.snapshot();
  }

  /** Ends all sessions in order, then the process. */
  async stop(): Promise<void> {
    this.#over.abort();
    await this.#process.stop();
  }

  #openParams(): Params<'open'> | null {
    const { config, keyLogFile, rekeyMs } = this.#deps;
    if (this.#device === null) return null;
    return {
      overlay: this.#overlay,
      ...config.credentials,
      trust: config.anchors(),
      tap: this.#device.tap,
      transit: config.transit,
      offload: this.#device.offload,
      servers: this.#servers(),
      ignoredInterfaces: [...config.ignoredInterfaces],
      mtu: config.mtu,
      keyLogFile,
      ...(rekeyMs === null ? {} : { rekey: { afterMs: rekeyMs, afterBytes: 2 ** 36 } }),
    };
  }

  #opened(): void {
    this.trustChanged(); // it may have, while the process was opening
    this.#ring.opened();
    for (const peer of this.#wishes.wanted) this.#request(peer);
  }

  /** Tells the process that a link is wanted, and what the peer has said about it already. */
  #request(peer: NodeId): void {
    this.#process.tell('connect', { peer });
    const early = takeEarly(this.#wishes, peer, this.#deps.clock.now());
    this.#wishes = early.state;
    if (early.description !== null) {
      this.#process.tell('describe', { peer, description: early.description });
    }
  }

  #servers(): IceServers {
    const { config } = this.#deps;
    return {
      stun: [...config.stun, ...this.#offered.stun].slice(0, 16),
      turn: [...config.turn, ...this.#offered.turn]
        .slice(0, 16)
        .map((server) => ({ ...server, password: server.password.reveal() })),
    };
  }

  #notified(message: NotificationMessage): void {
    const { port } = this.#deps;
    const overlay = this.#overlay;
    switch (message.notification) {
      case 'ready':
        return;
      case 'description':
        this.#send(message.body.peer, {
          kind: 'describe',
          description: message.body.description,
        });
        return;
      case 'sessionUp': {
        const { peer, path, setUpMs } = message.body;
        this.#up.set(peer, path.kind);
        this.#ring.members({ kind: 'session-up', peer });
        const fields = { peer, path: path.kind, durationMs: Math.round(setUpMs) };
        // Those over the ring come and go with traffic: no news for an operator.
        if (path.kind === 'ring') this.#log.debug('session over the ring', fields);
        else this.#log.info('link up', fields);
        port.publish('links.linkUp', { overlay, peer, path, setUpMs });
        return;
      }
      case 'pathChanged': {
        const { peer, path } = message.body;
        const isNextHop = path.kind === 'ring' && this.#up.get(peer) === 'ring';
        if (this.#up.has(peer)) this.#up.set(peer, path.kind);
        this.#log[isNextHop ? 'debug' : 'info']('path changed', { peer, path: path.kind });
        port.publish('links.pathChanged', { overlay, peer, path });
        return;
      }
      case 'sessionDown':
        this.#linkDown(message.body.peer, message.body.reason);
        return;
      case 'message': {
        const { peer: from, body: envelope } = message.body;
        port.publish('links.envelopeReceived', { overlay, from, envelope });
        return;
      }
      case 'networkChanged':
        port.publish('links.networkChanged', { overlay });
        return;
      case 'mtuChanged':
        port.publish('links.mtuChanged', { overlay, mtu: message.body.mtu });
        return;
      case 'log':
        this.#relayLog(message.body);
        return;
    }
  }

  #relayLog(body: Extract<NotificationMessage, { notification: 'log' }>['body']): void {
    const fields: LogFields = body.fields;
    this.#log[body.level](body.message, fields);
  }

  #send(to: NodeId, message: PeerMessage): void {
    this.#deps.port.publish('links.messageReady', { overlay: this.#overlay, to, message });
  }

  #linkDown(peer: NodeId, reason: string): void {
    const kind = this.#up.get(peer);
    if (!this.#up.delete(peer)) return;
    this.#ring.members({ kind: 'session-down', peer });
    if (kind === 'ring') this.#log.debug('session over the ring ended', { peer, reason });
    else this.#log.info('link down', { peer, reason });
    this.#deps.port.publish('links.linkDown', { overlay: this.#overlay, peer, reason });
  }
}
