/**
 * A path through a TURN server that is reached over TCP or TLS, for a datapath that only sends UDP:
 * a pair of loopback sockets, of which the datapath has one and this object the other. Owns the
 * second socket; knows nothing of what it carries.
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import type { Datapath, Endpoint, SocketNumber } from '../datapath/datapath.ts';

const loopback = '127.0.0.1';

export class StreamRelay {
  readonly socket: SocketNumber;
  readonly #datapath: Datapath;
  readonly #own: Socket;
  #closed = false;

  private constructor(datapath: Datapath, own: Socket, send: (bytes: Buffer) => void) {
    this.#datapath = datapath;
    this.#own = own;
    const { socket, port } = datapath.openSocket(4, loopback, 0);
    this.socket = socket;
    own.on('message', (bytes, from) => {
      if (from.address === loopback && from.port === port) send(bytes);
    });
    own.on('error', () => this.close()); // the session then hears nothing and seeks another path
  }

  static async open(datapath: Datapath, send: (bytes: Buffer) => void): Promise<StreamRelay> {
    const own = createSocket('udp4');
    own.bind(0, loopback);
    await once(own, 'listening');
    return new StreamRelay(datapath, own, send);
  }

  /** Where the datapath has to send to. */
  get endpoint(): Endpoint {
    return { address: loopback, port: this.#own.address().port };
  }

  /** A datagram of the peer that came out of the stream. */
  receive(bytes: Uint8Array): void {
    if (!this.#closed) this.#datapath.injectDatagram(this.socket, this.endpoint, bytes);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#own.close();
    this.#datapath.closeSocket(this.socket);
  }
}
