/**
 * What the local API answers: the events of the bus remembered, and the snapshots of the modules put
 * together. Owns that memory, which is bounded; decides nothing.
 */
import type { Clock } from '../base/clock.ts';
import type { NodeId, OverlayId } from '../base/ids.ts';
import type { Config, OverlayConfig } from '../config/config.ts';
import type { BridgeController } from './bridge-controller/index.ts';
import type { BusEvent, Events, StunServer, TurnServer } from './events.ts';
import type { OverlayTrust } from './identity/index.ts';
import type { BridgeStatus, LinkManager, SessionStatus } from './link-manager/index.ts';
import type { DeviceStatus, OverlayStatus, PeerStatus, Status } from './local-api/index.ts';
import type { Signal } from './signal/index.ts';
import type { Topology } from './topology/index.ts';

/** Refusals that are kept for the operator, per overlay. */
const maxRefused = 16;

interface Seen {
  readonly name: string;
  readonly account: string;
  readonly reachable: boolean;
  /** It left the server; forgotten when there is no session with it either. */
  readonly left: boolean;
}

interface OverlayMemory {
  signal: Events['signal.stateChanged'] | null;
  /** The state that a retry has not changed yet, and since when. */
  settled: Events['signal.stateChanged']['state'];
  signalAtMs: number;
  refused: readonly Events['signal.peerRefused'][];
  readonly seen: Map<NodeId, Seen>;
  stun: readonly StunServer[];
  turn: readonly TurnServer[];
}

export interface StatusDeps {
  readonly config: Config;
  readonly nodeId: NodeId;
  readonly version: string;
  readonly clock: Clock;
  readonly links: Pick<LinkManager, 'status' | 'snapshot'>;
  readonly bridges: Pick<BridgeController, 'snapshot'>;
  readonly trust: Pick<OverlayTrust, 'snapshot'>;
  readonly signal: Pick<Signal, 'snapshot'>;
  readonly topology: Pick<Topology, 'snapshot'>;
}

export class StatusBoard {
  readonly #deps: StatusDeps;
  readonly #startedAt: string;
  readonly #memory: ReadonlyMap<OverlayId, OverlayMemory>;

