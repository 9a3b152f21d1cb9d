/**
 * What the in-memory twin sends: frames of its host and of the script, sealed for a session and put on its
 * path. Owns no state; what it cannot answer goes up.
 */
import { macFromBytes, type NodeId } from '../../base/ids.ts';
import type {
  Counters,
  Endpoint,
  Frame,
  FrameReason,
  Path,
  SocketNumber,
  Upcall,
} from './datapath.ts';
import { envelope, maxPlaintextBytes, payloadOf } from './memory-bytes.ts';
import { sealRecord } from './memory-records.ts';
import {
  isDirect,
  type Lane,
  type MemoryTables,
  type Session,
  type Writable,
} from './memory-tables.ts';
import { checksumUndone, type FrameType, frameTypes, lanes } from './wire.ts';

export interface OutboundDeps {
  readonly nodeId: NodeId;
  readonly tables: MemoryTables;
  readonly counters: Writable<Counters>;
  readonly up: (upcall: Upcall) => void;
  readonly hasSocket: (socket: SocketNumber) => boolean;
  readonly sendDatagram: (socket: SocketNumber, to: Endpoint, bytes: Uint8Array) => boolean;
}

export class MemoryOutbound {
  readonly #deps: OutboundDeps;
  readonly #tables: MemoryTables;

  constructor(deps: OutboundDeps) {
    this.#deps = deps;
    this.#tables = deps.tables;
  }

  inject(frame: Frame): void {
    const { bytes } = frame;
    if (bytes.length < 14) {
      this.#deps.counters.dropped++;
      return;
    }
    this.#deps.counters.tapReadFrames++;
    this.#deps.counters.tapReadBytes += bytes.length;
    const to = this.#sessionFor(bytes);
    if (to === null) {
      this.#deps.counters.dropped++;
    } else if (typeof to === 'string') {
      this.#deps.up({ kind: 'frame-out', reason: to, frame, session: 0 });
    } else if (bytes.length > to.maxFrameBytes) {
      to.counters.tooBig++;
      this.#deps.up({ kind: 'frame-out', reason: 'too-big', frame, session: to.options.session });
    } else {
      this.seal(to, 'outbound', payloadOf('ethernet', frame));
    }
  }

  /** Where a frame from the host goes; null: nowhere. */
  #sessionFor(bytes: Uint8Array): Session | FrameReason | null {
    const source = this.#tables.stations.get(macFromBytes(bytes.subarray(6)));
    if (source === undefined || source.station.kind === 'session') return 'source';
    source.usedAtMs = this.#tables.nowMs();
    if (source.station.kind === 'drop') return null;
    if (((bytes[0] ?? 0) & 1) !== 0) return 'group';
    const destination = this.#tables.stations.get(macFromBytes(bytes));
    if (destination === undefined) return 'unknown-destination';
    destination.usedAtMs = this.#tables.nowMs();
    const { station } = destination;
    return station.kind === 'session' ? this.#tables.need(station.session) : null;
  }

  sendFrame(session: number, type: FrameType, frame: Frame): boolean {
    const entry = this.#tables.sessions.get(session);
    if (entry === undefined || (frame.offload?.[1] ?? 0) !== 0) return false;
    if (type === 'ethernet' && frame.bytes.length > entry.maxFrameBytes) {
      entry.counters.tooBig++;
      return false;
    }
    return this.seal(entry, 'script', payloadOf(type, frame));
  }

  sendEnvelope(
    via: number,
    source: NodeId,
    destination: NodeId,
    ttl: number,
    bytes: Uint8Array,
  ): boolean {
    const entry = this.#tables.sessions.get(via);
    if (entry === undefined || !isDirect(entry)) return false;
    return this.seal(entry, 'script', envelope(source, destination, ttl, bytes));
  }

  seal(session: Session, lane: Lane, payload: Uint8Array): boolean {
    const { path } = session;
    const via = path.kind === 'ring' ? this.#tables.sessions.get(path.via) : undefined;
    const noPath =
      path.kind === 'none' ||
      (path.kind === 'ring' && (via === undefined || !isDirect(via))) ||
      ('socket' in path && !this.#deps.hasSocket(path.socket));
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
    session.sentAtMs = this.#tables.nowMs();
    if (path.kind === 'ring' && via !== undefined) {
      return this.seal(via, lane, envelope(this.#deps.nodeId, peer, path.ttl, record));
    }
    const sent = this.#sendRecord(path, record);
    if (!sent) session.counters.sendErrors++;
    return sent;
  }

  #sendRecord(path: Path, record: Uint8Array): boolean {
    if (path.kind === 'udp') return this.#deps.sendDatagram(path.socket, path.to, record);
    if (path.kind !== 'turn') return false;
    const { channel } = path;
    const header = [channel >> 8, channel & 255, record.length >> 8, record.length & 255];
    return this.#deps.sendDatagram(path.socket, path.to, Uint8Array.of(...header, ...record));
  }
}
