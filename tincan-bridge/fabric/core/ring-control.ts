/**
 * In-band control payloads (frame type `control`) of the ring: who my neighbours are, this way ends,
 * who knows a way, here is one. Owns the codec; what it does not know or cannot read is null.
 *
 * Kinds below 16 are the session's own (`session/core/control.ts`). All are at most 1,043 bytes, so
 * that they fit every path. Longer payloads of a known kind are accepted, the rest is ignored.
 */
import { type NodeId, nodeIdBytes, nodeIdFromBytes } from '../../../base/ids.ts';

/** Neighbours that one advertisement names. */
export const maxAdvertised = 64;

export interface Advertisement {
  readonly kind: 'neighbours';
  /** Others' frames may be sent over the sender; a leaf says false. */
  readonly transit: boolean;
  readonly neighbours: readonly NodeId[];
}

/** No way to `destination` from `reporter`; on its way to `source`, who sent there. */
export interface DeadEnd {
  readonly kind: 'dead-end';
  readonly source: NodeId;
  readonly destination: NodeId;
  readonly reporter: NodeId;
  /** The ttl was used up, rather than the neighbours. */
  readonly expired: boolean;
  readonly ttl: number;
}

/** Asked of everybody within `ttl` hops: who is, or has a link to, `target`? */
export interface Search {
  readonly kind: 'search';
  readonly origin: NodeId;
  readonly target: NodeId;
  /** With the origin it names the search; random, 32 bits. */
  readonly number: number;
  readonly ttl: number;
  /** The usual way does not work: others are wanted. */
  readonly anew: boolean;
}

/** The answer, back along the way that the search came. */
export interface Found {
  readonly kind: 'found';
  readonly origin: NodeId;
  readonly target: NodeId;
  readonly number: number;
  /** From the sender of this message to the target. */
  readonly hops: number;
}

export type RingControl = Advertisement | DeadEnd | Search | Found;

const kinds = { neighbours: 16, 'dead-end': 17, search: 18, found: 19 } as const;
const idBytes = 16;

export function encodeRingControl(control: RingControl): Uint8Array {
  switch (control.kind) {
    case 'neighbours': {
      const ids = control.neighbours.slice(0, maxAdvertised);
      return packed([kinds.neighbours, control.transit ? 1 : 0, ids.length], ids, null);
    }
    case 'dead-end': {
      const { source, destination, reporter, expired, ttl } = control;
      const head = [kinds['dead-end'], expired ? 1 : 0, ttl];
      return packed(head, [source, destination, reporter], null);
    }
    case 'search': {
      const { origin, target, number, ttl, anew } = control;
      return packed([kinds.search, anew ? 1 : 0, ttl], [origin, target], number);
    }
    case 'found': {
      const { origin, target, number, hops } = control;
      return packed([kinds.found, 0, hops], [origin, target], number);
    }
  }
}

export function decodeRingControl(bytes: Uint8Array): RingControl | null {
  const [kind, flag, small] = bytes;
  if (kind === undefined || flag === undefined || small === undefined) return null;
  switch (kind) {
    case kinds.neighbours: {
      const neighbours = small > maxAdvertised ? null : ids(bytes, small);
      if (neighbours === null) return null;
      return { kind: 'neighbours', transit: (flag & 1) === 1, neighbours };
    }
    case kinds['dead-end']: {
      const [source, destination, reporter] = ids(bytes, 3) ?? [];
      if (source === undefined || destination === undefined || reporter === undefined) return null;
      const expired = (flag & 1) === 1;
      return { kind: 'dead-end', source, destination, reporter, expired, ttl: small };
    }
    case kinds.search:
    case kinds.found: {
      const [origin, target] = ids(bytes, 2) ?? [];
      const number = numberAfter(bytes, 2);
      if (origin === undefined || target === undefined || number === null) return null;
      return kind === kinds.search
        ? { kind: 'search', origin, target, number, ttl: small, anew: (flag & 1) === 1 }
        : { kind: 'found', origin, target, number, hops: small };
    }
    default:
      return null;
  }
}

/** Layout of all: kind (1) · flags (1) · count, ttl or hops (1) · ids (16 each) · number (4). */
function packed(
  head: readonly number[],
  nodes: readonly NodeId[],
  number: number | null,
): Uint8Array {
  const bytes = new Uint8Array(head.length + nodes.length * idBytes + (number === null ? 0 : 4));
  bytes.set(head);
  nodes.forEach((id, index) => {
    bytes.set(nodeIdBytes(id), head.length + index * idBytes);
  });
  if (number !== null) new DataView(bytes.buffer).setUint32(bytes.length - 4, number);
  return bytes;
}

const headBytes = 3;

function ids(bytes: Uint8Array, count: number): readonly NodeId[] | null {
  if (bytes.length < headBytes + count * idBytes) return null;
  return Array.from({ length: count }, (_, index) =>
    nodeIdFromBytes(bytes.subarray(headBytes + index * idBytes)),
  );
}

function numberAfter(bytes: Uint8Array, count: number): number | null {
  const at = headBytes + count * idBytes;
  if (bytes.length < at + 4) return null;
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at);
}
