/**
 * The bridge protocol between controller and tunnel process: every method, result, notification and
 * its version. Owned by tincan-bridge, imported by both sides. Strict objects; a bad frame is fatal
 * to the channel.
 */
import { z } from 'zod';
import { InterfaceName, NodeId, OverlayId } from '../../base/ids.ts';
import { SessionDescription } from './description.ts';

/** Version of this protocol; `ready` carries it and a mismatch ends the process. */
export const bridgeProtocolVersion = 4;

/** Longest frame on the channel, bytes of JSON. */
export const maxFrameBytes = 1_048_576;

/** Longest message of one controller to another in-band, characters. */
export const maxMessageChars = 16_384;

/** A server of ICE. The password travels only on this private channel. */
const host = z.string().min(1).max(253);
const port = z.int().min(1).max(65_535);
export const IceServers = z.strictObject({
  stun: z.array(z.strictObject({ host, port })).max(16),
  turn: z
    .array(
      z.strictObject({
        host,
        port,
        transport: z.enum(['udp', 'tcp', 'tls']),
        user: z.string().max(512),
        password: z.string().max(512),
        /** CA certificates to trust instead of the system's, PEM; for `tls`. */
        ca: z.string().max(16_384).nullable().optional(),
      }),
    )
    .max(16),
});
export type IceServers = z.infer<typeof IceServers>;

/** Trust policy `ca`: whose signature a peer's certificate needs, and what is revoked. */
export const TrustAnchors = z.strictObject({
  /** Certificate of the overlay's CA, PEM. */
  ca: z.string().max(8_192),
  /** Serial numbers, lower-case hex without leading zeros. */
  revoked: z.array(z.string().regex(/^[0-9a-f]{1,40}$/)).max(4_096),
});
export type TrustAnchors = z.infer<typeof TrustAnchors>;

export const PathSummary = z.strictObject({
  kind: z.enum(['direct-host', 'direct-reflexive', 'turn', 'ring', 'none']),
  local: z.string().max(64),
  remote: z.string().max(64),
});

/** How one session stands. Rates are for the operator; counters are totals of the association. */
export const SessionStatus = z.strictObject({
  peer: NodeId,
  state: z.enum(['waiting', 'connecting', 'online', 'retrying']),
  path: PathSummary,
  rttMs: z.number().nullable(),
  sentBytes: z.number(),
  receivedBytes: z.number(),
  sentFrames: z.number(),
  receivedFrames: z.number(),
  sentBitsPerSecond: z.number(),
  receivedBitsPerSecond: z.number(),
  /** When frames could first cross, milliseconds since the epoch. */
  upSinceMs: z.number().nullable(),
  lastError: z.string().max(300).nullable(),
  /** DTLS cipher suite, or null before the first handshake. */
  cipher: z.string().max(64).nullable(),
  /** Why the path is not a better one, when it is known. */
  pathNote: z.string().max(300).nullable(),
  /** Largest IP packet that the path carries inside, as found by probes; null without a path. */
  mtu: z.int().nullable(),
  /** The last transitions, newest last. */
  history: z.array(z.strictObject({ agoMs: z.number(), what: z.string().max(200) })).max(64),
});
export type SessionStatus = z.infer<typeof SessionStatus>;

const nothing = z.strictObject({});

