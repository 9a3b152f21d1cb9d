/**
 * The links of one overlay: keeps a tunnel process running, tells it what is wanted, turns its
 * notifications into events. Owns the wishes and the process; decides by `core/`.
 */
import type { Clock } from '../../base/clock.ts';
import { every } from '../../base/clock.ts';
import { messageOf, toEvioError } from '../../base/errors.ts';
import type { NodeId, OverlayId } from '../../base/ids.ts';
import { withDeadline } from '../../base/lifecycle.ts';
import type { LogFields, Logger } from '../../base/log.ts';
import type { NotificationMessage } from '../../tincan-bridge/client.ts';
import type { SessionDescription } from '../../tincan-bridge/protocol/description.ts';
import type {
  IceServers,
  Method,
  Params,
  Result,
  TrustAnchors,
} from '../../tincan-bridge/protocol/schema.ts';
import type { Port } from '../bus.ts';
import type { DeviceSummary, Problem, StunServer, TurnServer } from '../events.ts';
import type { PeerMessage } from '../peer-messages.ts';
import { type BridgeProcess, spawnBridge } from './bridge-process.ts';
import {
  nextSupervision,
  type SupervisionEffect,
  type SupervisionInput,
  type SupervisionState,
} from './core/supervision.ts';
import {
  callTimeoutMs,
  closeTimeoutMs,
  echoPeriodMs,
  echoTimeoutMs,
  openTimeoutMs,
} from './core/timers.ts';
import { keepEarly, noWishes, takeEarly, unwant, type WishesState, want } from './core/wishes.ts';

/** What the operator configured for the links of one overlay. */
export interface LinksConfig {
  readonly overlay: OverlayId;
  readonly stun: readonly StunServer[];
  readonly turn: readonly TurnServer[];
  readonly ignoredInterfaces: readonly string[];
  /** Null: derived from the paths in use. */
  readonly mtu: number | null;
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

/** How the tunnel process of an overlay stands, for the operator. */
export interface ProcessSnapshot {
  readonly state: 'starting' | 'up' | 'down';
  readonly pid: number | null;
  readonly restarts: number;
  readonly problem: Problem | null;
}

export class OverlayLinks {
  readonly #deps: OverlayLinksDeps;
  readonly #overlay: OverlayId;
  readonly #over = new AbortController();
  readonly #log: Logger;
  #state: SupervisionState = { kind: 'idle' };
  #wishes: WishesState = noWishes;
  #device: DeviceSummary | null = null;
  #process: BridgeProcess | null = null;
  #offered: { readonly stun: readonly StunServer[]; readonly turn: readonly TurnServer[] } = {
    stun: [],
    turn: [],
  };
  /** Peers whose link is up, so that the end of the process ends each of them once. */
  readonly #up = new Set<NodeId>();
  #restarts = 0;
  #problem: Problem | null = null;

