/**
 * A TCP or TLS connection to a TURN server in the shape that werift's TURN client wants. Owns the
 * connection, the check of its certificate, and the bound of what waits to be sent: a stream that is
 * slower than what it carries loses datagrams, as a full UDP path does, and never grows a queue.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, isIP, type Socket } from 'node:net';
import { connect as connectTls, getCACertificates } from 'node:tls';
import type { Clock } from '../../base/clock.ts';
import { EvioError, messageOf } from '../../base/errors.ts';
import { TurnFrames } from './turn-frames.ts';

/** Bytes that may wait in the stream; some 20 ms of a fast uplink, three super-frames. */
const maxUnsentBytes = 256 * 1024;
/** TCP and TLS: three round trips to a server that is there. */
const connectMs = 4_000;

export interface StreamTarget {
  readonly transport: 'tcp' | 'tls';
  /** Name or address that the certificate must be of. */
  readonly host: string;
  /** Where it was resolved to. */
  readonly address: string;
  readonly port: number;
  /** CA certificates to trust instead of the system's, PEM. */
  readonly ca: string | null;
}

export class StreamTransport {
  readonly type: 'tcp' | 'tls';
  readonly remoteAddress: readonly [string, number];
  closed = false;
  /** Set by werift; takes whole frames only. */
  onData: (data: Buffer, from: readonly [string, number]) => void = () => {};
  /** Called once when the far side or the network ends the connection. */
  onLost: () => void = () => {};
  readonly #socket: Socket;
  readonly #frames = new TurnFrames();

  private constructor(target: StreamTarget, socket: Socket) {
    this.type = target.transport;
    this.remoteAddress = [target.address, target.port];
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (data: Buffer) => this.#received(data));
    socket.on('error', () => {}); // `close` follows
    socket.on('close', () => this.#lost());
  }

  /** Connects and verifies; rejects with what is wrong with the server, its certificate included. */
  static async open(
    target: StreamTarget,
    clock: Clock,
    signal: AbortSignal,
  ): Promise<StreamTransport> {
    const socket = openSocket(target);
    const over = new AbortController();
    const where = `${target.host}:${target.port}`;
    const end = (): void => void socket.destroy(new Error(`no answer within ${connectMs} ms`));
    signal.addEventListener('abort', end, { once: true, signal: over.signal });
    clock.after(connectMs, over.signal, end);
    try {
      if (signal.aborted) end();
      await once(socket, target.transport === 'tls' ? 'secureConnect' : 'connect');
      return new StreamTransport(target, socket);
    } catch (error) {
      socket.on('error', () => {});
      socket.destroy();
      const text = `TURN server ${where} over ${target.transport}: ${messageOf(error)}`;
      throw new EvioError('internal', text, { cause: error });
    } finally {
      over.abort();
    }
  }

  get address(): AddressInfo {
    const { localAddress = '', localPort = 0, localFamily = '' } = this.#socket;
    return { address: localAddress, port: localPort, family: localFamily };
  }

  readonly send = (data: Buffer): Promise<void> => {
    if (!this.closed && this.#socket.writableLength < maxUnsentBytes) this.#socket.write(data);
    return Promise.resolve();
  };

  readonly close = (): Promise<void> => {
    this.onLost = () => {};
    this.closed = true;
    this.#socket.destroy();
    return Promise.resolve();
  };

  #received(data: Buffer): void {
    if (this.closed) return;
    let frames: readonly Buffer[];
    try {
      frames = this.#frames.push(data);
    } catch (error) {
      this.#socket.destroy(new Error(messageOf(error))); // there is no way back into step
      return;
    }
    for (const frame of frames) this.onData(frame, this.remoteAddress);
  }

  #lost(): void {
    if (this.closed) return;
    this.closed = true;
    this.onLost();
  }
}

function openSocket({ transport, host, address, port, ca }: StreamTarget): Socket {
  if (transport === 'tcp') return connect({ host: address, port });
  return connectTls({
    host: address,
    port,
    // The certificate must be of the configured name, whatever address that resolved to.
    ...(isIP(host) === 0 ? { servername: host } : {}),
    rejectUnauthorized: true,
    minVersion: 'TLSv1.2',
    ca: ca ?? [...getCACertificates('default'), ...getCACertificates('system')],
  });
}
