/**
 * The in-memory twin of the data path: the same tables, records and upcalls without addon, root or
 * threads, for tests. Its TAP is `inject` and `onFrame`; it neither cuts nor joins frames. Owns its sockets
 * and the queue of upcalls; the ways through it are `memory-outbound.ts` and `memory-inbound.ts`.
 */
import type { Mac, NodeId } from '../../base/ids.ts';
import type {
  Counters,
  Datapath,
  DatapathOptions,
  Endpoint,
  Frame,
  Path,
  SessionCounters,
  SessionOptions,
  SocketNumber,
  Station,
  Upcall,
} from './datapath.ts';
import { MemoryInbound } from './memory-inbound.ts';
import type { MemoryNetwork, MemorySocket } from './memory-network.ts';
import { MemoryOutbound } from './memory-outbound.ts';
import { MemoryTables, type Writable } from './memory-tables.ts';
import type { FrameType } from './wire.ts';

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

const maxWaitingUpcalls = 1024;

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
  readonly #sockets = new Map<SocketNumber, MemorySocket>();
  readonly #tables: MemoryTables;
  readonly #outbound: MemoryOutbound;
  readonly #inbound: MemoryInbound;
  readonly #counters = noCounters();
  #waiting: Upcall[] = [];
  #nextSocket = 1;
  #closed = false;

  constructor(options: MemoryDatapathOptions) {
    this.#options = options;
    this.#tables = new MemoryTables(options.nowMs ?? ((): number => performance.now()));
    const shared = {
      nodeId: options.nodeId,
      tables: this.#tables,
      counters: this.#counters,
      up: (upcall: Upcall) => this.#up(upcall),
    };
    this.#outbound = new MemoryOutbound({
      ...shared,
      hasSocket: (socket) => this.#sockets.has(socket),
      sendDatagram: (socket, to, bytes) => this.sendDatagram(socket, to, bytes),
    });
    this.#inbound = new MemoryInbound({
      ...shared,
      outbound: this.#outbound,
      deliver: (frame) => this.deliverFrame(frame),
    });
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

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const socket of [...this.#sockets.keys()]) this.closeSocket(socket);
    this.#tables.clear();
    this.#waiting = [];
  }

  addSession(options: SessionOptions): void {
    this.#tables.addSession(options);
  }

  setPath(
    session: number,
    path: Path,
    sockets: readonly SocketNumber[],
    maxFrameBytes: number,
  ): void {
    this.#tables.setPath(session, path, sockets, maxFrameBytes);
  }

  replaceSession(from: number, to: number): void {
    this.#tables.replaceSession(from, to);
  }

  removeSession(session: number): void {
    this.#tables.removeSession(session);
  }

  setStation(mac: Mac, station: Station): void {
    this.#tables.setStation(mac, station);
  }

  removeStation(mac: Mac): void {
    this.#tables.stations.delete(mac);
  }

  stationIdleMs(mac: Mac): number | null {
    return this.#tables.stationIdleMs(mac);
  }

  setRelay(destination: NodeId, session: number): void {
    this.#tables.setRelay(destination, session);
  }

  removeRelay(destination: NodeId): void {
    this.#tables.relays.delete(destination);
  }

  sessionCounters(session: number): SessionCounters | null {
    return this.#tables.sessionCounters(session);
  }

  sendFrame(session: number, type: FrameType, frame: Frame): boolean {
    return this.#outbound.sendFrame(session, type, frame);
  }

  sendEnvelope(
    via: number,
    source: NodeId,
    destination: NodeId,
    ttl: number,
    bytes: Uint8Array,
  ): boolean {
    return this.#outbound.sendEnvelope(via, source, destination, ttl, bytes);
  }

  inject(frame: Frame): void {
    if (!this.#closed) this.#outbound.inject(frame);
  }

  #receive(socket: SocketNumber, from: Endpoint, bytes: Uint8Array): void {
    if (this.#closed || !this.#sockets.has(socket)) return;
    this.#inbound.receive(socket, from, bytes);
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
}
