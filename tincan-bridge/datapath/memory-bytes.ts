/**
 * The bytes that the in-memory twin takes apart and puts together: records, ChannelData, envelopes. Owns
 * nothing that `wire.ts` does not say.
 */
import { type NodeId, nodeIdBytes } from '../../base/ids.ts';
import type { Frame } from './datapath.ts';
import {
  applicationData,
  channelDataHeaderBytes,
  checksumUndone,
  etherTypes,
  type FrameType,
  frameTypes,
  recordHeaderBytes,
} from './wire.ts';

export const maxPlaintextBytes = 2 ** 14;

export const typeNames = Object.keys(frameTypes).filter((k): k is FrameType => k in frameTypes);

export const isRecord = (bytes: Uint8Array): boolean =>
  bytes.length >= recordHeaderBytes &&
  bytes[0] === applicationData &&
  bytes[1] === 0xfe &&
  bytes[2] === 0xfd;

export const epochOf = (bytes: Uint8Array): number => (bytes[3] ?? 0) * 256 + (bytes[4] ?? 0);

export const recordBytes = (bytes: Uint8Array): number =>
  recordHeaderBytes + (bytes[11] ?? 0) * 256 + (bytes[12] ?? 0);

/** What ChannelData carries, or the datagram itself. */
export function innerOf(bytes: Uint8Array): Uint8Array {
  const first = bytes[0] ?? 0;
  if (first < 64 || first > 79 || bytes.length <= channelDataHeaderBytes) return bytes;
  const end = channelDataHeaderBytes + (bytes[2] ?? 0) * 256 + (bytes[3] ?? 0);
  return end <= bytes.length ? bytes.subarray(channelDataHeaderBytes, end) : bytes;
}

export function envelope(
  source: NodeId,
  destination: NodeId,
  ttl: number,
  bytes: Uint8Array,
): Uint8Array {
  const ids = [...nodeIdBytes(source), ...nodeIdBytes(destination)];
  return Uint8Array.of(frameTypes.envelope, ...ids, ttl, ...bytes);
}

export function payloadOf(type: FrameType, frame: Frame): Uint8Array {
  const undone = ((frame.offload?.[0] ?? 0) & 1) !== 0 ? checksumUndone : 0;
  return Uint8Array.of(frameTypes[type] | undone, ...frame.bytes);
}

/** ARP, or IPv6 neighbour solicitation or advertisement, without a tag. */
export function resolvesAddress(frame: Uint8Array): boolean {
  const type = (frame[12] ?? 0) * 256 + (frame[13] ?? 0);
  const isDiscovery = frame[20] === 58 && (frame[54] === 135 || frame[54] === 136);
  return type === etherTypes.arp || (type === etherTypes.ipv6 && isDiscovery);
}
