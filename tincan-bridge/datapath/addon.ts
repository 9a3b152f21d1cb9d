/**
 * The shape of the addon (`native/addon.cpp`) and how it is found and loaded. Owns the only
 * untyped step, `require`; never calls a function of it.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { z } from 'zod';
import { EvioError, isErrorCode, messageOf } from '../../base/errors.ts';

declare const engineBrand: unique symbol;
declare const handshakeBrand: unique symbol;
declare const watchBrand: unique symbol;
export interface EngineHandle {
  readonly [engineBrand]: true;
}
export interface HandshakeHandle {
  readonly [handshakeBrand]: true;
}
export interface WatchHandle {
  readonly [watchBrand]: true;
}

/** Codes of the addon: index in these lists. */
export const suiteCodes = ['aes-128-gcm', 'aes-256-gcm', 'chacha20-poly1305'] as const;
export const pathCodes = { none: 0, udp: 1, turn: 2, ring: 3 } as const;
export const stationCodes = { session: 0, local: 1, drop: 2 } as const;
export const handshakeStates = ['running', 'done', 'failed'] as const;

export interface HandshakeResult {
  readonly peerCertificate: Uint8Array;
  readonly cipher: string;
  readonly suite: number;
  readonly sendKey: Uint8Array;
  readonly sendIv: Uint8Array;
  readonly receiveKey: Uint8Array;
  readonly receiveIv: Uint8Array;
}

/** Every function checks its arguments and throws an Error whose `code` is one of base/errors.ts. */
export interface Addon {
  readonly wire: Readonly<Record<string, number>>;
  /** `onPacked` takes packed upcalls: control first, then frames (`upcalls.ts`). */
  open(
    tap: string,
    nodeId: Uint8Array,
    offload: boolean,
    onPacked: (control: Uint8Array, frames: Uint8Array) => void,
  ): EngineHandle;
  close(engine: EngineHandle): void;
  openSocket(engine: EngineHandle, family: number, address: string, port: number): Float64Array;
  closeSocket(engine: EngineHandle, socket: number): void;
  sendDatagram(
    engine: EngineHandle,
    socket: number,
    address: string,
    port: number,
    bytes: Uint8Array,
  ): boolean;
  injectDatagram(
    engine: EngineHandle,
    socket: number,
    address: string,
    port: number,
    bytes: Uint8Array,
  ): void;
  addSession(
    engine: EngineHandle,
    session: number,
    peer: Uint8Array,
    suite: number,
    sendKey: Uint8Array,
    sendIv: Uint8Array,
    receiveKey: Uint8Array,
    receiveIv: Uint8Array,
  ): void;
  setPath(
    engine: EngineHandle,
    session: number,
    kind: number,
    socketOrVia: number,
    address: string,
    port: number,
    channelOrTtl: number,
    sockets: Int32Array,
    maxFrameBytes: number,
  ): void;
  replaceSession(engine: EngineHandle, from: number, to: number): void;
  removeSession(engine: EngineHandle, session: number): void;
  setStation(engine: EngineHandle, mac: Uint8Array, kind: number, session: number): void;
  removeStation(engine: EngineHandle, mac: Uint8Array): void;
  stationIdleMs(engine: EngineHandle, mac: Uint8Array): number;
  setRelay(engine: EngineHandle, destination: Uint8Array, session: number): void;
  removeRelay(engine: EngineHandle, destination: Uint8Array): void;
  sendFrame(
    engine: EngineHandle,
    session: number,
    type: number,
    bytes: Uint8Array,
    offload: Uint8Array,
  ): boolean;
  sendEnvelope(
    engine: EngineHandle,
    via: number,
    source: Uint8Array,
    destination: Uint8Array,
    ttl: number,
    bytes: Uint8Array,
  ): boolean;
  deliverFrame(engine: EngineHandle, bytes: Uint8Array, offload: Uint8Array): boolean;
  completeFrame(bytes: Uint8Array, offload: Uint8Array): Uint8Array[];
  counters(engine: EngineHandle): Float64Array;
  sessionCounters(engine: EngineHandle, session: number): Float64Array;
  handshakeCreate(
    server: boolean,
    certificate: string,
    key: string,
    maxDatagramBytes: number,
    retransmitMs: number,
    preferChaCha: boolean,
  ): HandshakeHandle;
  handshakeStart(handshake: HandshakeHandle): number;
  handshakeFeed(handshake: HandshakeHandle, datagram: Uint8Array): number;
  handshakeExpire(handshake: HandshakeHandle): number;
  handshakeTake(handshake: HandshakeHandle): Uint8Array[];
  handshakeDeadlineMs(handshake: HandshakeHandle): number;
  handshakeResult(handshake: HandshakeHandle): HandshakeResult;
  handshakeReason(handshake: HandshakeHandle): string;
  handshakeKeyLogLine(handshake: HandshakeHandle): string;
  handshakeClose(handshake: HandshakeHandle): void;
  /** Calls on each burst of netlink events of links, addresses and routes. */
  watchNetwork(call: () => void): WatchHandle;
  /** Exactly once for a watch. */
  unwatchNetwork(watch: WatchHandle): void;
}

/** An addon of another build is found out here rather than at its first missing function. */
const loaded = z.looseObject({
  wire: z.record(z.string(), z.number()),
  open: z.function(),
  completeFrame: z.function(),
  handshakeCreate: z.function(),
  watchNetwork: z.function(),
});

let addon: Addon | undefined;

/** Loads the addon once. Throws `runtime.unsupported` when it is missing or cannot be loaded. */
export function loadAddon(): Addon {
  addon ??= requireAddon(process.env['EVIO_NATIVE'] ?? findAddon());
  return addon;
}

/** From the sources and from `dist/`, which has the same shape one level deeper. */
function findAddon(): string {
  const built = join('tincan-bridge', 'native', 'build', 'Release', 'evio.node');
  const roots = [join(import.meta.dirname, '../..'), join(import.meta.dirname, '../../..')];
  const found = roots.map((root) => join(root, built)).find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new EvioError('runtime.unsupported', `the native addon ${built} has not been built`);
}

function requireAddon(path: string): Addon {
  try {
    const module: Addon = createRequire(import.meta.url)(path);
    loaded.parse(module);
    return module;
  } catch (error) {
    const message = `the native addon ${path} cannot be loaded: ${messageOf(error)}`;
    throw new EvioError('runtime.unsupported', message, { cause: error });
  }
}

/** Runs a call into the addon; what it throws comes out as EvioError. */
export function callAddon<T>(body: () => T): T {
  try {
    return body();
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    throw new EvioError(isErrorCode(code) ? code : 'internal', messageOf(error), { cause: error });
  }
}