  constructor(deps: StatusDeps) {
    this.#deps = deps;
    this.#startedAt = new Date(deps.clock.wallNow()).toISOString();
    this.#memory = new Map(
      deps.config.overlays.map(({ overlay }) => [overlay, emptyMemory(deps.clock.now())]),
    );
  }

  /** To be given to `bus.tap`. */
  see(seen: BusEvent): void {
    const memory = this.#memory.get(seen.event.overlay);
    if (memory === undefined) return;
    switch (seen.name) {
      case 'signal.stateChanged':
        this.#seeSignal(memory, seen.event);
        return;
      case 'signal.peerSeen': {
        const { peer, name, account } = seen.event;
        memory.seen.set(peer, { name, account, reachable: true, left: false });
        memory.refused = memory.refused.filter((r) => r.account !== account || r.name !== name);
        return;
      }
      case 'signal.peerLost': {
        const { peer, reason } = seen.event;
        const known = memory.seen.get(peer);
        if (reason === 'removed') memory.seen.delete(peer);
        else if (known !== undefined) {
          memory.seen.delete(peer); // to move it to the end
          memory.seen.set(peer, { ...known, reachable: false, left: reason === 'left' });
          forgetOldest(memory.seen);
        }
        return;
      }
      case 'signal.peerRefused': {
        const { account, name } = seen.event;
        const others = memory.refused.filter((r) => r.account !== account || r.name !== name);
        memory.refused = [seen.event, ...others].slice(0, maxRefused);
        return;
      }
      case 'signal.serversOffered':
        memory.stun = seen.event.stun;
        memory.turn = seen.event.turn;
        return;
      default:
        return; // the modules' snapshots tell the rest
    }
  }

  /** A retry, and its failing the same way, is the same trouble: the operator asks since when. */
  #seeSignal(memory: OverlayMemory, event: Events['signal.stateChanged']): void {
    const isRetry = event.state === 'connecting' && event.problem !== null;
    const settled = isRetry ? memory.settled : event.state;
    if (settled !== memory.settled) memory.signalAtMs = this.#deps.clock.now();
    memory.settled = settled;
    memory.signal = event;
  }

  /** The name of a node in an overlay, empty when it is not known. */
  nameOf(overlay: OverlayId, node: NodeId): string {
    if (node === this.#deps.nodeId) return this.#deps.config.nodeName;
    return this.#memory.get(overlay)?.seen.get(node)?.name ?? '';
  }

  async collect(): Promise<Status> {
    const { config, nodeId, version } = this.#deps;
    return {
      nodeId,
      name: config.nodeName,
      version,
      startedAt: this.#startedAt,
      overlays: await Promise.all(config.overlays.map((overlay) => this.#overlay(overlay))),
    };
  }

  async #overlay(config: OverlayConfig): Promise<OverlayStatus> {
    const { links, bridges } = this.#deps;
    const { overlay } = config;
    const memory = this.#memory.get(overlay) ?? emptyMemory(0);
    const bridge = await links.status(overlay);
    const host = bridges.snapshot(overlay);
    const linked = new Set(this.#deps.topology.snapshot(overlay).map(({ peer }) => peer));
    return {
      overlay,
      trust: this.#deps.trust.snapshot(overlay),
      signal: this.#signal(config, memory),
      device: host !== null && 'device' in host ? deviceStatus(host.device) : null,
      deviceProblem: host !== null && 'problem' in host ? host.problem : null,
      bridgeProcess: links.snapshot(overlay) ?? {
        state: 'starting',
        pid: null,
        restarts: 0,
        problem: null,
      },
      iceServers: iceServers(config, memory),
      peers: peers(memory, bridge, linked, this.#deps.clock.wallNow()),
      counters: { ...bridge?.counters, ...this.#signalCounters(overlay) },
    };
  }

  #signalCounters(overlay: OverlayId): Readonly<Record<string, number>> {
    const snapshot = this.#deps.signal.snapshot().find((each) => each.overlay === overlay);
    return { ...snapshot?.counters };
  }

  #signal(config: OverlayConfig, memory: OverlayMemory): OverlayStatus['signal'] {
    const agoMs = this.#deps.clock.now() - memory.signalAtMs;
    return {
      state: memory.signal?.state ?? 'connecting',
      sinceMs: Math.round(agoMs),
      server: `${config.signal.host}:${config.signal.port}`,
      account: config.signal.account,
      problem: memory.signal?.problem ?? null,
      retryInMs: memory.signal?.retryInMs ?? null,
      refused: memory.refused.map(({ overlay: _, ...refused }) => refused),
    };
  }
}

const emptyMemory = (nowMs: number): OverlayMemory => ({
  signal: null,
  settled: 'connecting',
  signalAtMs: nowMs,
  refused: [],
  seen: new Map(),
  stun: [],
  turn: [],
});

const deviceStatus = (device: Events['bridges.deviceReady']): DeviceStatus => ({
  provider: device.provider,
  tap: device.tap,
  bridge: device.bridge,
  appBridge: device.appBridge,
  mac: device.mac,
  mtu: device.mtu,
  addresses: [...device.addresses],
});

function iceServers(config: OverlayConfig, memory: OverlayMemory): OverlayStatus['iceServers'] {
  const stun = [...config.links.stun, ...memory.stun].map((s) => `${s.host}:${s.port}`);
  const turn = [...config.links.turn, ...memory.turn].map(
    (s) => `${s.host}:${s.port} ${s.transport}`,
  );
  const none =
    'neither configured nor offered by the XMPP server: only peers that reach each other';
  const note =
    stun.length + turn.length === 0 ? `no STUN and no TURN server, ${none} directly connect` : null;
  return { stun, turn, note };
}

/** More of those that left are forgotten without being asked for. */
const maxSeen = 4_096;

function forgetOldest(seen: Map<NodeId, Seen>): void {
  for (const [node, { left }] of seen) {
    if (seen.size <= maxSeen) return;
    if (left) seen.delete(node);
  }
}

/** Peers that were announced, and sessions of peers that are not (any more). */
function peers(
  memory: OverlayMemory,
  bridge: BridgeStatus | null,
  linked: ReadonlySet<NodeId>,
  wallMs: number,
): PeerStatus[] {
  const sessions = new Map(bridge?.sessions.map((session) => [session.peer, session]));
  const isGone = (node: NodeId): boolean => !sessions.has(node) && !linked.has(node);
  for (const [node, { left }] of memory.seen) if (left && isGone(node)) memory.seen.delete(node);
  const ids = new Set([...memory.seen.keys(), ...sessions.keys()]);
  return [...ids]
    .map((id) => peerStatus(id, memory.seen.get(id), sessions.get(id), linked.has(id), wallMs))
    .sort((a, b) => a.name.localeCompare(b.name) || a.nodeId.localeCompare(b.nodeId));
}

function peerStatus(
  nodeId: NodeId,
  seen: Seen | undefined,
  session: SessionStatus | undefined,
  isLinked: boolean,
  wallMs: number,
): PeerStatus {
  const upAtMs = session?.upSinceMs ?? null;
  return {
    nodeId,
    name: seen?.name ?? '',
    account: seen?.account ?? '',
    reachable: seen?.reachable ?? false,
    state: session?.state ?? (isLinked ? 'waiting' : 'idle'),
    path: session?.path ?? { kind: 'none', local: '', remote: '' },
    rttMs: session?.rttMs ?? null,
    sentBytes: session?.sentBytes ?? 0,
    receivedBytes: session?.receivedBytes ?? 0,
    sentBitsPerSecond: session?.sentBitsPerSecond ?? 0,
    receivedBitsPerSecond: session?.receivedBitsPerSecond ?? 0,
    upSinceMs: upAtMs === null ? null : Math.max(0, Math.round(wallMs - upAtMs)),
    lastError: session?.lastError ?? null,
    pathNote: session?.pathNote ?? null,
    mtu: session?.mtu ?? null,
    cipher: session?.cipher ?? null,
    history: [...(session?.history ?? [])],
  };
}
