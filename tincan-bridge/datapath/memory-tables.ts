/**
 * The tables of the in-memory twin: sessions, stations, relays. Owns their entries and what becomes of those
 * that point to a session that is replaced or removed.
 */
import { EvioError } from '../../base/errors.ts';
import type { Mac, NodeId } from '../../base/ids.ts';
import type { Path, SessionCounters, SessionOptions, SocketNumber, Station } from './datapath.ts';
import { maxPlaintextBytes } from './memory-bytes.ts';
import { checkKeys, type ReplayWindow } from './memory-records.ts';

export type Writable<T> = { -readonly [K in keyof T]: T[K] };

export type Lane = 'outbound' | 'inbound' | 'script';

export interface Session {
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

export class MemoryTables {
  readonly sessions = new Map<number, Session>();
  readonly stations = new Map<Mac, StationEntry>();
  readonly relays = new Map<NodeId, number>();
  readonly nowMs: () => number;

  constructor(nowMs: () => number) {
    this.nowMs = nowMs;
  }

  need(session: number): Session {
    const entry = this.sessions.get(session);
    if (entry === undefined) throw new EvioError('internal', `no session ${session}`);
    return entry;
  }

  /** Keys are replaced under way: a station is behind a node, whichever association it came by. */
  samePeer(one: number, other: number): boolean {
    const peerOf = (n: number): NodeId | undefined => this.sessions.get(n)?.options.peer;
    return one === other || peerOf(one) === peerOf(other);
  }

  addSession(options: SessionOptions): void {
    const { session, path, sockets, maxFrameBytes } = options;
    if (this.sessions.has(session)) {
      throw new EvioError('internal', `session ${session} cannot be added: it exists`);
    }
    checkKeys(options.keys);
    this.sessions.set(session, {
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
    const entry = this.need(session);
    entry.path = path;
    entry.sockets = sockets;
    entry.maxFrameBytes = Math.min(maxFrameBytes, maxPlaintextBytes - 1);
  }

  replaceSession(from: number, to: number): void {
    if (!this.sessions.has(from) || !this.sessions.has(to)) return;
    for (const [mac, entry] of this.stations) {
      if (entry.station.kind !== 'session' || entry.station.session !== from) continue;
      const station = { kind: 'session', session: to } as const;
      this.stations.set(mac, { ...entry, station });
    }
    for (const [destination, relay] of this.relays) {
      if (relay === from) this.relays.set(destination, to);
    }
    for (const entry of this.sessions.values()) {
      if (entry.path.kind === 'ring' && entry.path.via === from) {
        entry.path = { ...entry.path, via: to };
      }
    }
  }

  removeSession(session: number): void {
    this.sessions.delete(session);
    for (const [mac, { station }] of this.stations) {
      if (station.kind === 'session' && station.session === session) this.stations.delete(mac);
    }
    for (const [destination, relay] of this.relays) {
      if (relay === session) this.relays.delete(destination);
    }
  }

  setStation(mac: Mac, station: Station): void {
    if (!this.stations.has(mac) && this.stations.size >= maxStations) {
      throw new EvioError('internal', 'the station table is full');
    }
    if (station.kind === 'session') this.need(station.session);
    this.stations.set(mac, { station, usedAtMs: this.nowMs() });
  }

  stationIdleMs(mac: Mac): number | null {
    const entry = this.stations.get(mac);
    return entry === undefined ? null : this.nowMs() - entry.usedAtMs;
  }

  setRelay(destination: NodeId, session: number): void {
    this.need(session);
    this.relays.set(destination, session);
  }

  sessionCounters(session: number): SessionCounters | null {
    const entry = this.sessions.get(session);
    if (entry === undefined) return null;
    const ago = (ms: number | null): number => (ms === null ? -1 : this.nowMs() - ms);
    return {
      ...entry.counters,
      sentAgoMs: ago(entry.sentAtMs),
      receivedAgoMs: ago(entry.receivedAtMs),
    };
  }

  clear(): void {
    this.sessions.clear();
    this.stations.clear();
    this.relays.clear();
  }
}

export const isDirect = (session: Session): boolean =>
  session.path.kind === 'udp' || session.path.kind === 'turn';
