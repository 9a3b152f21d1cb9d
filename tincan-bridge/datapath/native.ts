/**
 * The data path and the handshake over the native addon. Owns the translation between the contract
 * and the addon's flat functions; holds no table of its own and no policy.
 */
import { macBytes, type NodeId, nodeIdBytes } from '../../base/ids.ts';
import {
  type Addon,
  callAddon,
  type EngineHandle,
  handshakeStates,
  loadAddon,
  pathCodes,
  stationCodes,
  suiteCodes,
} from './addon.ts';
import type {
  Counters,
  Datapath,
  DatapathOptions,
  Path,
  SessionCounters,
  SessionNumber,
  SocketNumber,
} from './datapath.ts';
import type { Handshake, HandshakeOptions, HandshakeState } from './handshake.ts';
import { decodeUpcalls } from './upcalls.ts';
import { frameTypes } from './wire.ts';

const noOffload = new Uint8Array(0);

/**
 * Opens the TAP and starts the threads. Throws `runtime.unsupported` without the addon, and
 * `host.no-tun`, `host.not-permitted`, `host.device-foreign` or `host.command-failed` for the TAP.
 */
export function createNativeDatapath(options: DatapathOptions): Datapath {
  const addon = loadAddon();
  let closed = false;
  const engine = callAddon(() =>
    addon.open(
      options.tap,
      nodeIdBytes(options.nodeId),
      options.offload ?? true,
      (control, frames) => {
        if (!closed) options.onUpcalls([...decodeUpcalls(control), ...decodeUpcalls(frames)]);
      },
    ),
  );
  return {
    ...socketFunctions(addon, engine),
    ...sessionFunctions(addon, engine),
    ...tableFunctions(addon, engine),
    ...frameFunctions(addon, engine),
    close: () => {
      closed = true;
      addon.close(engine);
    },
  };
}

type SocketFunctions = Pick<
  Datapath,
  'openSocket' | 'closeSocket' | 'sendDatagram' | 'injectDatagram'
>;
type SessionFunctions = Pick<
  Datapath,
  'addSession' | 'setPath' | 'replaceSession' | 'removeSession' | 'counters' | 'sessionCounters'
>;
type TableFunctions = Pick<
  Datapath,
  'setStation' | 'removeStation' | 'stationIdleMs' | 'setRelay' | 'removeRelay'
>;
type FrameFunctions = Pick<
  Datapath,
  'sendFrame' | 'sendEnvelope' | 'deliverFrame' | 'completeFrame'
>;

function socketFunctions(addon: Addon, engine: EngineHandle): SocketFunctions {
  return {
    openSocket: (family, address, port) =>
      callAddon(() => {
        const bindTo = address ?? (family === 4 ? '0.0.0.0' : '::');
        const [socket = 0, bound = 0] = addon.openSocket(engine, family, bindTo, port);
        return { socket, port: bound };
      }),
    closeSocket: (socket) => callAddon(() => addon.closeSocket(engine, socket)),
    sendDatagram: (socket, to, bytes) =>
      callAddon(() => addon.sendDatagram(engine, socket, to.address, to.port, bytes)),
    injectDatagram: (socket, from, bytes) =>
      callAddon(() => addon.injectDatagram(engine, socket, from.address, from.port, bytes)),
  };
}

function sessionFunctions(addon: Addon, engine: EngineHandle): SessionFunctions {
  const setPath = (
    session: SessionNumber,
    path: Path,
    sockets: readonly SocketNumber[],
    maxFrameBytes: number,
  ): void => {
    const over = path.kind === 'ring' ? path.via : 'socket' in path ? path.socket : 0;
    const to = 'to' in path ? path.to : { address: '', port: 0 };
    const extra = path.kind === 'ring' ? path.ttl : path.kind === 'turn' ? path.channel : 0;
    const kind = pathCodes[path.kind];
    const list = Int32Array.from(sockets);
    const { address, port } = to;
    callAddon(() =>
      addon.setPath(engine, session, kind, over, address, port, extra, list, maxFrameBytes),
    );
  };
  return {
    setPath,
    addSession: (options) => {
      const { suite, sendKey, sendIv, receiveKey, receiveIv } = options.keys;
      const peer = nodeIdBytes(options.peer);
      const code = suiteCodes.indexOf(suite);
      const { session } = options;
      callAddon(() =>
        addon.addSession(
          ...([engine, session, peer, code, sendKey, sendIv, receiveKey, receiveIv] as const),
        ),
      );
      try {
        setPath(session, options.path, options.sockets, options.maxFrameBytes);
      } catch (error) {
        addon.removeSession(engine, session); // half a session must not stay
        throw error;
      }
    },
    replaceSession: (from, to) => callAddon(() => addon.replaceSession(engine, from, to)),
    removeSession: (session) => callAddon(() => addon.removeSession(engine, session)),
    counters: () => decodeCounters(callAddon(() => addon.counters(engine))),
    sessionCounters: (session) =>
      decodeSessionCounters(callAddon(() => addon.sessionCounters(engine, session))),
  };
}

