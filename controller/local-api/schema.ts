/**
 * What may be asked over the local API, and the shape of every answer: for the CLI, a dashboard and
 * the CNI plugin. Owns the schemas and the paths; imports only `base` and zod, so that any program
 * can use it.
 */
import { z } from 'zod';
import { InterfaceName, Mac, NodeId, OverlayId } from '../../base/ids.ts';

/** Name of the socket in the run directory. */
export const socketName = 'controller.sock';

export const paths = {
  version: '/v1/version',
  status: '/v1/status',
  watch: '/v1/watch',
  trust: '/v1/trust',
  acceptKey: '/v1/trust/accept',
  forgetKey: '/v1/trust/forget',
  links: '/v1/links',
  routes: '/v1/routes',
  ping: '/v1/ping',
  pods: '/v1/pods',
  cni: '/v1/cni',
} as const;

const Count = z.number().min(0);

/** A problem as an operator should see it; `code` is one of `base/errors.ts`. */
export const Problem = z.strictObject({ code: z.string(), message: z.string() });
export type Problem = z.infer<typeof Problem>;

/** The body of every answer with a status of 400 or above. */
export const ErrorReply = z.strictObject({ error: Problem });

export const VersionReply = z.strictObject({ version: z.string() });
export type VersionReply = z.infer<typeof VersionReply>;

export const SignalStatus = z.strictObject({
  state: z.enum(['connecting', 'online', 'offline', 'refused', 'stopped']),
  /** How long it has been in this state. */
  sinceMs: Count,
  /** `host:port` */
  server: z.string(),
  /** Bare JID. */
  account: z.string(),
  problem: Problem.nullable(),
  /** Next try, from now; null when online or none is planned. */
  retryInMs: Count.nullable(),
  /** Who was not let in, latest first; bounded by the controller. */
  refused: z.array(
    z.strictObject({
      account: z.string(),
      name: z.string(),
      problem: Problem,
      /** It shows another key than the pinned one: what `evio trust accept` would be told. */
      change: z.strictObject({ from: NodeId, to: NodeId }).nullable(),
    }),
  ),
});
export type SignalStatus = z.infer<typeof SignalStatus>;

export const DeviceStatus = z.strictObject({
  /** Linux bridge, Open vSwitch, or the TAP alone. */
  provider: z.enum(['lxbr', 'ovs', 'vnic']),
  tap: InterfaceName,
  /** Null when the address is on the TAP itself. */
  bridge: InterfaceName.nullable(),
  /** The bridge for applications, which then holds the addresses; null: none. */
  appBridge: InterfaceName.nullable(),
  mac: Mac,
  mtu: z.int(),
  /** `address/prefix` */
  addresses: z.array(z.string()),
});
export type DeviceStatus = z.infer<typeof DeviceStatus>;

const PathStatus = z.strictObject({
  kind: z.enum(['direct-host', 'direct-reflexive', 'turn', 'ring', 'none']),
  /** `address:port`, empty where it does not apply. */
  local: z.string(),
  /** The same; of kind `ring` the node id of the next hop. */
  remote: z.string(),
});

export const PeerStatus = z.strictObject({
  nodeId: NodeId,
  name: z.string(),
  /** Bare JID it announced itself from. */
  account: z.string(),
  /** It is reachable through the signalling server. */
  reachable: z.boolean(),
  /** `idle`: no link is wanted; a session over the ring is made when there is something to send. */
  state: z.enum(['idle', 'waiting', 'connecting', 'online', 'retrying']),
  path: PathStatus,
  /** Why the path is not a better one, when it is known. */
  pathNote: z.string().nullable(),
  /** Largest IP packet that the path carries inside, as found by probes; null without a path. */
  mtu: z.int().nullable(),
  /** DTLS cipher suite; null before the first handshake. */
  cipher: z.string().nullable(),
  rttMs: Count.nullable(),
  sentBytes: Count,
  receivedBytes: Count,
  sentBitsPerSecond: Count,
  receivedBitsPerSecond: Count,
  /** How long frames have been able to cross; null while they cannot. */
  upSinceMs: Count.nullable(),
  lastError: z.string().nullable(),
  /** The last transitions with their reasons, oldest first. */
  history: z.array(z.strictObject({ agoMs: Count, what: z.string() })),
});
export type PeerStatus = z.infer<typeof PeerStatus>;

