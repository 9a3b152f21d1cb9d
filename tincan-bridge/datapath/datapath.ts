/**
 * The data path as TypeScript sees it: tables that it writes, upcalls that it answers, counters that
 * it reads. Two implementations, `native.ts` (the addon) and `memory.ts` (for tests without root),
 * pass the same contract suite. No policy lives below this line.
 *
 * Threads of the native one: outbound (TAP → sockets) and inbound (sockets → TAP); neither ever
 * enters JavaScript. Table commands take effect in the order in which they are called, between two
 * packets; `sendFrame` and `deliverFrame` act at once on the calling thread, in their own lane.
 */
import type { InterfaceName, Mac, NodeId } from '../../base/ids.ts';
import type { FrameType, Suite } from './wire.ts';

/** Number of a session in the tables: 1…2^31-1, chosen by the caller, not reused while it lives. */
export type SessionNumber = number;
/** Number of a UDP socket, given by `openSocket`. */
export type SocketNumber = number;

/** Keys of one association, from a finished handshake. `iv`: 4 bytes for GCM, 12 for ChaCha20. */
export interface RecordKeys {
  readonly suite: Suite;
  readonly sendKey: Uint8Array;
  readonly sendIv: Uint8Array;
  readonly receiveKey: Uint8Array;
  readonly receiveIv: Uint8Array;
}

/** A UDP address. `address` is a literal IPv4 or IPv6 address of the socket's family. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** Where the records of a session are sent. */
export type Path =
  /** Nowhere: frames are dropped and counted as `noPath`. */
  | { readonly kind: 'none' }
  /** A datagram to the peer's address. */
  | { readonly kind: 'udp'; readonly socket: SocketNumber; readonly to: Endpoint }
  /** ChannelData to a TURN server; `channel` 0x4000…0x4fff, bound by the ICE agent. */
  | {
      readonly kind: 'turn';
      readonly socket: SocketNumber;
      readonly to: Endpoint;
      readonly channel: number;
    }
  /** An envelope inside the records of another session, which must be the next hop. */
  | { readonly kind: 'ring'; readonly via: SessionNumber; readonly ttl: number };

export interface SessionOptions {
  readonly session: SessionNumber;
  /** Whom the keys were authenticated for; source of envelopes that are opened with this session. */
  readonly peer: NodeId;
  readonly keys: RecordKeys;
  readonly path: Path;
  /** Sockets on which records of this session may arrive, from any address: the seal decides. */
  readonly sockets: readonly SocketNumber[];
  /** Largest Ethernet frame (header included) that this session's path carries; larger: `too-big`. */
  readonly maxFrameBytes: number;
}

/** What is done with frames for or from a station. */
export type Station =
  /** Frames to it go over the session; frames from it must come over one with the same peer. */
  | { readonly kind: 'session'; readonly session: SessionNumber }
  /** It is behind the TAP: frames from a session that claim it as source are dropped (`spoofed`). */
  | { readonly kind: 'local' }
  /** Frames to and from it are dropped and counted. */
  | { readonly kind: 'drop' };

/** Why an Ethernet frame was not handled by the tables. */
export type FrameReason =
  /** Destination is a group address (broadcast or multicast), from the TAP. */
  | 'group'
  /** Destination has no entry, from the TAP. */
  | 'unknown-destination'
  /** Source has no entry, or another one than the side it came from. */
  | 'source'
  /** Larger than the path of its session carries (`session` says which). */
  | 'too-big'
  /** A copy, from a session: what was delivered may say who has an IP address (ARP, neighbour discovery). */
  | 'resolution';

/** An Ethernet frame with what the kernel said about it. Opaque but for the addon. */
export interface Frame {
  /** From destination MAC to the end of the payload, no FCS; may be a super-frame ≤ 65 549 bytes. */
  readonly bytes: Uint8Array;
  /**
   * Offload facts (struct virtio_net_hdr, 10 bytes) that `sendFrame`/`deliverFrame` want back.
   * `undoneOffload` of wire.ts says no more than that the checksum is not computed yet.
   */
  readonly offload: Uint8Array | null;
}

/** What the threads hand up. Bounded: when JavaScript is late, they are dropped and counted. */
export type Upcall =
  /** A frame that was read from the TAP. */
  | {
      readonly kind: 'frame-out';
      readonly reason: FrameReason;
      readonly frame: Frame;
      /** Session that could not carry it, for `too-big`; else 0. */
      readonly session: SessionNumber;
    }
  /** A frame of type `ethernet` that came over a session: its source is unexpected, or it is a copy. */
  | {
      readonly kind: 'frame-in';
      readonly reason: 'source' | 'resolution';
      readonly session: SessionNumber;
      readonly frame: Frame;
    }
  /** A `flood` or `control` payload that came over a session, without the type byte. */
  | {
      readonly kind: 'message';
      readonly type: 'flood' | 'control';
      readonly session: SessionNumber;
      readonly bytes: Uint8Array;
      /** The checksum bit of the type byte (a flooded frame may have it). */
      readonly checksumUndone: boolean;
    }
  /**
   * An envelope for another node without a relay entry (or with one that leads back to where it came
   * from), or for us with no session record inside.
   */
  | {
      readonly kind: 'envelope';
      readonly session: SessionNumber;
      readonly source: NodeId;
      readonly destination: NodeId;
      readonly ttl: number;
      readonly bytes: Uint8Array;
    }
  /** Any datagram that is not a data record of a known session: STUN, DTLS handshake, TURN. */
  | {
      readonly kind: 'datagram';
      readonly socket: SocketNumber;
      readonly from: Endpoint;
      readonly bytes: Uint8Array;
    };

