/**
 * The in-memory twin of the data path: the same tables, records and upcalls without addon, root or
 * threads, for tests. Its TAP is `inject` and `onFrame`; it neither cuts nor joins frames.
 */
import { EvioError } from '../../base/errors.ts';
import {
  type Mac,
  macFromBytes,
  type NodeId,
  nodeIdBytes,
  nodeIdFromBytes,
} from '../../base/ids.ts';
import type {
  Counters,
  Datapath,
  DatapathOptions,
  Endpoint,
  Frame,
  FrameReason,
  Path,
  SessionCounters,
  SessionOptions,
  SocketNumber,
  Station,
  Upcall,
} from './datapath.ts';
import type { MemoryNetwork, MemorySocket } from './memory-network.ts';
import { checkKeys, openRecord, ReplayWindow, sealRecord } from './memory-records.ts';
import {
  channelDataHeaderBytes,
  checksumUndone,
  envelopeBytes,
  type FrameType,
  frameTypes,
  lanes,
  recordHeaderBytes,
  undoneOffload,
} from './wire.ts';

export interface MemoryDatapathOptions extends Omit<DatapathOptions, 'tap'> {
  readonly network: MemoryNetwork;
  /** Takes what the native one would write to the TAP. */
  readonly onFrame: (frame: Frame) => void;
  /** Default: two addresses that the network gives. */
  readonly addresses?: readonly string[];
  /** Milliseconds that only grow; default `performance.now`. */
  readonly nowMs?: () => number;
}

export interface MemoryDatapath extends Datapath {
  /** A frame from the host, as if read from the TAP. */
  inject(frame: Frame): void;
  readonly addresses: readonly string[];
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };
type Lane = 'outbound' | 'inbound' | 'script';

interface Session {
  readonly options: SessionOptions;
  path: Path;
  sockets: readonly SocketNumber[];
  maxFrameBytes: number;
  readonly used: Record<Lane, number>;
  readonly windows: Map<number, ReplayWindow>;
  readonly counters: Writable<Omit<SessionCounters, 'sentAgoMs' | 'receivedAgoMs'>>;
  sentAtMs: number | null;
  receivedAtMs: number | null;
}

interface StationEntry {
  readonly station: Station;
  usedAtMs: number;
}

const maxStations = 65_536;
const maxPlaintextBytes = 2 ** 14;
const maxWaitingUpcalls = 1024;
const typeNames = Object.keys(frameTypes).filter((k): k is FrameType => k in frameTypes);
const isRecord = (bytes: Uint8Array): boolean =>
  bytes.length >= recordHeaderBytes && bytes[0] === 23 && bytes[1] === 0xfe && bytes[2] === 0xfd;
const epochOf = (bytes: Uint8Array): number => (bytes[3] ?? 0) * 256 + (bytes[4] ?? 0);
const recordBytes = (bytes: Uint8Array): number =>
  recordHeaderBytes + (bytes[11] ?? 0) * 256 + (bytes[12] ?? 0);

const noCounters = (): Writable<Counters> => ({
  tapReadFrames: 0,
  tapReadBytes: 0,
  tapWrittenFrames: 0,
  tapWrittenBytes: 0,
  tapWriteErrors: 0,
  upcalls: 0,
  upcallsDroppedFrames: 0,
  upcallsDroppedDatagrams: 0,
  dropped: 0,
  spoofed: 0,
  unopened: 0,
  relayed: 0,
  ttlExpired: 0,
  sendErrors: 0,
});

/** Joins a memory network. */
export function createMemoryDatapath(options: MemoryDatapathOptions): MemoryDatapath {
  return new Twin(options);
}

class Twin implements MemoryDatapath {
  readonly addresses: readonly string[];
  readonly #options: MemoryDatapathOptions;
  readonly #nowMs: () => number;
  readonly #sockets = new Map<SocketNumber, MemorySocket>();
  readonly #sessions = new Map<number, Session>();
  readonly #stations = new Map<Mac, StationEntry>();
  readonly #relays = new Map<NodeId, number>();
  readonly #counters = noCounters();
  #waiting: Upcall[] = [];
  #nextSocket = 1;
  #closed = false;

