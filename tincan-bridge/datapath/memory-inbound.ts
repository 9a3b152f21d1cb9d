/**
 * What the in-memory twin receives: records opened, replays dropped, frames delivered, envelopes passed on.
 * Owns no state; what it cannot answer goes up.
 */
import { macFromBytes, type NodeId, nodeIdFromBytes } from '../../base/ids.ts';
import type { Counters, Endpoint, Frame, SocketNumber, Upcall } from './datapath.ts';
import {
  envelope,
  epochOf,
  innerOf,
  isRecord,
  recordBytes,
  resolvesAddress,
  typeNames,
} from './memory-bytes.ts';
import type { MemoryOutbound } from './memory-outbound.ts';
import { openRecord, ReplayWindow } from './memory-records.ts';
import { isDirect, type MemoryTables, type Session, type Writable } from './memory-tables.ts';
import { checksumUndone, envelopeBytes, frameTypes, undoneOffload } from './wire.ts';

export interface InboundDeps {
  readonly nodeId: NodeId;
  readonly tables: MemoryTables;
  readonly counters: Writable<Counters>;
  readonly outbound: MemoryOutbound;
  readonly up: (upcall: Upcall) => void;
  readonly deliver: (frame: Frame) => boolean;
}

export class MemoryInbound {
  readonly #deps: InboundDeps;
  readonly #tables: MemoryTables;

  constructor(deps: InboundDeps) {
    this.#deps = deps;
    this.#tables = deps.tables;
  }

  receive(socket: SocketNumber, from: Endpoint, bytes: Uint8Array): void {
    let rest = innerOf(bytes);
    if (!isRecord(rest) || epochOf(rest) === 0) {
      this.#deps.up({ kind: 'datagram', socket, from, bytes });
      return;
    }
    const sessions = [...this.#tables.sessions.values()]
      .filter((s) => s.sockets.includes(socket))
      .reverse();
    while (rest.length > 0) {
      const length = recordBytes(rest);
      if (!isRecord(rest) || epochOf(rest) !== 1 || length > rest.length) {
        this.#deps.counters.unopened++;
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
      session.receivedAtMs = this.#tables.nowMs();
      this.#handlePayload(session, opened.plaintext, nested);
      return;
    }
    this.#deps.counters.unopened++;
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
      this.#deps.up({ kind: 'message', type, session: number, bytes, checksumUndone: undone });
    } else {
      this.#deps.counters.dropped++;
    }
  }

  #handleFrame(session: number, frame: Frame): void {
    const { bytes } = frame;
    if (bytes.length < 14 || ((bytes[6] ?? 0) & 1) !== 0) {
      this.#deps.counters.dropped++;
      return;
    }
    const entry = this.#tables.stations.get(macFromBytes(bytes.subarray(6)));
    const station = entry?.station;
    if (
      entry === undefined ||
      station === undefined ||
      (station.kind === 'session' && !this.#tables.samePeer(station.session, session))
    ) {
      this.#deps.up({ kind: 'frame-in', reason: 'source', session, frame });
      return;
    }
    if (station.kind === 'local') {
      this.#deps.counters.spoofed++; // not a use of it: a peer must not keep it alive
      return;
    }
    entry.usedAtMs = this.#tables.nowMs();
    if (station.kind === 'drop') this.#deps.counters.dropped++;
    else {
      if (resolvesAddress(bytes)) {
        this.#deps.up({ kind: 'frame-in', reason: 'resolution', session, frame });
      }
      this.#deps.deliver(frame);
    }
  }

  #handleEnvelope(session: number, payload: Uint8Array): void {
    if (payload.length <= envelopeBytes) {
      this.#deps.counters.dropped++;
      return;
    }
    const source = nodeIdFromBytes(payload);
    const destination = nodeIdFromBytes(payload.subarray(16));
    const ttl = payload[envelopeBytes - 1] ?? 0;
    const bytes = payload.slice(envelopeBytes);
    const upcall: Upcall = { kind: 'envelope', session, source, destination, ttl, bytes };
    if (destination === this.#deps.nodeId) {
      const sessions = [...this.#tables.sessions.values()]
        .filter((s) => s.options.peer === source)
        .reverse();
      const whole = isRecord(bytes) && epochOf(bytes) === 1 && recordBytes(bytes) === bytes.length;
      if (sessions.length > 0 && whole) this.#openWith(sessions, bytes, true);
      else this.#deps.up(upcall);
      return;
    }
    const next = this.#tables.sessions.get(this.#tables.relays.get(destination) ?? 0);
    const back = next?.options.peer === this.#tables.need(session).options.peer;
    if (next === undefined || !isDirect(next) || back) {
      this.#deps.up(upcall);
    } else if (ttl <= 1) {
      this.#deps.counters.ttlExpired++;
    } else if (
      this.#deps.outbound.seal(next, 'inbound', envelope(source, destination, ttl - 1, bytes))
    ) {
      this.#deps.counters.relayed++;
    }
  }
}