/** Whom the overlay accepts, and what is wrong with it. */
export const TrustStatus = z.strictObject({
  policy: z.enum(['roster', 'ca']),
  problem: Problem.nullable(),
  /** End of this node's certificate, ISO 8601; null under policy `roster`. */
  certificateNotAfter: z.string().nullable(),
  /** Number of the revocation list in use; null without one. */
  crlNumber: z.int().min(0).nullable(),
  /** Certificates on it. */
  revoked: z.int().min(0),
});
export type TrustStatus = z.infer<typeof TrustStatus>;

export const OverlayStatus = z.strictObject({
  overlay: OverlayId,
  trust: TrustStatus,
  signal: SignalStatus,
  /** Null until it stands; `deviceProblem` then says why not. */
  device: DeviceStatus.nullable(),
  deviceProblem: Problem.nullable(),
  bridgeProcess: z.strictObject({
    state: z.enum(['starting', 'up', 'down']),
    pid: z.int().nullable(),
    restarts: z.int().min(0),
    problem: Problem.nullable(),
  }),
  iceServers: z.strictObject({
    /** `host:port` */
    stun: z.array(z.string()),
    /** `host:port transport`; no credentials. */
    turn: z.array(z.string()),
    /** What an operator should know, for example that there is neither STUN nor TURN. */
    note: z.string().nullable(),
  }),
  peers: z.array(PeerStatus),
  counters: z.record(z.string(), z.number()),
});
export type OverlayStatus = z.infer<typeof OverlayStatus>;

export const Status = z.strictObject({
  nodeId: NodeId,
  name: z.string(),
  version: z.string(),
  /** ISO 8601, UTC. */
  startedAt: z.string(),
  overlays: z.array(OverlayStatus),
});
export type Status = z.infer<typeof Status>;

const LinkWord = z.enum(['static', 'successor', 'on-demand', 'long-distance']);

/** A link of this node: with which peer, and who of the two wants it for what. */
export const LinkStatus = z.strictObject({
  nodeId: NodeId,
  name: z.string(),
  /** Why this node wants it; null: only the peer does. */
  reason: LinkWord.nullable(),
  /** Why the peer wants it; null: only this node does. */
  incoming: LinkWord.nullable(),
  /** `asking`: the peer has not agreed yet; `setting-up`: agreed; `down`: it was up before. */
  state: z.enum(['asking', 'setting-up', 'up', 'down']),
  /** How long it has been in this state, or wanted. */
  sinceMs: Count,
  path: PathStatus,
});
export type LinkStatus = z.infer<typeof LinkStatus>;

/** The links of each overlay. */
export const LinksReply = z.strictObject({
  overlays: z.array(z.strictObject({ overlay: OverlayId, links: z.array(LinkStatus) })),
});
export type LinksReply = z.infer<typeof LinksReply>;

/** Where a frame for a member goes first. */
export const RouteStatus = z.strictObject({
  nodeId: NodeId,
  name: z.string(),
  /** The next hop, the member itself where it is a neighbour; null: no way is known. */
  via: NodeId.nullable(),
  viaName: z.string(),
  /** How it was chosen; `link`: it is a neighbour. */
  how: z.enum(['link', 'greedy', 'look-ahead', 'searched', 'none']),
});
export type RouteStatus = z.infer<typeof RouteStatus>;

/** The ring of each overlay as this node sees it; null while its tunnel process does not serve. */
export const RoutesReply = z.strictObject({
  overlays: z.array(
    z.strictObject({ overlay: OverlayId, routes: z.array(RouteStatus).nullable() }),
  ),
});
export type RoutesReply = z.infer<typeof RoutesReply>;

/** One overlay ping, answered by the peer's tunnel process. */
export const PingRequest = z.strictObject({
  overlay: OverlayId,
  peer: NodeId,
  timeoutMs: z.int().min(10).max(5_000),
});
export type PingRequest = z.infer<typeof PingRequest>;

