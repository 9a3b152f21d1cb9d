/**
 * The header before a flooded Ethernet frame (frame type `flood`). Owns the codec and nothing else;
 * what is too short, of another version, or holds no frame is null.
 *
 * Layout: version (1) · ttl (1) · hops (1) · nonce (8) · origin (16) · target (16) · bound (16) ·
 * frame. 59 bytes: less than a ring path costs (envelope, record, type byte: 71), so that an MTU
 * derived for ring paths has room for it.
 */
import { type NodeId, nodeIdBytes, nodeIdFromBytes } from '../../../base/ids.ts';

export const floodHeaderBytes = 59;
const version = 1;
/** Destination, source, type: a frame has at least these. */
const minFrameBytes = 14;

export interface FloodHeader {
  /** Who flooded it first. */
  readonly origin: NodeId;
  /** With the origin it names the broadcast; random, so that nobody can use up future ones. */
  readonly nonce: bigint;
  /** Who is to deliver it next, and to spread it up to `bound`; the others only send it on. */
  readonly target: NodeId;
  /** First id clockwise of the target that is somebody else's; the target itself: all others. */
  readonly bound: NodeId;
  /** Hops that it may still go. */
  readonly ttl: number;
  /** Hops that it went. */
  readonly hops: number;
}

export function encodeFlood(header: FloodHeader, frame: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(floodHeaderBytes + frame.length);
  bytes.set([version, header.ttl, Math.min(255, header.hops)]);
  new DataView(bytes.buffer).setBigUint64(3, header.nonce);
  bytes.set(nodeIdBytes(header.origin), 11);
  bytes.set(nodeIdBytes(header.target), 27);
  bytes.set(nodeIdBytes(header.bound), 43);
  bytes.set(frame, floodHeaderBytes);
  return bytes;
}

export function decodeFlood(
  bytes: Uint8Array,
): { readonly header: FloodHeader; readonly frame: Uint8Array } | null {
  const [found, ttl, hops] = bytes;
  if (bytes.length < floodHeaderBytes + minFrameBytes || found !== version) return null;
  if (ttl === undefined || hops === undefined) return null;
  const header = {
    origin: nodeIdFromBytes(bytes.subarray(11)),
    nonce: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(3),
    target: nodeIdFromBytes(bytes.subarray(27)),
    bound: nodeIdFromBytes(bytes.subarray(43)),
    ttl,
    hops,
  };
  return { header, frame: bytes.subarray(floodHeaderBytes) };
}
