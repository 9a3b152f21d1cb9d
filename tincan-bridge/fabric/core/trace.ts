/**
 * A question that goes the way of an envelope and collects who sends it on; the target answers in its
 * session with the origin. Owns the codec (frame type `control`, kind 20) and the rule of one hop. What
 * the nodes between say of themselves is a claim of theirs: it is for the operator, nothing is decided
 * by it.
 *
 * Layout: kind (1) · ttl (1) · count of hops (1) · number (8) · origin (16) · target (16) · hops (16 each).
 */
import { type NodeId, nodeIdBytes, nodeIdFromBytes } from '../../../base/ids.ts';

const kind = 20;
const headBytes = 11;
const idBytes = 16;
/** Hops that are collected: 1,003 bytes in all, so that it fits every path. */
export const maxTraceHops = 60;
/** What one neighbour may bring of it. */
export const traceBudget = { perSecond: 20, burst: 40 } as const;

export interface Trace {
  readonly origin: NodeId;
  readonly target: NodeId;
  readonly number: bigint;
  readonly ttl: number;
  readonly hops: readonly NodeId[];
}

export function encodeTrace({ origin, target, number, ttl, hops }: Trace): Uint8Array {
  const ids = [origin, target, ...hops.slice(0, maxTraceHops)];
  const bytes = new Uint8Array(headBytes + ids.length * idBytes);
  bytes.set([kind, ttl, ids.length - 2]);
  new DataView(bytes.buffer).setBigUint64(3, number);
  ids.forEach((id, index) => {
    bytes.set(nodeIdBytes(id), headBytes + index * idBytes);
  });
  return bytes;
}

export function decodeTrace(bytes: Uint8Array): Trace | null {
  const [found, ttl = 0, count = 0] = bytes;
  if (found !== kind || count > maxTraceHops) return null;
  if (bytes.length < headBytes + (2 + count) * idBytes) return null;
  const number = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(3);
  const [origin, target, ...hops] = Array.from({ length: 2 + count }, (_, index) =>
    nodeIdFromBytes(bytes.subarray(headBytes + index * idBytes)),
  );
  if (origin === undefined || target === undefined) return null;
  return { origin, target, number, ttl, hops };
}

/** As it leaves `self`, or null when it ends there. */
export function passTrace(trace: Trace, self: NodeId): Trace | null {
  if (trace.ttl <= 1 || trace.hops.length >= maxTraceHops || trace.hops.includes(self)) return null;
  return { ...trace, ttl: trace.ttl - 1, hops: [...trace.hops, self] };
}
