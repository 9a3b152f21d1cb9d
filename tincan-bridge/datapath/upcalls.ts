/**
 * Decodes the packed upcalls of the addon (`native/upcalls.h`: an 80-byte header, then the bytes,
 * in the byte order of the machine, which is little-endian on every platform Node.js is built for
 * here). Owns nothing; never keeps a reference to the packed array.
 */
import { EvioError } from '../../base/errors.ts';
import { nodeIdFromBytes } from '../../base/ids.ts';
import type { Frame, FrameReason, Upcall } from './datapath.ts';

const headerBytes = 80;
const factsAt = 16;
const kinds = ['frame-out', 'frame-in', 'message', 'envelope', 'datagram'] as const;
const reasons: readonly FrameReason[] = [
  ...(['group', 'unknown-destination', 'source', 'too-big', 'resolution'] as const),
];

/** All upcalls of one packed array, oldest first. */
export function decodeUpcalls(packed: Uint8Array): Upcall[] {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const upcalls: Upcall[] = [];
  for (let at = 0; at + headerBytes <= packed.byteLength; ) {
    const end = at + headerBytes + view.getUint32(at + 8, true);
    upcalls.push(decodeOne(packed, view, at, packed.slice(at + headerBytes, end)));
    at = end;
  }
  return upcalls;
}

function decodeOne(packed: Uint8Array, view: DataView, at: number, bytes: Uint8Array): Upcall {
  const kind = kinds[view.getUint8(at)];
  const code = view.getUint8(at + 1);
  const flagged = view.getUint8(at + 2) !== 0;
  const number = view.getInt32(at + 4, true);
  const facts = (offset: number, length: number): Uint8Array =>
    packed.slice(at + factsAt + offset, at + factsAt + offset + length);
  const frame: Frame = { bytes, offload: flagged ? facts(0, 10) : null };
  switch (kind) {
    case 'frame-out':
      return { kind, reason: reasons[code] ?? 'source', frame, session: number };
    case 'frame-in':
      return {
        kind,
        reason: reasons[code] === 'resolution' ? 'resolution' : 'source',
        session: number,
        frame,
      };
    case 'message': {
      const type = code === 1 ? 'flood' : 'control';
      return { kind, type, session: number, bytes, checksumUndone: flagged };
    }
    case 'envelope': {
      const source = nodeIdFromBytes(facts(0, 16));
      const destination = nodeIdFromBytes(facts(16, 16));
      return { kind, session: number, source, destination, ttl: view.getUint8(at + 3), bytes };
    }
    case 'datagram': {
      const text = facts(0, 64);
      const address = Buffer.from(text.subarray(0, text.indexOf(0))).toString('latin1');
      const from = { address, port: view.getUint16(at + 12, true) };
      return { kind, socket: number, from, bytes };
    }
    default:
      throw new EvioError('internal', `upcall of kind ${view.getUint8(at)}`);
  }
}