function tableFunctions(addon: Addon, engine: EngineHandle): TableFunctions {
  return {
    setStation: (mac, station) => {
      const session = station.kind === 'session' ? station.session : 0;
      const code = stationCodes[station.kind];
      callAddon(() => addon.setStation(engine, macBytes(mac), code, session));
    },
    removeStation: (mac) => callAddon(() => addon.removeStation(engine, macBytes(mac))),
    stationIdleMs: (mac) => {
      const idleMs = callAddon(() => addon.stationIdleMs(engine, macBytes(mac)));
      return idleMs < 0 ? null : idleMs;
    },
    setRelay: (destination: NodeId, session) =>
      callAddon(() => addon.setRelay(engine, nodeIdBytes(destination), session)),
    removeRelay: (destination) =>
      callAddon(() => addon.removeRelay(engine, nodeIdBytes(destination))),
  };
}

function frameFunctions(addon: Addon, engine: EngineHandle): FrameFunctions {
  return {
    sendFrame: (session, type, frame) => {
      const offload = frame.offload ?? noOffload;
      const code = frameTypes[type];
      return callAddon(() => addon.sendFrame(engine, session, code, frame.bytes, offload));
    },
    sendEnvelope: (via, source, destination, ttl, bytes) => {
      const [from, to] = [nodeIdBytes(source), nodeIdBytes(destination)];
      return callAddon(() => addon.sendEnvelope(engine, via, from, to, ttl, bytes));
    },
    deliverFrame: (frame) =>
      callAddon(() => addon.deliverFrame(engine, frame.bytes, frame.offload ?? noOffload)),
    completeFrame: (frame) =>
      callAddon(() => addon.completeFrame(frame.bytes, frame.offload ?? noOffload)),
  };
}

/** In the order of `CounterList` in native/counters.h. */
function decodeCounters(values: Float64Array): Counters {
  const at = (index: number): number => values[index] ?? 0;
  return {
    tapReadFrames: at(0),
    tapReadBytes: at(1),
    tapWrittenFrames: at(2),
    tapWrittenBytes: at(3),
    tapWriteErrors: at(4),
    upcalls: at(5),
    upcallsDroppedFrames: at(6),
    upcallsDroppedDatagrams: at(7),
    dropped: at(8),
    spoofed: at(9),
    unopened: at(10),
    relayed: at(11),
    ttlExpired: at(12),
    sendErrors: at(13),
  };
}

/** In the order of `SessionCounterList`, then the two times; empty when there is no session. */
function decodeSessionCounters(values: Float64Array): SessionCounters | null {
  if (values.length === 0) return null;
  const at = (index: number): number => values[index] ?? 0;
  return {
    sentFrames: at(0),
    sentBytes: at(1),
    receivedFrames: at(2),
    receivedBytes: at(3),
    replayed: at(4),
    forged: at(5),
    tooBig: at(6),
    noPath: at(7),
    sendErrors: at(8),
    sentPayloadBytes: at(9),
    receivedPayloadBytes: at(10),
    sentAgoMs: at(11),
    receivedAgoMs: at(12),
  };
}

/** Throws `identity.unusable` when certificate and key are not an ECDSA P-256 pair. */
export function createHandshake(options: HandshakeOptions): Handshake {
  const addon = loadAddon();
  const { role, certificate, key, maxDatagramBytes, retransmitMs, preferChaCha } = options;
  const handle = callAddon(() =>
    addon.handshakeCreate(
      ...([role === 'server', certificate, key, maxDatagramBytes] as const),
      retransmitMs,
      preferChaCha,
    ),
  );
  let done: HandshakeState | undefined;
  const stateOf = (code: number): HandshakeState => {
    const state = handshakeStates[code] ?? 'failed';
    if (state === 'running') return { state };
    if (state === 'failed') return { state, reason: addon.handshakeReason(handle) };
    done ??= readResult();
    return done;
  };
  const readResult = (): HandshakeState => {
    const { peerCertificate, cipher, suite, ...keys } = addon.handshakeResult(handle);
    const name = suiteCodes[suite] ?? 'aes-128-gcm';
    return { state: 'done', peerCertificate, cipher, keys: { suite: name, ...keys } };
  };
  return {
    start: () => callAddon(() => stateOf(addon.handshakeStart(handle))),
    feed: (datagram) => callAddon(() => stateOf(addon.handshakeFeed(handle, datagram))),
    expire: () => callAddon(() => stateOf(addon.handshakeExpire(handle))),
    take: () => callAddon(() => addon.handshakeTake(handle)),
    deadlineMs: () => {
      const deadline = callAddon(() => addon.handshakeDeadlineMs(handle));
      return deadline < 0 ? null : deadline;
    },
    keyLogLine: () => callAddon(() => addon.handshakeKeyLogLine(handle)) || null,
    close: () => {
      done = undefined;
      addon.handshakeClose(handle);
    },
  };
}

/** Netlink events of this network namespace; the result ends it. */
export function kernelEvents(call: () => void): () => void {
  const addon = loadAddon();
  const watch = callAddon(() => addon.watchNetwork(call));
  let ended = false;
  return () => {
    if (!ended) addon.unwatchNetwork(watch);
    ended = true;
  };
}