export const PingReply = z.strictObject({
  /** Null: no answer in time. */
  rttMs: Count.nullable(),
  path: PathStatus,
  /** The nodes that it went through, the peer last; empty without an answer. */
  hops: z.array(z.strictObject({ nodeId: NodeId, name: z.string() })),
});
export type PingReply = z.infer<typeof PingReply>;

const KeyPlace = {
  overlay: OverlayId,
  /** Bare JID. */
  account: z.string().min(3).max(2_047),
  name: z.string().min(1).max(63),
};

/** The pinned keys of each overlay; none where a CA says whose key is good. */
export const TrustReply = z.strictObject({
  overlays: z.array(
    z.strictObject({
      overlay: OverlayId,
      policy: z.enum(['roster', 'ca']),
      pins: z.array(
        z.strictObject({
          account: z.string(),
          name: z.string(),
          node: NodeId,
          /** ISO 8601, UTC. */
          firstSeen: z.string(),
        }),
      ),
    }),
  ),
});
export type TrustReply = z.infer<typeof TrustReply>;

/** Another key for a node, on the operator's word; both are named so that neither is mistaken. */
export const AcceptKey = z.strictObject({ ...KeyPlace, from: NodeId, to: NodeId });
export type AcceptKey = z.infer<typeof AcceptKey>;

/** A node that is gone for good; the next one of that account and name is pinned anew. */
export const ForgetKey = z.strictObject({ ...KeyPlace, node: NodeId });
export type ForgetKey = z.infer<typeof ForgetKey>;

/** The answer to what changed something. */
export const DoneReply = z.strictObject({});

/** One line of `/v1/watch`. */
export const WatchLine = z.discriminatedUnion('kind', [
  /** An event of the controller's bus; secrets are `***`. `at` is ISO 8601, UTC. */
  z.strictObject({
    kind: z.literal('event'),
    at: z.string(),
    name: z.string(),
    event: z.unknown(),
  }),
  /** The reader was too slow: that many events before the next line were left out. */
  z.strictObject({ kind: z.literal('dropped'), count: z.int() }),
]);
export type WatchLine = z.infer<typeof WatchLine>;

const cniVariable = z.string().max(16_384);

/** A call of the CNI executable: its CNI_ variables, empty where not set, and its standard input. */
export const CniRequest = z.strictObject({
  command: cniVariable,
  containerId: cniVariable,
  netns: cniVariable,
  ifname: cniVariable,
  args: cniVariable,
  path: cniVariable,
  config: z.string().max(1_048_576),
});
export type CniRequest = z.infer<typeof CniRequest>;

/** How the pods of one overlay stand on this node. */
export const OverlayPods = z.strictObject({
  overlay: OverlayId,
  mode: z.enum(['routed', 'bridged']),
  source: z.enum(['config', 'pool', 'kubernetes']),
  /** This node's ranges, `10.42.1.0/24`; empty until they are known. */
  ranges: z.array(z.string()),
  /** Why no pod can be attached, or null. */
  problem: z.string().nullable(),
  bridge: z.string(),
  mtu: z.int(),
  /** The tunnels serve. */
  isUp: z.boolean(),
  /** Pods that are attached. */
  attached: z.int().min(0),
  /** Ranges of other members: `via` is the address that their route goes by, null without one. */
  members: z.array(
    z.strictObject({
      nodeId: NodeId,
      name: z.string(),
      range: z.string(),
      via: z.string().nullable(),
      /** It is reachable, or its link stands. */
      isLive: z.boolean(),
    }),
  ),
  /** What members announced and is not believed, with the reason. */
  refused: z.array(
    z.strictObject({ nodeId: NodeId, name: z.string(), what: z.string(), reason: z.string() }),
  ),
});
export type OverlayPods = z.infer<typeof OverlayPods>;

export const PodsReply = z.strictObject({ overlays: z.array(OverlayPods) });
export type PodsReply = z.infer<typeof PodsReply>;
