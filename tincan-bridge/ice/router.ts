/**
 * Which attempt gets a datagram that came up from a socket. Owns the map; reads no bytes.
 */
import type { Endpoint, SocketNumber } from '../datapath/datapath.ts';

type Receive = (from: Endpoint, bytes: Uint8Array) => void;

export class DatagramRouter {
  readonly #receivers = new Map<SocketNumber, Receive>();
  #unclaimed = 0;
  #refusedChecks = 0;

  set(socket: SocketNumber, receive: Receive): void {
    this.#receivers.set(socket, receive);
  }

  delete(socket: SocketNumber): void {
    this.#receivers.delete(socket);
  }

  route(socket: SocketNumber, from: Endpoint, bytes: Uint8Array): void {
    const receive = this.#receivers.get(socket);
    if (receive === undefined) this.#unclaimed += 1;
    else receive(from, bytes);
  }

  /** Sockets in use, and datagrams for sockets that were closed meanwhile. */
  get size(): number {
    return this.#receivers.size;
  }
  get unclaimed(): number {
    return this.#unclaimed;
  }

  /** A STUN request that was not let through: forged, too many, or from too many addresses. */
  refuseCheck(): void {
    this.#refusedChecks += 1;
  }
  get refusedChecks(): number {
    return this.#refusedChecks;
  }
}
