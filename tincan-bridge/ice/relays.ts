/**
 * The TURN allocations of one ICE attempt: what they hand over, the channel that carries the session,
 * and giving them back. Owns channels and their renewal; ICE checks over them are werift's.
 */

import { every } from '../../base/clock.ts';
import { EvioError, messageOf } from '../../base/errors.ts';
import type { Endpoint, Path, SocketNumber } from '../datapath/datapath.ts';
import { applicationData } from '../datapath/wire.ts';
import type { IceDeps } from './agent.ts';
import { giveBack } from './allocate.ts';
import { OwnTransport } from './own-transport.ts';
import { StreamRelay } from './stream-relay.ts';
import {
  Candidate,
  type Connection,
  candidateFoundation,
  candidatePriority,
  type StunOverTurnProtocol,
} from './werift.ts';

/** Channel and permission are renewed this often; a permission lives 300 s (RFC 8656 section 9). */
const renewChannelMs = 240_000;

export class Relays {
  readonly #deps: IceDeps;
  readonly #signal: AbortSignal;
  readonly #received: (from: Endpoint, bytes: Uint8Array) => void;
  readonly #known = new Set<StunOverTurnProtocol>();
  #stream: StreamRelay | null = null;

  constructor(
    deps: IceDeps,
    signal: AbortSignal,
    received: (from: Endpoint, bytes: Uint8Array) => void,
  ) {
    this.#deps = deps;
    this.#signal = signal;
    this.#received = received;
  }

  get sockets(): readonly SocketNumber[] {
    return this.#stream === null ? [] : [this.#stream.socket];
  }

  /** What it hands over and is not STUN: DTLS of the peer, or data before the channel is ours. */
  watch(protocol: StunOverTurnProtocol): void {
    if (this.#known.has(protocol)) return;
    this.#known.add(protocol);
    const { datapath } = this.#deps;
    protocol.turn.onData.subscribe((data, [address, port]) => {
      const first = data[0] ?? 0;
      if (first < 20 || first > 63 || this.#signal.aborted) return;
      const { transport } = protocol.turn;
      if (first !== applicationData) this.#received({ address, port }, data);
      else if (transport instanceof OwnTransport) {
        datapath.injectDatagram(transport.socket, { address, port }, data);
      } else this.#stream?.receive(data);
    });
  }

  /** The path to the peer through the relay: a channel that the datapath writes into itself. */
  async path({ turn }: StunOverTurnProtocol, peer: Endpoint): Promise<Path> {
    const { clock, log, datapath } = this.#deps;
    const channel = await turn.getChannel([peer.address, peer.port]);
    every(clock, renewChannelMs, this.#signal, () => {
      channel.refreshAt = 0; // makes werift bind again, which renews the permission too
      turn.getChannel(channel.address).catch((error: unknown) => {
        log.warn('relay channel was not renewed', { error: messageOf(error) });
      });
    });
    const transport: unknown = turn.transport;
    const server = turn.serverEndpoint;
    if (transport instanceof OwnTransport && server !== undefined) {
      const to = { address: server[0], port: server[1] };
      return { kind: 'turn', socket: transport.socket, to, channel: channel.number };
    }
    const stream = await StreamRelay.open(datapath, (bytes) => {
      turn.sendData(bytes, channel.address).catch(() => {}); // lost, as a datagram may be
    });
    this.#stream = stream;
    if (this.#signal.aborted) stream.close();
    return { kind: 'udp', socket: stream.socket, to: stream.endpoint };
  }

  /** Ends allocations at once: werift lets them run out, and a server's quota counts them. */
  async giveBack(): Promise<void> {
    await Promise.all([...this.#known].map(giveBack));
  }

  close(): void {
    this.#stream?.close();
  }
}

/** Makes an allocation one of the connection's own, as werift's gathering does; its candidate. */
export function adoptRelay(connection: Connection, protocol: StunOverTurnProtocol): Candidate {
  const ensure: unknown = Reflect.get(connection, 'ensureProtocol');
  const protocols: unknown = Reflect.get(connection, 'protocols');
  if (typeof ensure !== 'function' || !Array.isArray(protocols)) {
    throw new EvioError('internal', 'the ICE library has changed inside');
  }
  const [host, port] = protocol.turn.relayedAddress;
  const foundation = candidateFoundation('relay', 'udp', host);
  const priority = candidatePriority('relay');
  const related = protocol.turn.mappedAddress;
  const candidate = new Candidate(
    ...([foundation, 1, 'udp', priority, host, port, 'relay', ...related] as const),
  );
  protocol.localCandidate = candidate;
  Reflect.apply(ensure, connection, [protocol]);
  protocols.push(protocol);
  return candidate;
}
