/**
 * The switch's own Ethernet frames: probes that find loops outside the overlay, their answers, and "this
 * station is not here any more". Owns the codec; none ever reaches a host, but for probes.
 *
 * Layout behind the Ethernet header: "evio" (4) · kind (1) · node id (16) · nonce (8) or MAC (6).
 */

import {
  type Mac,
  macBytes,
  macFromBytes,
  type NodeId,
  nodeIdBytes,
  nodeIdFromBytes,
} from '../../../base/ids.ts';
import { etherTypes } from '../../datapath/wire.ts';

export interface LoopFrame {
  readonly kind: 'probe' | 'heard' | 'confirmed';
  /** Whose probe it is, or was. */
  readonly node: NodeId;
  readonly nonce: bigint;
}
export interface GoneFrame {
  readonly kind: 'gone';
  readonly node: NodeId;
  readonly mac: Mac;
}
export type OwnFrame = LoopFrame | GoneFrame;

const kinds = ['probe', 'heard', 'confirmed', 'gone'] as const;
/** A locally administered group, which bridges spread. */
const destination = Uint8Array.of(0x03, 0x65, 0x76, 0x69, 0x6f, 0x01);
const magic = Uint8Array.of(0x65, 0x76, 0x69, 0x6f);
const headerBytes = 14;
const leastBytes = 60;
const bodyAt = headerBytes + magic.length;
const restAt = bodyAt + 1 + 16;

export function encodeOwnFrame(frame: OwnFrame): Uint8Array {
  const bytes = new Uint8Array(leastBytes);
  const view = new DataView(bytes.buffer);
  const id = nodeIdBytes(frame.node);
  bytes.set(destination);
  // Locally administered; of the node, so that no bridge sees one address on two of its ports.
  bytes.set([0x02, ...id.subarray(0, 5)], 6);
  view.setUint16(12, etherTypes.experimental);
  bytes.set(magic, headerBytes);
  bytes[bodyAt] = kinds.indexOf(frame.kind) + 1;
  bytes.set(id, bodyAt + 1);
  if (frame.kind === 'gone') bytes.set(macBytes(frame.mac), restAt);
  else view.setBigUint64(restAt, frame.nonce);
  return bytes;
}

/** Null: a frame of somebody else. */
export function decodeOwnFrame(bytes: Uint8Array): OwnFrame | null {
  if (bytes.length < restAt + 8) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint16(12) !== etherTypes.experimental) return null;
  if (!destination.every((byte, n) => bytes[n] === byte)) return null;
  if (!magic.every((byte, n) => bytes[headerBytes + n] === byte)) return null;
  const kind = kinds[(bytes[bodyAt] ?? 0) - 1];
  const node = nodeIdFromBytes(bytes.subarray(bodyAt + 1, restAt));
  if (kind === undefined) return null;
  if (kind === 'gone') return { kind, node, mac: macFromBytes(bytes.subarray(restAt, restAt + 6)) };
  return { kind, node, nonce: view.getBigUint64(restAt) };
}