/** Totals since the start. Frames are wire frames: a super-frame counts each of its segments. */
export interface Counters {
  readonly tapReadFrames: number;
  readonly tapReadBytes: number;
  readonly tapWrittenFrames: number;
  readonly tapWrittenBytes: number;
  readonly tapWriteErrors: number;
  readonly upcalls: number;
  readonly upcallsDroppedFrames: number;
  readonly upcallsDroppedDatagrams: number;
  /** Frames for a station of kind `drop`, or that make no sense (shorter than 14 bytes). */
  readonly dropped: number;
  /** Frames that claimed a source which the tables know on another side as `local`. */
  readonly spoofed: number;
  /** Data records that no session of the socket could open. */
  readonly unopened: number;
  /** Envelopes sent on by the relay table, and those whose ttl was used up. */
  readonly relayed: number;
  readonly ttlExpired: number;
  readonly sendErrors: number;
}

/** Of one session. */
export interface SessionCounters {
  readonly sentFrames: number;
  readonly sentBytes: number;
  readonly receivedFrames: number;
  readonly receivedBytes: number;
  /** Opened, but their number was seen before or is older than the window. */
  readonly replayed: number;
  /** Not opened though no other session of the socket wanted them. */
  readonly forged: number;
  readonly tooBig: number;
  readonly noPath: number;
  readonly sendErrors: number;
  /** Ethernet frames alone: neither control nor what was sent on for others. */
  readonly sentPayloadBytes: number;
  readonly receivedPayloadBytes: number;
  /** Milliseconds since the last record, or -1 when there was none. */
  readonly sentAgoMs: number;
  readonly receivedAgoMs: number;
}

export interface DatapathOptions {
  /** A persistent TAP that exists already. */
  readonly tap: InterfaceName;
  /**
   * Super-frames and undone checksums may cross the TAP (default). False for who reads it by packet
   * sockets and knows neither: Open vSwitch's userspace datapath.
   */
  readonly offload?: boolean;
  /** Own node id: envelopes for it are opened, others relayed. */
  readonly nodeId: NodeId;
  /** Called on the JavaScript thread with what has come up, oldest first, datagrams before frames. */
  readonly onUpcalls: (upcalls: readonly Upcall[]) => void;
}

export interface Datapath {
  /**
   * Opens a UDP socket. `address` null binds to the unspecified address of the family; `port` 0
   * lets the kernel choose. Throws `host.command-failed` with the errno's text.
   */
  openSocket(
    family: 4 | 6,
    address: string | null,
    port: number,
  ): { readonly socket: SocketNumber; readonly port: number };
  /** Ends the socket; sessions that send over it count `noPath` from then on. Idempotent. */
  closeSocket(socket: SocketNumber): void;
  /** Sends one datagram now. False when the kernel refused it (counted). */
  sendDatagram(socket: SocketNumber, to: Endpoint, bytes: Uint8Array): boolean;
  /** Treats bytes as a datagram that came in on the socket (TURN over TCP, unwrapped data). */
  injectDatagram(socket: SocketNumber, from: Endpoint, bytes: Uint8Array): void;

  /** Adds a session. Throws `internal` when the number is taken or keys have the wrong length. */
  addSession(options: SessionOptions): void;
  /** Changes where its records are sent and may arrive, and what fits. */
  setPath(
    session: SessionNumber,
    path: Path,
    sockets: readonly SocketNumber[],
    maxFrameBytes: number,
  ): void;
  /** Stations, relays and ring paths over `from` lead over `to` from now on; `from` still receives. */
  replaceSession(from: SessionNumber, to: SessionNumber): void;
  /** Ends a session: keys are wiped, stations and relays over it are removed. Idempotent. */
  removeSession(session: SessionNumber): void;

  /** Sets or replaces the entry of a unicast MAC. At most 65 536 entries; beyond: throws. */
  setStation(mac: Mac, station: Station): void;
  removeStation(mac: Mac): void;
  /** Milliseconds since the entry last matched (as source or destination), or null if unknown. */
  stationIdleMs(mac: Mac): number | null;

  /**
   * Envelopes for `destination` go over `session`; one that came from the peer of that session comes
   * up instead of going back.
   */
  setRelay(destination: NodeId, session: SessionNumber): void;
  removeRelay(destination: NodeId): void;

  /**
   * Seals and sends one payload over a session. False: not sent. Of type `ethernet`, super-frames
   * are segmented; of the other types bytes are opaque, and all that is taken from the offload facts
   * is the checksum bit of the type byte: pass frames through `completeFrame` before wrapping them.
   */
  sendFrame(session: SessionNumber, type: FrameType, frame: Frame): boolean;
  /**
   * Seals and sends a datagram (handshake, STUN, or a sealed record) to `destination` in an envelope
   * over the session `via`.
   */
  sendEnvelope(
    via: SessionNumber,
    source: NodeId,
    destination: NodeId,
    ttl: number,
    bytes: Uint8Array,
  ): boolean;
  /** Writes a frame to the TAP. False: not written (counted). */
  deliverFrame(frame: Frame): boolean;

  /**
   * The wire frames that a frame with offload facts stands for: cut, checksums computed. Empty when
   * frame and facts contradict each other.
   */
  completeFrame(frame: Frame): readonly Uint8Array[];

  counters(): Counters;
  sessionCounters(session: SessionNumber): SessionCounters | null;
  /** Stops the threads, closes sockets and the TAP (which persists), wipes keys. Idempotent. */
  close(): void;
}