  constructor(options: MemoryDatapathOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? ((): number => performance.now());
    this.addresses = options.addresses ?? options.network.addHost();
  }

  openSocket(
    family: 4 | 6,
    address: string | null,
    port: number,
  ): { readonly socket: SocketNumber; readonly port: number } {
    const number = this.#nextSocket++;
    const receive = (from: Endpoint, bytes: Uint8Array): void => this.#receive(number, from, bytes);
    const hostAddresses = this.addresses;
    const socket = this.#options.network.bind(
      { family, bound: address, hostAddresses, receive },
      port,
    );
    this.#sockets.set(number, socket);
    return { socket: number, port: socket.port };
  }

  closeSocket(socket: SocketNumber): void {
    const open = this.#sockets.get(socket);
    if (open !== undefined) this.#options.network.unbind(open);
    this.#sockets.delete(socket);
  }

  sendDatagram(socket: SocketNumber, to: Endpoint, bytes: Uint8Array): boolean {
    const open = this.#sockets.get(socket);
    const sent = open !== undefined && this.#options.network.send(open, to, bytes);
    if (!sent) this.#counters.sendErrors++;
    return sent;
  }

  injectDatagram(socket: SocketNumber, from: Endpoint, bytes: Uint8Array): void {
    const copy = Uint8Array.from(bytes);
    this.#options.network.enqueue(() => this.#receive(socket, from, copy));
  }

  addSession(options: SessionOptions): void {
    const { session, path, sockets, maxFrameBytes } = options;
    if (this.#sessions.has(session)) {
      throw new EvioError('internal', `session ${session} cannot be added: it exists`);
    }
    checkKeys(options.keys);
    this.#sessions.set(session, {
      options: { ...options, keys: structuredClone(options.keys) }, // the caller wipes its own
      path,
      sockets,
      maxFrameBytes: Math.min(maxFrameBytes, maxPlaintextBytes - 1),
      used: { outbound: 0, inbound: 0, script: 0 },
      windows: new Map(),
      counters: {
        sentFrames: 0,
        sentBytes: 0,
        receivedFrames: 0,
        receivedBytes: 0,
        replayed: 0,
        forged: 0,
        tooBig: 0,
        noPath: 0,
        sendErrors: 0,
        sentPayloadBytes: 0,
        receivedPayloadBytes: 0,
      },
      sentAtMs: null,
      receivedAtMs: null,
    });
  }

  setPath(
    session: number,
    path: Path,
    sockets: readonly SocketNumber[],
    maxFrameBytes: number,
  ): void {
    const entry = this.#need(session);
    entry.path = path;
    entry.sockets = sockets;
    entry.maxFrameBytes = Math.min(maxFrameBytes, maxPlaintextBytes - 1);
  }

  replaceSession(from: number, to: number): void {
    if (!this.#sessions.has(from) || !this.#sessions.has(to)) return;
    for (const [mac, entry] of this.#stations) {
      if (entry.station.kind !== 'session' || entry.station.session !== from) continue;
      const station = { kind: 'session', session: to } as const;
      this.#stations.set(mac, { ...entry, station });
    }
    for (const [destination, relay] of this.#relays) {
      if (relay === from) this.#relays.set(destination, to);
    }
    for (const entry of this.#sessions.values()) {
      if (entry.path.kind === 'ring' && entry.path.via === from) {
        entry.path = { ...entry.path, via: to };
      }
    }
  }

  removeSession(session: number): void {
    this.#sessions.delete(session);
    for (const [mac, { station }] of this.#stations) {
      if (station.kind === 'session' && station.session === session) this.#stations.delete(mac);
    }
    for (const [destination, relay] of this.#relays) {
      if (relay === session) this.#relays.delete(destination);
    }
  }

  setStation(mac: Mac, station: Station): void {
    if (!this.#stations.has(mac) && this.#stations.size >= maxStations) {
      throw new EvioError('internal', 'the station table is full');
    }
    if (station.kind === 'session') this.#need(station.session);
    this.#stations.set(mac, { station, usedAtMs: this.#nowMs() });
  }

  removeStation(mac: Mac): void {
    this.#stations.delete(mac);
  }

  stationIdleMs(mac: Mac): number | null {
    const entry = this.#stations.get(mac);
    return entry === undefined ? null : this.#nowMs() - entry.usedAtMs;
  }

  setRelay(destination: NodeId, session: number): void {
    this.#need(session);
    this.#relays.set(destination, session);
  }

  removeRelay(destination: NodeId): void {
    this.#relays.delete(destination);
  }

  sendFrame(session: number, type: FrameType, frame: Frame): boolean {
    const entry = this.#sessions.get(session);
    if (entry === undefined || (frame.offload?.[1] ?? 0) !== 0) return false;
    if (type === 'ethernet' && frame.bytes.length > entry.maxFrameBytes) {
      entry.counters.tooBig++;
      return false;
    }
    return this.#seal(entry, 'script', this.#payload(type, frame));
  }

  sendEnvelope(
    via: number,
    source: NodeId,
    destination: NodeId,
    ttl: number,
    bytes: Uint8Array,
  ): boolean {
    const entry = this.#sessions.get(via);
    if (entry === undefined || !isDirect(entry)) return false;
    return this.#seal(entry, 'script', envelope(source, destination, ttl, bytes));
  }

  deliverFrame(frame: Frame): boolean {
    if (this.#closed || frame.bytes.length < 14) {
      this.#counters.dropped++;
      return false;
    }
    this.#counters.tapWrittenFrames++;
    this.#counters.tapWrittenBytes += frame.bytes.length;
    const copy = { bytes: Uint8Array.from(frame.bytes), offload: frame.offload };
    this.#options.network.enqueue(() => {
      if (!this.#closed) this.#options.onFrame(copy);
    });
    return true;
  }

  completeFrame(frame: Frame): readonly Uint8Array[] {
    return (frame.offload?.[1] ?? 0) === 0 ? [Uint8Array.from(frame.bytes)] : [];
  }

  counters(): Counters {
    return { ...this.#counters };
  }

  sessionCounters(session: number): SessionCounters | null {
    const entry = this.#sessions.get(session);
    if (entry === undefined) return null;
    const ago = (ms: number | null): number => (ms === null ? -1 : this.#nowMs() - ms);
    return {
      ...entry.counters,
      sentAgoMs: ago(entry.sentAtMs),
      receivedAgoMs: ago(entry.receivedAtMs),
    };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const socket of [...this.#sockets.keys()]) this.closeSocket(socket);
    this.#sessions.clear();
    this.#stations.clear();
    this.#relays.clear();
    this.#waiting = [];
  }

  inject(frame: Frame): void {
    const { bytes } = frame;
    if (this.#closed) return;
    if (bytes.length < 14) {
      this.#counters.dropped++;
      return;
    }
    this.#counters.tapReadFrames++;
    this.#counters.tapReadBytes += bytes.length;
    const to = this.#sessionFor(bytes);
    if (to === null) {
      this.#counters.dropped++;
    } else if (typeof to === 'string') {
      this.#up({ kind: 'frame-out', reason: to, frame, session: 0 });
    } else if (bytes.length > to.maxFrameBytes) {
      to.counters.tooBig++;
      this.#up({ kind: 'frame-out', reason: 'too-big', frame, session: to.options.session });
    } else {
      this.#seal(to, 'outbound', this.#payload('ethernet', frame));
    }
  }

  /** Where a frame from the host goes; null: nowhere. */
  #sessionFor(bytes: Uint8Array): Session | FrameReason | null {
    const source = this.#stations.get(macFromBytes(bytes.subarray(6)));
    if (source === undefined || source.station.kind === 'session') return 'source';
    source.usedAtMs = this.#nowMs();
    if (source.station.kind === 'drop') return null;
    if (((bytes[0] ?? 0) & 1) !== 0) return 'group';
    const destination = this.#stations.get(macFromBytes(bytes));
    if (destination === undefined) return 'unknown-destination';
    destination.usedAtMs = this.#nowMs();
    const { station } = destination;
    return station.kind === 'session' ? this.#need(station.session) : null;
  }

  #need(session: number): Session {
    const entry = this.#sessions.get(session);
    if (entry === undefined) throw new EvioError('internal', `no session ${session}`);
    return entry;
  }

  #payload(type: FrameType, frame: Frame): Uint8Array {
    const undone = ((frame.offload?.[0] ?? 0) & 1) !== 0 ? checksumUndone : 0;
    return Uint8Array.of(frameTypes[type] | undone, ...frame.bytes);
  }

  #up(upcall: Upcall): void {
    const control =
      upcall.kind === 'datagram' || (upcall.kind === 'message' && upcall.type === 'control');
    if (this.#waiting.length >= maxWaitingUpcalls) {
      if (control) this.#counters.upcallsDroppedDatagrams++;
      else this.#counters.upcallsDroppedFrames++;
      return;
    }
    this.#counters.upcalls++;
    this.#waiting.push(upcall);
    if (this.#waiting.length > 1) return;
    this.#options.network.enqueue(() => {
      const upcalls = this.#waiting;
      this.#waiting = [];
      if (!this.#closed && upcalls.length > 0) this.#options.onUpcalls(upcalls);
    });
  }

  #seal(session: Session, lane: Lane, payload: Uint8Array): boolean {
    const { path } = session;
    const via = path.kind === 'ring' ? this.#sessions.get(path.via) : undefined;
    const noPath =
      path.kind === 'none' ||
      (path.kind === 'ring' && (via === undefined || !isDirect(via))) ||
      ('socket' in path && !this.#sockets.has(path.socket));
    if (noPath) {
      session.counters.noPath++;
      return false;
    }
    if (payload.length > maxPlaintextBytes) {
      session.counters.tooBig++;
      return false;
    }
    const { keys, peer } = session.options;
    const record = sealRecord(keys, lanes[lane], ++session.used[lane], payload);
    session.counters.sentFrames++;
    session.counters.sentBytes += payload.length;
    const ethernet = ((payload[0] ?? 0) & ~checksumUndone) === frameTypes.ethernet;
    if (ethernet) session.counters.sentPayloadBytes += payload.length - 1;
    session.sentAtMs = this.#nowMs();
    if (path.kind === 'ring' && via !== undefined) {
      return this.#seal(via, lane, envelope(this.#options.nodeId, peer, path.ttl, record));
    }
    const sent = this.#sendRecord(path, record);
    if (!sent) session.counters.sendErrors++;
    return sent;
  }

  #sendRecord(path: Path, record: Uint8Array): boolean {
    if (path.kind === 'udp') return this.sendDatagram(path.socket, path.to, record);
    if (path.kind !== 'turn') return false;
    const { channel } = path;
    const header = [channel >> 8, channel & 255, record.length >> 8, record.length & 255];
    return this.sendDatagram(path.socket, path.to, Uint8Array.of(...header, ...record));
  }

  #receive(socket: SocketNumber, from: Endpoint, bytes: Uint8Array): void {
    if (this.#closed || !this.#sockets.has(socket)) return;
    let rest = innerOf(bytes);
    if (!isRecord(rest) || epochOf(rest) === 0) {
      this.#up({ kind: 'datagram', socket, from, bytes });
      return;
    }
    const sessions = [...this.#sessions.values()]
      .filter((s) => s.sockets.includes(socket))
      .reverse();
    while (rest.length > 0) {
      const length = recordBytes(rest);
      if (!isRecord(rest) || epochOf(rest) !== 1 || length > rest.length) {
        this.#counters.unopened++;
        return;
      }
      this.#openWith(sessions, rest.subarray(0, length), false);
      rest = rest.subarray(length);
    }
  }

  #openWith(sessions: readonly Session[], record: Uint8Array, nested: boolean): void {
    for (const session of sessions) {
      const opened = openRecord(session.options.keys, record);
      if (opened === null) continue;
      const window = session.windows.get(opened.lane) ?? new ReplayWindow();
      session.windows.set(opened.lane, window);
      if (!window.accept(opened.counter)) {
        session.counters.replayed++;
        return;
      }
      session.counters.receivedFrames++;
      session.counters.receivedBytes += opened.plaintext.length;
      session.receivedAtMs = this.#nowMs();
      this.#handlePayload(session, opened.plaintext, nested);
      return;
    }
    this.#counters.unopened++;
    const first = sessions[0];
    if (first !== undefined) first.counters.forged++;
  }

  #handlePayload(session: Session, payload: Uint8Array, nested: boolean): void {
    const first = payload[0] ?? 0xff;
    const undone = (first & checksumUndone) !== 0;
    const type = typeNames.find((name) => frameTypes[name] === (first & ~checksumUndone));
    const bytes = payload.slice(1);
    const number = session.options.session;
    if (type === 'ethernet') {
      session.counters.receivedPayloadBytes += bytes.length;
      this.#handleFrame(number, { bytes, offload: undone ? undoneOffload : null });
    } else if (type === 'envelope' && !nested) {
      this.#handleEnvelope(number, bytes);
    } else if (type === 'flood' || type === 'control') {
      this.#up({ kind: 'message', type, session: number, bytes, checksumUndone: undone });
    } else {
      this.#counters.dropped++;
    }
  }

  #handleFrame(session: number, frame: Frame): void {
    const { bytes } = frame;
    if (bytes.length < 14 || ((bytes[6] ?? 0) & 1) !== 0) {
      this.#counters.dropped++;
      return;
    }
    const entry = this.#stations.get(macFromBytes(bytes.subarray(6)));
    const station = entry?.station;
    if (
      entry === undefined ||
      station === undefined ||
      (station.kind === 'session' && !this.#samePeer(station.session, session))
    ) {
      this.#up({ kind: 'frame-in', reason: 'source', session, frame });
      return;
    }
    if (station.kind === 'local') {
      this.#counters.spoofed++; // not a use of it: a peer must not keep it alive
      return;
    }
    entry.usedAtMs = this.#nowMs();
    if (station.kind === 'drop') this.#counters.dropped++;
    else this.deliverFrame(frame);
  }

  /** Keys are replaced under way: a station is behind a node, whichever association it came by. */
  #samePeer(one: number, other: number): boolean {
    const peerOf = (n: number): NodeId | undefined => this.#sessions.get(n)?.options.peer;
    return one === other || peerOf(one) === peerOf(other);
  }

  #handleEnvelope(session: number, payload: Uint8Array): void {
    if (payload.length <= envelopeBytes) {
      this.#counters.dropped++;
      return;
    }
    const source = nodeIdFromBytes(payload);
    const destination = nodeIdFromBytes(payload.subarray(16));
    const ttl = payload[envelopeBytes - 1] ?? 0;
    const bytes = payload.slice(envelopeBytes);
    const upcall: Upcall = { kind: 'envelope', session, source, destination, ttl, bytes };
    if (destination === this.#options.nodeId) {
      const sessions = [...this.#sessions.values()]
        .filter((s) => s.options.peer === source)
        .reverse();
      const whole = isRecord(bytes) && epochOf(bytes) === 1 && recordBytes(bytes) === bytes.length;
      if (sessions.length > 0 && whole) this.#openWith(sessions, bytes, true);
      else this.#up(upcall);
      return;
    }
    const next = this.#sessions.get(this.#relays.get(destination) ?? 0);
    const back = next?.options.peer === this.#need(session).options.peer;
    if (next === undefined || !isDirect(next) || back) {
      this.#up(upcall);
    } else if (ttl <= 1) {
      this.#counters.ttlExpired++;
    } else if (this.#seal(next, 'inbound', envelope(source, destination, ttl - 1, bytes))) {
      this.#counters.relayed++;
    }
  }
}

const isDirect = (session: Session): boolean =>
  session.path.kind === 'udp' || session.path.kind === 'turn';

/** What ChannelData carries, or the datagram itself. */
function innerOf(bytes: Uint8Array): Uint8Array {
  const first = bytes[0] ?? 0;
  if (first < 64 || first > 79 || bytes.length <= channelDataHeaderBytes) return bytes;
  const end = channelDataHeaderBytes + (bytes[2] ?? 0) * 256 + (bytes[3] ?? 0);
  return end <= bytes.length ? bytes.subarray(channelDataHeaderBytes, end) : bytes;
}

function envelope(source: NodeId, destination: NodeId, ttl: number, bytes: Uint8Array): Uint8Array {
  const ids = [...nodeIdBytes(source), ...nodeIdBytes(destination)];
  return Uint8Array.of(frameTypes.envelope, ...ids, ttl, ...bytes);
}