  constructor(deps: OverlayLinksDeps) {
    this.#deps = deps;
    this.#overlay = deps.config.overlay;
    this.#log = deps.log;
    every(deps.clock, echoPeriodMs, this.#over.signal, () => this.#echo());
  }

  deviceReady(device: DeviceSummary): void {
    this.#device = device;
    this.#input({ kind: 'device-ready' });
  }

  serversOffered(stun: readonly StunServer[], turn: readonly TurnServer[]): void {
    this.#offered = { stun, turn };
    const { ignoredInterfaces } = this.#deps.config;
    this.#tell('setServers', {
      servers: this.#servers(),
      ignoredInterfaces: [...ignoredInterfaces],
    });
  }

  /** The tunnel process judges all sessions by the new anchors; signal says which peers are none. */
  trustChanged(): void {
    const trust = this.#deps.config.anchors();
    if (trust !== null) this.#tell('setTrust', { trust });
  }

  linkWanted(peer: NodeId): void {
    this.#wishes = want(this.#wishes, peer);
    if (this.#state.kind === 'up') this.#request(peer);
  }

  linkUnwanted(peer: NodeId, reason: string): void {
    if (!this.#wishes.wanted.has(peer)) return;
    this.#wishes = unwant(this.#wishes, peer);
    this.#tell('disconnect', { peer, reason });
    this.#send(peer, { kind: 'ended', reason: reason.slice(0, 120) });
    this.#linkDown(peer, reason);
  }

  described(peer: NodeId, description: SessionDescription): void {
    const ready = this.#state.kind === 'up' && this.#wishes.wanted.has(peer);
    if (ready) this.#tell('describe', { peer, description });
    else this.#wishes = keepEarly(this.#wishes, peer, description, this.#deps.clock.now());
  }

  peerEnded(peer: NodeId, reason: string): void {
    if (this.#wishes.wanted.has(peer)) this.#tell('ended', { peer, reason });
  }

  /** Sessions and counters from the process; null when it does not serve. */
  async status(): Promise<Result<'status'> | null> {
    if (this.#state.kind !== 'up' || this.#process === null) return null;
    return this.#process.client.call('status', {}, callTimeoutMs).catch((error: unknown) => {
      this.#log.warn('no status from the tunnel process', { error: messageOf(error) });
      return null;
    });
  }

  snapshot(): ProcessSnapshot {
    const up = this.#state.kind === 'up';
    const starting = this.#state.kind === 'starting' || this.#state.kind === 'idle';
    return {
      state: up ? 'up' : starting ? 'starting' : 'down',
      pid: this.#process?.pid ?? null,
      restarts: this.#restarts,
      problem: this.#problem,
    };
  }

  /** Ends all sessions in order, then the process. */
  async stop(): Promise<void> {
    this.#over.abort();
    const serving = this.#state.kind === 'up';
    this.#input({ kind: 'stop' });
    const current = this.#process;
    if (current === null) return;
    try {
      if (serving) await current.client.call('close', {}, closeTimeoutMs);
      current.client.close();
      await withDeadline(current.ended, closeTimeoutMs, 'end of the tunnel process');
    } catch (error) {
      this.#log.warn('tunnel process did not close in order', { error: messageOf(error) });
      current.kill();
      await current.ended;
    }
  }

  #input(input: SupervisionInput): void {
    const next = nextSupervision(this.#state, input);
    this.#state = next.state;
    for (const effect of next.effects) this.#carryOut(effect);
  }

  #carryOut(effect: SupervisionEffect): void {
    const { clock, port } = this.#deps;
    switch (effect.kind) {
      case 'spawn':
        this.#spawn();
        return;
      case 'kill':
        this.#log.warn('tunnel process does not answer and is replaced');
        this.#process?.kill();
        return;
      case 'announce-up':
        this.#problem = null;
        port.publish('links.overlayUp', { overlay: this.#overlay, pid: this.#process?.pid ?? 0 });
        return;
      case 'announce-down': {
        this.#restarts += 1;
        this.#problem ??= { code: 'bridge.failed', message: effect.reason };
        const { retryInMs } = effect;
        this.#log.error('tunnel process ended', { reason: effect.reason, delayMs: retryInMs });
        for (const peer of [...this.#up]) this.#linkDown(peer, 'the tunnel process ended');
        const problem = this.#problem;
        port.publish('links.overlayDown', { overlay: this.#overlay, problem, retryInMs });
        return;
      }
      case 'start-timer':
        clock.after(effect.afterMs, this.#over.signal, () => this.#input({ kind: 'timer' }));
        return;
    }
  }

  #spawn(): void {
    const failed = (reason: string): void => {
      const { clock, random } = this.#deps;
      this.#input({ kind: 'failed', reason, nowMs: clock.now(), random: random() });
    };
    try {
      const child = spawnBridge(this.#log, (message) => {
        if (this.#process === child) this.#notified(message);
      });
      this.#process = child;
      void child.ended.then((reason) => {
        if (this.#process !== child) return;
        this.#process = null;
        failed(reason);
      });
      void this.#open(child);
    } catch (error) {
      failed(messageOf(error));
    }
  }

  async #open(child: BridgeProcess): Promise<void> {
    const { clock, config, keyLogFile, rekeyMs } = this.#deps;
    try {
      await child.client.ready;
      if (this.#device === null) return;
      await child.client.call(
        'open',
        {
          overlay: this.#overlay,
          ...config.credentials,
          trust: config.anchors(),
          tap: this.#device.tap,
          transit: true,
          offload: this.#device.offload,
          servers: this.#servers(),
          ignoredInterfaces: [...config.ignoredInterfaces],
          mtu: config.mtu,
          keyLogFile,
          ...(rekeyMs === null ? {} : { rekey: { afterMs: rekeyMs, afterBytes: 2 ** 36 } }),
        },
        openTimeoutMs,
      );
      this.#input({ kind: 'opened', nowMs: clock.now() });
      this.trustChanged(); // it may have, while the process was opening
      for (const peer of this.#wishes.wanted) this.#request(peer);
    } catch (error) {
      const { code, message } = toEvioError(error);
      this.#problem = { code, message };
      this.#log.error('tunnel process could not serve', { code, error: message });
      child.kill(); // its end is reported and leads to the next try
    }
  }

  /** Tells the process that a session is wanted, and what the peer has said about it already. */
  #request(peer: NodeId): void {
    this.#tell('connect', { peer });
    const early = takeEarly(this.#wishes, peer, this.#deps.clock.now());
    this.#wishes = early.state;
    if (early.description !== null)
      this.#tell('describe', { peer, description: early.description });
  }

  #echo(): void {
    if (this.#state.kind !== 'up' || this.#process === null) return;
    this.#process.client.call('echo', {}, echoTimeoutMs).then(
      () => this.#input({ kind: 'echoed' }),
      (error: unknown) => {
        this.#log.debug('echo unanswered', { error: messageOf(error) });
        this.#input({ kind: 'echo-missed' });
      },
    );
  }

  /** A call without a result; before the process serves it is left out: `#open` repeats wishes. */
  #tell<M extends Method>(method: M, params: Params<M>): void {
    if (this.#state.kind !== 'up' || this.#process === null) return;
    this.#process.client.call(method, params, callTimeoutMs).catch((error: unknown) => {
      this.#log.warn('tunnel process refused a call', { method, error: messageOf(error) });
    });
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
        if (!this.#wishes.wanted.has(peer)) return;
        this.#up.add(peer);
        this.#log.info('link up', { peer, path: path.kind, durationMs: Math.round(setUpMs) });
        port.publish('links.linkUp', { overlay, peer, path, setUpMs });
        return;
      }
      case 'pathChanged': {
        const { peer, path } = message.body;
        this.#log.info('path changed', { peer, path: path.kind });
        port.publish('links.pathChanged', { overlay, peer, path });
        return;
      }
      case 'sessionDown':
        this.#linkDown(message.body.peer, message.body.reason);
        return;
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
    if (!this.#up.delete(peer)) return;
    this.#log.info('link down', { peer, reason });
    this.#deps.port.publish('links.linkDown', { overlay: this.#overlay, peer, reason });
  }
}
