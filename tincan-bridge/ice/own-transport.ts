/**
 * The UDP transport that werift gets from us: sockets of the datapath instead of dgram's. Owns the
 * replacement of `UdpTransport.init` and the sorting of datagrams by their first byte (RFC 7983).
 *
 * werift 0.25.2 answers binding requests without checking MESSAGE-INTEGRITY and remembers each
 * sender as a peer-reflexive candidate; so requests are checked here, before it sees them.
 */
import type { AddressInfo } from 'node:net';
import { EvioError } from '../../base/errors.ts';
import type { Datapath, Endpoint, SocketNumber } from '../datapath/datapath.ts';
import type { DatagramRouter } from './router.ts';
import { UdpTransport } from './werift.ts';

/** Who a socket was opened for; handed through werift as its `interfaceAddresses` object. */
export interface TransportOwner {
  readonly datapath: Datapath;
  readonly router: DatagramRouter;
  /** Credentials that incoming binding requests must show. */
  readonly ufrag: string;
  readonly password: string;
  /** A socket was opened. */
  opened(transport: OwnTransport): void;
  /** A STUN answer came (its owner may want the address that the peer saw). */
  answered(transport: OwnTransport, from: Endpoint, bytes: Buffer): void;
  /** A datagram of DTLS came. */
  record(transport: OwnTransport, from: Endpoint, bytes: Uint8Array): void;
}

const owners = new WeakMap<object, TransportOwner>();

/** A key that makes werift's sockets ours: pass it as `interfaceAddresses`. It names no address. */
export function transportKey(owner: TransportOwner): Record<string, never> {
  const key = {};
  owners.set(key, owner);
  return key;
}

interface InitOptions {
  readonly interfaceAddresses?: object;
}

// The one way in (LIBRARIES 4.6): STUN and TURN sides of werift both make their sockets by this.
Object.assign(UdpTransport, {
  init: (type: 'udp4' | 'udp6', options: InitOptions = {}): Promise<OwnTransport> => {
    const owner = owners.get(options.interfaceAddresses ?? {});
    if (owner === undefined) {
      return Promise.reject(new EvioError('internal', 'a socket without an owner was asked for'));
    }
    return new Promise((resolve) => resolve(new OwnTransport(owner, type === 'udp6' ? 6 : 4)));
  },
});

type Receive = (data: Buffer, from: readonly [string, number]) => void;

export class OwnTransport {
  readonly type = 'udp';
  readonly addressFamily: 4 | 6;
  readonly socket: SocketNumber;
  readonly port: number;
  closed = false;
  /** Set by werift. */
  onData: Receive = () => {};
  readonly #owner: TransportOwner;

  constructor(owner: TransportOwner, family: 4 | 6) {
    this.#owner = owner;
    this.addressFamily = family;
    const { socket, port } = owner.datapath.openSocket(family, null, 0);
    this.socket = socket;
    this.port = port;
    owner.router.set(socket, (from, bytes) => this.#receive(from, bytes));
    owner.opened(this);
  }

  get host(): string {
    return this.addressFamily === 4 ? '0.0.0.0' : '::';
  }

  get address(): AddressInfo {
    return {
      address: this.host,
      family: this.addressFamily === 4 ? 'IPv4' : 'IPv6',
      port: this.port,
    };
  }

  readonly send = (data: Buffer, to?: readonly [string, number]): Promise<void> => {
    if (to !== undefined && !this.closed) this.sendTo({ address: to[0], port: to[1] }, data);
    return Promise.resolve();
  };

  /** False when the kernel refused it: to ICE a lost packet. */
  sendTo(to: Endpoint, bytes: Uint8Array): boolean {
    return !this.closed && this.#owner.datapath.sendDatagram(this.socket, to, bytes);
  }

  readonly close = (): Promise<void> => {
    if (!this.closed) {
      this.closed = true;
      this.#owner.router.delete(this.socket);
      this.#owner.datapath.closeSocket(this.socket);
    }
    return Promise.resolve();
  };

  #receive(from: Endpoint, bytes: Uint8Array): void {
    const first = bytes[0] ?? 255;
    if (first >= 20 && first <= 63) {
      this.#owner.record(this, from, bytes);
      return;
    }
    if (first > 3 && (first < 64 || first > 79)) return;
    const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (first === 1 && data[1] === 1) this.#owner.answered(this, from, data);
    this.onData(data, [from.address, from.port]);
  }
}
