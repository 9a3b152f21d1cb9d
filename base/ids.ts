/**
 * The branded identifiers of Evio and their only parsers. Owns the shape of each id; never looks
 * one up. The casts of this file are the only ones outside tests.
 */
import { z } from 'zod';

/** Name of an overlay, 1…10 characters, so that `evbr-<overlay>` fits a Linux interface name (15). */
export const OverlayId = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,9}$/, 'must be 1 to 10 letters, digits, "-" or "_"')
  .brand<'OverlayId'>();
export type OverlayId = z.infer<typeof OverlayId>;

/** Node id: the first 128 bits of SHA-256 over the SubjectPublicKeyInfo, 32 lower-case hex digits. */
export const NodeId = z
  .string()
  .regex(/^[0-9a-f]{32}$/, 'must be 32 lower-case hex digits')
  .brand<'NodeId'>();
export type NodeId = z.infer<typeof NodeId>;

/** Ethernet address as `02:00:5e:10:00:01`, lower case. */
export const Mac = z
  .string()
  .regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/, 'must be six lower-case hex pairs')
  .brand<'Mac'>();
export type Mac = z.infer<typeof Mac>;

/** Name of a Linux network interface, 1…15 bytes. */
export const InterfaceName = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/,
    'must be a Linux interface name of 1 to 15 characters',
  )
  .brand<'InterfaceName'>();
export type InterfaceName = z.infer<typeof InterfaceName>;

/** Nonce of one attempt to set up a session, 16 lower-case hex digits (64 bits), never reused. */
export const SessionNonce = z
  .string()
  .regex(/^[0-9a-f]{16}$/, 'must be 16 lower-case hex digits')
  .brand<'SessionNonce'>();
export type SessionNonce = z.infer<typeof SessionNonce>;

/** Ids as bytes and back, for the wire and for hashes. */
export const nodeIdBytes = (id: NodeId): Uint8Array => Uint8Array.from(Buffer.from(id, 'hex'));
export const nodeIdFromBytes = (bytes: Uint8Array): NodeId =>
  NodeId.parse(Buffer.from(bytes.subarray(0, 16)).toString('hex'));
export const macBytes = (mac: Mac): Uint8Array =>
  Uint8Array.from(Buffer.from(mac.replaceAll(':', ''), 'hex'));
export const macFromBytes = (bytes: Uint8Array): Mac =>
  Mac.parse([...bytes.subarray(0, 6)].map((b) => b.toString(16).padStart(2, '0')).join(':'));
