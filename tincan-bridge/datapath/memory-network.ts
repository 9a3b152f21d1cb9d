/**
 * The network of the in-memory twin: addresses, sockets, and datagrams that are delivered in order,
 * one at a time, each in a microtask of its own. Owns who is bound where; never looks into bytes.
 */
import { EvioError } from '../../base/errors.ts';
import type { Endpoint } from './datapath.ts';

export interface MemorySocket {
  readonly family: 4 | 6;
  /** Null: every address of the host. */
  readonly bound: string | null;
  readonly port: number;
  readonly hostAddresses: readonly string[];
  readonly receive: (from: Endpoint, bytes: Uint8Array) => void;
}

/** Says whether a datagram arrives; default: all do. */
export type Filter = (from: Endpoint, to: Endpoint, bytes: Uint8Array) => boolean;

const firstPort = 40_000;

export class MemoryNetwork {
  /** May be replaced at any time, to cut paths or to lose datagrams. */
  filter: Filter = () => true;
  readonly #sockets = new Set<MemorySocket>();
  readonly #queue: Array<() => void> = [];
  #hosts = 0;
  #nextPort = firstPort;

  /** Addresses for one more host: one IPv4, one IPv6. */
  addHost(): readonly string[] {
    this.#hosts++;
    return [`192.0.2.${this.#hosts}`, `2001:db8::${this.#hosts.toString(16)}`];
  }

  /** Throws `host.command-failed` when the port is taken or the address is not the host's. */
  bind(socket: Omit<MemorySocket, 'port'>, port: number): MemorySocket {
    if (socket.bound !== null && !socket.hostAddresses.includes(socket.bound)) {
      throw new EvioError('host.command-failed', `bind udp socket to ${socket.bound}: not ours`);
    }
    const bound = { ...socket, port: port === 0 ? this.#nextPort++ : port };
    const taken = [...this.#sockets].some(
      (other) =>
        other.hostAddresses === bound.hostAddresses &&
        other.family === bound.family &&
        other.port === bound.port &&
        (other.bound === null || bound.bound === null || other.bound === bound.bound),
    );
    if (taken) throw new EvioError('host.command-failed', `bind udp socket: port ${port} in use`);
    this.#sockets.add(bound);
    return bound;
  }

  unbind(socket: MemorySocket): void {
    this.#sockets.delete(socket);
  }

  /** False when the address is not one of the socket's family; where nobody listens, it is lost. */
  send(socket: MemorySocket, to: Endpoint, bytes: Uint8Array): boolean {
    const family = to.address.includes(':') ? 6 : 4;
    if (family !== socket.family || bytes.length > 65_507) return false;
    const address =
      socket.bound ?? socket.hostAddresses.find((a) => a.includes(':') === (family === 6));
    if (address === undefined) return false;
    const from = { address, port: socket.port };
    const copy = Uint8Array.from(bytes);
    this.enqueue(() => {
      if (!this.filter(from, to, copy)) return;
      this.#find(to)?.receive(from, copy);
    });
    return true;
  }

  /** Runs later, behind everything that is on its way. */
  enqueue(work: () => void): void {
    this.#queue.push(work);
    queueMicrotask(() => this.#queue.shift()?.());
  }

  #find(to: Endpoint): MemorySocket | undefined {
    return [...this.#sockets].find(
      (socket) =>
        socket.port === to.port &&
        (socket.bound === null
          ? socket.hostAddresses.includes(to.address)
          : socket.bound === to.address),
    );
  }
}