export const methods = {
  /** First call: opens the TAP and starts the threads. Once per process. */
  open: {
    params: z.strictObject({
      overlay: OverlayId,
      nodeId: NodeId,
      /** This node carries what others send to others: false for a leaf. */
      transit: z.boolean(),
      /** A persistent TAP that exists and is up. */
      tap: InterfaceName,
      /**
       * Super-frames and undone checksums may cross the TAP. False when its other end is a program
       * that knows neither (Open vSwitch, userspace datapath).
       */
      offload: z.boolean(),
      /** Certificate and key of this node, PEM. */
      certificate: z.string().max(8_192),
      key: z.string().max(8_192),
      /** Null: the controller's pins alone say which key a peer must have. */
      trust: TrustAnchors.nullable(),
      servers: IceServers,
      /** Interfaces whose addresses are never candidates; a trailing `*` matches any rest. */
      ignoredInterfaces: z.array(z.string().max(16)).max(256),
      /** Inner MTU fixed by the operator, or null to derive it from the paths in use. */
      mtu: z.int().min(576).max(9_000).nullable(),
      /** Folder for DTLS key logs (NSS format), for captures in a laboratory; null: none. */
      keyLogFile: z.string().max(255).nullable(),
      /** Keys are replaced by so many milliseconds or bytes; without: 60 minutes, 2^36 bytes. */
      rekey: z
        .strictObject({ afterMs: z.int().min(100), afterBytes: z.int().min(65_536) })
        .optional(),
    }),
    result: z.strictObject({ mtu: z.int() }),
  },
  /** Replaces servers and ignore list; running sessions keep their paths. */
  setServers: {
    params: z.strictObject({
      servers: IceServers,
      ignoredInterfaces: z.array(z.string().max(16)).max(256),
    }),
    result: nothing,
  },
  /** Replaces the anchors, for sessions that are set up from now on; others the controller ends. */
  setTrust: { params: z.strictObject({ trust: TrustAnchors.nullable() }), result: nothing },
  /**
   * The members of the overlay that are trusted and, as far as is known, there; replaces the earlier
   * list. With them, and only with them, sessions over the ring are made when frames need them.
   */
  setMembers: {
    params: z.strictObject({
      members: z.array(NodeId).max(4_096),
      /** Those of them that carry nobody's traffic. */
      leaves: z.array(NodeId).max(4_096),
      /** Those that are off the signalling server: if they are gone, it is found out soon. */
      away: z.array(NodeId).max(4_096),
      /** Which of them says that its host has which IP address in the overlay. */
      addresses: z.array(z.strictObject({ node: NodeId, address: z.string().max(45) })).max(16_384),
    }),
    result: nothing,
  },
  /** A link with the peer is wanted: a path of its own; again is harmless. Tried until unwanted. */
  connect: { params: z.strictObject({ peer: NodeId }), result: nothing },
  /**
   * The link is not wanted any more. What is on its way from a member still arrives, and its session
   * goes on over the ring while frames need it; that with anybody else ends at once.
   */
  disconnect: {
    params: z.strictObject({ peer: NodeId, reason: z.string().max(120) }),
    result: nothing,
  },
  /** A verified description from a peer with whom a session is wanted. */
  describe: {
    params: z.strictObject({ peer: NodeId, description: SessionDescription }),
    result: nothing,
  },
  /** The peer ended its side: the session is set up anew when the peer describes itself again. */
  ended: {
    params: z.strictObject({ peer: NodeId, reason: z.string().max(120) }),
    result: nothing,
  },
  /**
   * Hands bytes (a signed envelope, base64 or JSON text) to the peer's controller over the session,
   * whatever path it uses; one over the ring is made when there is none. `sent` false: no way now.
   */
  sendMessage: {
    params: z.strictObject({ peer: NodeId, body: z.string().min(1).max(maxMessageChars) }),
    result: z.strictObject({ sent: z.boolean() }),
  },
  /** Payload bytes with each peer, both ways, since its session was made. */
  traffic: {
    params: nothing,
    result: z.strictObject({
      peers: z.array(z.strictObject({ peer: NodeId, bytes: z.number() })).max(4_096),
    }),
  },
  /** The ring as this node sees it. */
  routes: {
    params: nothing,
    result: z.strictObject({
      neighbours: z
        .array(
          z.strictObject({
            node: NodeId,
            leaf: z.boolean(),
            /** Its own neighbours, as it told. */
            neighbours: z.array(NodeId).max(1_024),
          }),
        )
        .max(1_024),
      /** For each member that is not a neighbour: the next hop now, or null where none is known. */
      ways: z
        .array(
          z.strictObject({
            destination: NodeId,
            via: NodeId.nullable(),
            /** How the next hop was chosen. */
            how: z.enum(['greedy', 'look-ahead', 'searched', 'none']),
          }),
        )
        .max(4_096),
    }),
  },
  /** One overlay ping, answered by the peer's tunnel process; at most 5 s. */
  ping: {
    params: z.strictObject({ peer: NodeId, timeoutMs: z.int().min(10).max(5_000) }),
    result: z.strictObject({
      /** Null: no answer in time. */
      rttMs: z.number().nullable(),
      path: PathSummary,
      /** The nodes that it went through on its way there, the peer last; empty without an answer. */
      hops: z.array(NodeId).max(255),
    }),
  },
  /** Everything for the operator. */
  status: {
    params: nothing,
    result: z.strictObject({
      mtu: z.int(),
      sessions: z.array(SessionStatus).max(4_096),
      counters: z.record(z.string(), z.number()),
      /** Learnt stations, bounded. */
      stations: z
        .array(
          z.strictObject({
            mac: z.string(),
            /** Node that it is behind, or null for this host. */
            node: NodeId.nullable(),
            idleMs: z.number(),
          }),
        )
        .max(1_024),
    }),
  },
  /** Liveness of the JavaScript thread. */
  echo: { params: nothing, result: nothing },
  /** Ends all sessions and the process, in order. */
  close: { params: nothing, result: nothing },
} as const;

export const notifications = {
  /** First message of the process. */
  ready: z.strictObject({ version: z.int(), build: z.string().max(64), pid: z.int() }),
  /** To be sent to the peer, signed by the controller. */
  description: z.strictObject({ peer: NodeId, description: SessionDescription }),
  /** Frames can cross. `setUpMs`: since the session was wanted. */
  sessionUp: z.strictObject({ peer: NodeId, path: PathSummary, setUpMs: z.number() }),
  pathChanged: z.strictObject({ peer: NodeId, path: PathSummary }),
  sessionDown: z.strictObject({ peer: NodeId, reason: z.string().max(300) }),
  /** What the peer's controller handed over by `sendMessage`; the channel is the peer's, the bytes are not checked. */
  message: z.strictObject({ peer: NodeId, body: z.string().min(1).max(maxMessageChars) }),
  /** Addresses or default routes of this host changed; sessions are looked after already. */
  networkChanged: nothing,
  /** To be set on TAP and bridge. */
  mtuChanged: z.strictObject({ mtu: z.int() }),
  log: z.strictObject({
    level: z.enum(['debug', 'info', 'warn', 'error']),
    message: z.string().max(300),
    fields: z.record(z.string(), z.union([z.string().max(600), z.number()])),
  }),
} as const;

export type Method = keyof typeof methods;
export type Params<M extends Method> = z.infer<(typeof methods)[M]['params']>;
export type Result<M extends Method> = z.infer<(typeof methods)[M]['result']>;
export type NotificationName = keyof typeof notifications;
export type Notification<N extends NotificationName> = z.infer<(typeof notifications)[N]>;

/** The bridge's side: a missing handler does not compile. */
export type Handlers = {
  readonly [M in Method]: (params: Params<M>) => Promise<Result<M>>;
};
