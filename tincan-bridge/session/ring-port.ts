/**
 * What a session asks of the ring: the next hop now, and to carry a datagram. Owns the interface;
 * `fabric/ring.ts` implements it.
 */
import type { NodeId } from '../../base/ids.ts';
import type { SessionNumber } from '../datapath/datapath.ts';

export interface RingWay {
  /** The next hop, never the destination itself. */
  readonly via: NodeId;
  readonly session: SessionNumber;
  readonly ttl: number;
  /** Largest frame of the session with the next hop. */
  readonly maxFrameBytes: number;
}

export interface RingPort {
  /** Without a search. */
  way(peer: NodeId): RingWay | null;
  /** Searches for a way, unless a search has failed just now, or there is one. */
  seek(peer: NodeId): void;
  /** Nothing comes back over the way: it is left, and others are searched for. Returns its first hop. */
  leave(peer: NodeId): NodeId | null;
  /** Something came through again after the way over that hop was left: the hop swallows. */
  swallowed(via: NodeId): void;
  /** Sends a datagram in an envelope; false: no way now. */
  send(peer: NodeId, bytes: Uint8Array): boolean;
  /** Sends a trace on its way to the peer. */
  trace(peer: NodeId, number: bigint): void;
  /** One more handshake may begin now. */
  admits(): boolean;
}
