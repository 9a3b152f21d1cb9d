/**
 * The configuration file: its keys, defaults, limits and meaning, from which come the types, the
 * JSON Schema for editors, the reference page and the errors. Owns what one value may be; rules
 * between values are in `core/rules.ts`, and nothing here reads a file.
 */
import { z } from 'zod';
import { formatRange, parseRange } from '../base/cidr.ts';
import { NodeId, OverlayId } from '../base/ids.ts';
import { isHost, isIpv4, isIpv6, parseHostPort } from './core/address.ts';

const int = (min: number, max: number) => z.int().min(min).max(max);

const Host = z.string().refine(isHost, 'must be a host name or an IP address, without port');
/** A socket's path has at most 107 bytes, `/controller.sock` included (unix(7)). */
const maxRunDirectoryChars = 91;
const FilePath = z.string().min(1).max(4_095);
const Directory = (maxChars: number) =>
  z.string().max(maxChars).regex(/^\//, 'must be an absolute path');
const HostPort = (defaultPort: number) =>
  z.string().refine((text) => parseHostPort(text, defaultPort) !== null, {
    error: `must be "host:port", "host" (port ${defaultPort}) or "[IPv6]:port"`,
  });

const portError = 'must be a port number, 1 to 65535';
/** Evio writes ports as strings, so both are read. */
const Port = z
  .union([int(1, 65_535), z.string().regex(/^[1-9]\d{0,4}$/, portError)], {
    error: portError,
  })
  .transform(Number)
  .refine((port) => port <= 65_535, portError);

/** Evio writes upper case, and Python's WARNING. */
const levels = {
  debug: 'debug',
  info: 'info',
  warn: 'warn',
  error: 'error',
  DEBUG: 'debug',
  INFO: 'info',
  WARN: 'warn',
  WARNING: 'warn',
  ERROR: 'error',
} as const;
const LogLevel = z
  .literal(['debug', 'info', 'warn', 'error', 'DEBUG', 'INFO', 'WARN', 'WARNING', 'ERROR'], {
    error: 'must be "debug", "info", "warn" or "error"',
  })
  .transform((level) => levels[level]);

/** Where a password comes from: exactly one of these keys (see `core/rules.ts`). */
const passwordKeys = {
  Password: z.string().min(1).max(1_024).optional().meta({
    description: 'The password itself. The file must then not be readable for everybody.',
  }),
  PasswordFile: FilePath.optional().meta({
    description: 'File that holds the password; one line end at its end is not part of it.',
  }),
  PasswordEnv: z
    .string()
    .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'must be the name of an environment variable')
    .optional()
    .meta({ description: 'Name of the environment variable that holds the password.' }),
  PasswordCredential: z
    .string()
    .regex(/^(?!\.{1,2}$)[A-Za-z0-9._-]{1,255}$/, 'must be the name of a systemd credential')
    .optional()
    .meta({ description: 'Name of the systemd credential that holds the password.' }),
};

const Broker = z.strictObject({
  Overlays: z.array(OverlayId).min(1).max(8).meta({
    description: 'The overlays that this node joins, 1 to 8, each 1 to 10 letters, digits, - or _.',
  }),
  NodeId: NodeId.optional().meta({
    description:
      'The node id that the identity key must give; a check, since the id follows from the key.',
  }),
  NodeName: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,63}$/, 'must be 1 to 63 letters, digits, ".", "_" or "-"')
    .optional()
    .meta({ description: 'Name of this node that people read. Default: the host name.' }),
  LogLevel: LogLevel.prefault('info').meta({
    description: 'Least severity that is logged. Upper case and WARNING are read too.',
  }),
  StateDirectory: Directory(4_000).default('/var/lib/evio').meta({
    description: 'Holds the identity key and certificate and the pinned keys of peers.',
  }),
  RunDirectory: Directory(maxRunDirectoryChars).default('/run/evio').meta({
    description: 'Holds the socket of the local API, `controller.sock`.',
  }),
});

const SignalOverlay = z.strictObject({
  HostAddress: Host.meta({ description: 'The XMPP server: host name or IP address.' }),
  Port: Port.optional().meta({
    description: 'Its port. Default: 5222, or 5223 with direct TLS. A numeric string is read too.',
  }),
  Tls: z.enum(['starttls', 'direct']).default('starttls').meta({
    description: 'How TLS begins: by STARTTLS, or at once. There is no login without TLS.',
  }),
  AuthenticationMethod: z.enum(['PASSWORD', 'x509']).default('PASSWORD').meta({
    description: 'Login by password (SCRAM), or by client certificate (SASL EXTERNAL).',
  }),
  Username: z
    .string()
    .max(2_047)
    .regex(
      /^[^\s@/"&'<>:]{1,1023}@[^\s@/"&'<>:]{1,1023}$/,
      'must be a bare JID, account@domain, without resource',
    )
    .meta({ description: 'The account, as bare JID: account@domain.' }),
  ...passwordKeys,
  CertFile: FilePath.optional().meta({ description: 'Client certificate (PEM), for x509.' }),
  KeyFile: FilePath.optional().meta({ description: 'Its private key (PEM), for x509.' }),
  CaFile: FilePath.optional().meta({
    description: "CA certificates (PEM) that the server's must chain to, in place of the system's.",
  }),
  RosterGroup: z.string().min(1).max(255).optional().meta({
    description: 'Only contacts in this roster group are members. Default: the whole roster.',
  }),
});

const TrustOverlay = z.strictObject({
  Policy: z.enum(['roster', 'ca']).default('roster').meta({
    description:
      'Whom to accept. roster: accounts of the roster, each key pinned when first seen. ca: of those only nodes with a certificate that the CA of the overlay has signed.',
  }),
  CaFile: FilePath.optional().meta({
    description: "Certificate of the overlay's CA (PEM, exactly one), for policy ca.",
  }),
  CertFile: FilePath.optional().meta({
    description: "This node's certificate, signed by that CA (PEM, exactly one), for policy ca.",
  }),
  CrlFile: FilePath.optional().meta({
    description:
      'Revocation list of that CA (PEM), read again within seconds when the file changes. Default: none, so nothing is ever revoked.',
  }),
});

const Turn = z.strictObject({
  Address: HostPort(3478).meta({
    description: 'TURN server as host:port. Default port: 3478, or 5349 with tls.',
  }),
  User: z.string().min(1).max(508).meta({ description: 'User name at the TURN server.' }),
  ...passwordKeys,
  Transport: z.enum(['udp', 'tcp', 'tls']).default('udp').meta({
    description: 'How to reach the TURN server.',
  }),
  CaFile: FilePath.optional().meta({
    description:
      "With tls: CA certificates (PEM, at most 16 KiB) that the server's must chain to, in place of the system's.",
  }),
});

const Stun = z.array(HostPort(3478)).max(8);
const Turns = z.array(Turn).max(8);
const Interfaces = z.array(z.string().min(1).max(16)).max(64);

const LinkManagerOverlay = z.strictObject({
  Stun: Stun.optional().meta({
    description: 'STUN servers of this overlay, in place of the general.',
  }),
  Turn: Turns.optional().meta({
    description: 'TURN servers of this overlay, in place of the general.',
  }),
  IgnoredNetInterfaces: Interfaces.default([]).meta({
    description: 'More interfaces to ignore, besides the general.',
  }),
});

/** Evio's: decimal, suffix K, M or G. */
const Amount = z.string().regex(/^[1-9]\d{0,11}[KMG]?$/, 'must be a number of bytes, as "10M"');
const roles = { Switch: 'switch', switch: 'switch', Leaf: 'leaf', leaf: 'leaf' } as const;

/** No defaults here: those of the topology are its own (`controller/topology/core/config.ts`). */
const TopologyOverlay = z.strictObject({
  MinSuccessors: int(1, 16).optional().meta({
    description: 'Links to the next members clockwise on the ring. Default: 2.',
  }),
  MaxLongDistEdges: int(0, 64).optional().meta({
    description:
      'Links across the ring that this node opens. Default: ⌊log2(n + 1)⌋ of the n other members, at least 1.',
  }),
  MaxIncomingLongDistEdges: int(0, 256).optional().meta({
    description: 'Those of others that it takes. Default: twice as many as it opens.',
  }),
  MaxOnDemandEdges: int(0, 64).optional().meta({
    description:
      'Links at once to members that much is exchanged with; 0 turns them off. Default: 3.',
  }),
  DemandThreshold: Amount.optional().meta({
    description: 'Bytes in 10 s, both ways, that open one, with suffix K, M or G. Default: "10M".',
  }),
  DemandMinAge: int(1, 86_400).optional().meta({
    description: 'Seconds that one stands at least. Default: 180.',
  }),
  StaticEdges: z.array(NodeId).max(256).optional().meta({
    description: 'Node ids of members that this node is always linked to. Default: none.',
  }),
  ManualTopology: z.boolean().optional().meta({
    description:
      'Only the static links, of this node and those that others ask for. Default: false.',
  }),
  Role: z
    .literal(['Switch', 'Leaf', 'switch', 'leaf'], { error: 'must be "Switch" or "Leaf"' })
    .transform((role) => roles[role])
    .optional()
    .meta({
      description:
        "Leaf: carries nobody's traffic, takes no links, has its static ones or one uplink. Default: Switch.",
    }),
});

const addressKeys = {
  IP4: z.string().refine(isIpv4, 'must be an IPv4 address').optional().meta({
    description: 'IPv4 address of this host in the overlay. Default: none.',
  }),
  PrefixLen: int(1, 31).optional().meta({ description: 'Its prefix length.' }),
  IP6: z.string().refine(isIpv6, 'must be an IPv6 address').optional().meta({
    description: 'IPv6 address of this host in the overlay. Default: none.',
  }),
  PrefixLen6: int(1, 127).optional().meta({ description: 'Its prefix length.' }),
};

const NetDevice = z.strictObject({
  BridgeProvider: z
    .enum(['LXBR', 'OVS', 'VNIC'], { error: 'must be "LXBR", "OVS" or "VNIC"' })
    .default('LXBR')
    .meta({
      description:
        'LXBR: Linux bridge `evbr-<overlay>` over the TAP `ev-<overlay>`. OVS: the same by Open vSwitch. VNIC: the TAP alone.',
    }),
  DatapathType: z.enum(['system', 'netdev']).default('system').meta({
    description:
      "With OVS: forwarding by the kernel's module `openvswitch`, or in user space (netdev), slower.",
  }),
  SwitchProtocol: z
    .enum(['none', 'STP'], {
      error: ({ input }) =>
        `must be "none" or "STP"${input === 'BF' ? ': "BF" (bounded flood) is built in and needs no setting' : ''}`,
    })
    .default('none')
    .meta({
      description:
        'STP: spanning tree (IEEE 802.1D) on the bridge, for operators who cable loops to it; the overlay itself has none.',
    }),
  ...addressKeys,
  MTU: int(576, 9_000).nullable().default(null).meta({
    description: 'MTU of the devices, or null: derived from the paths in use.',
  }),
  AutoDelete: z.boolean().default(true).meta({
    description:
      'Remove the devices that Evio made when it is stopped; false keeps them, with routes and containers attached, for the next start.',
  }),
});

const AppBridge = z.strictObject({
  BridgeProvider: z.enum(['LXBR', 'OVS']).optional().meta({
    description: 'Must be that of NetDevice, which is the default.',
  }),
  ...addressKeys,
  MTU: int(576, 9_000).nullable().default(null).meta({
    description: 'MTU of this bridge, or null: that of NetDevice.',
  }),
  AutoDelete: z.boolean().default(true).meta({
    description: 'Remove this bridge when Evio is stopped.',
  }),
});

const PodCidr = z
  .string()
  .max(49)
  .refine((text) => parseRange(text) !== null, 'must be an address range such as 10.42.1.0/24')
  .transform((text) => {
    const range = parseRange(text);
    return range === null ? text : formatRange(range);
  });
const PodCidrs = z.array(PodCidr).max(8);

const CniOverlay = z.strictObject({
  Mode: z.enum(['routed', 'bridged']).default('routed').meta({
    description:
      "routed: pods hang on a bridge of this node, `evpd-<overlay>`; the other nodes' ranges are routes. bridged: pods hang on the overlay's own bridge.",
  }),
  PodCIDRs: PodCidrs.optional().meta({
    description:
      "The pod ranges of this node, at most one of each family; [] for a host without pods that reaches the others'. One of three sources.",
  }),
  PodPool: PodCidrs.min(1).optional().meta({
    description:
      'Ranges of all pods of the overlay, at most one of each family, out of which each node takes its own. One of three sources.',
  }),
  NodePrefixLen: int(12, 30).default(24).meta({
    description: "With PodPool: prefix length of a node's IPv4 range.",
  }),
  NodePrefixLen6: int(32, 126).default(64).meta({
    description: "With PodPool: prefix length of a node's IPv6 range.",
  }),
  Kubernetes: z
    .strictObject({
      Kubeconfig: FilePath.optional().meta({
        description:
          'Kubeconfig of an account that may read its Node, for example /etc/kubernetes/kubelet.conf. Default: the service account of the pod that Evio runs in.',
      }),
      NodeName: z.string().min(1).max(253).optional().meta({
        description: "Name of this host's Node. Default: the host name in lower case.",
      }),
      NodeNameEnv: z
        .string()
        .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'must be the name of an environment variable')
        .optional()
        .meta({ description: 'Environment variable that holds the name instead.' }),
    })
    .optional()
    .meta({
      description:
        'Take the ranges from spec.podCIDRs of the Node, by the Kubernetes API. One of three sources.',
    }),
  ClusterCIDRs: PodCidrs.default([]).meta({
    description:
      'All pods of the cluster are in these ranges: others are refused when members announce them. Default: PodPool, or whatever members announce.',
  }),
  ServiceCIDRs: PodCidrs.default([]).meta({
    description: 'Ranges of the services: refused as pod ranges, and never masqueraded.',
  }),
  Masquerade: z.boolean().default(true).meta({
    description:
      "Give packets that pods send out of the cluster this host's address. Within the cluster pods keep theirs.",
  }),
});

/** An object of entries by overlay id. */
const byOverlay = <T extends z.ZodType>(entry: T) => z.record(OverlayId, entry);

export const ConfigFile = z
  .strictObject({
    $schema: z.string().optional().meta({ description: 'For editors; not read.' }),
    Broker: Broker.meta({ description: 'The node.' }),
    Signal: z
      .strictObject({ Overlays: byOverlay(SignalOverlay) })
      .meta({ description: 'Signalling; each overlay of the broker needs an entry.' }),
    Trust: z
      .strictObject({ Overlays: byOverlay(TrustOverlay).default({}) })
      .prefault({})
      .meta({ description: 'Whom this node accepts as a peer.' }),
    LinkManager: z
      .strictObject({
        Stun: Stun.default([]).meta({
          description: 'STUN servers as host:port (default port 3478), besides those XMPP offers.',
        }),
        Turn: Turns.default([]).meta({
          description: 'TURN servers, besides those XMPP offers.',
        }),
        IgnoredNetInterfaces: Interfaces.default([]).meta({
          description:
            'Interfaces whose addresses are never offered to peers; a * at the end matches any rest.',
        }),
        Overlays: byOverlay(LinkManagerOverlay).default({}),
      })
      .prefault({})
      .meta({ description: 'How peers reach each other.' }),
    Topology: z
      .strictObject({
        MaxConcurrentOps: int(1, 64).optional().meta({
          description: 'Links of its own that a node sets up at once, in each overlay. Default: 4.',
        }),
        Overlays: byOverlay(TopologyOverlay).default({}),
      })
      .prefault({})
      .meta({ description: 'Which members are linked: a ring, and some links across it.' }),
    BridgeController: z
      .strictObject({
        Overlays: byOverlay(
          z.strictObject({
            NetDevice: NetDevice.prefault({}),
            AppBridge: AppBridge.optional().meta({
              description:
                "A second bridge `evap-<overlay>`, patched to the first, for containers and virtual machines; it holds this host's address.",
            }),
          }),
        ).default({}),
        OvsDatabase: Directory(4_000).optional().meta({
          description:
            'Socket of ovsdb-server, an absolute path. Default: the one that ovs-vsctl knows.',
        }),
      })
      .prefault({})
      .meta({ description: 'The network devices on this host.' }),
    Cni: z
      .strictObject({ Overlays: byOverlay(CniOverlay).default({}) })
      .prefault({})
      .meta({ description: 'Pods of containers on this host, attached by the CNI plugin.' }),
  })
  .meta({ title: 'Configuration of an Evio node' });

/** The file as parsed: defaults filled in, nothing read from elsewhere yet. */
export type ConfigFile = z.infer<typeof ConfigFile>;

/** The four sources of a password, exactly one of which is named. */
export type PasswordKeys = Pick<ConfigFile['LinkManager']['Turn'][number], PasswordKey>;
export type PasswordKey = 'Password' | 'PasswordFile' | 'PasswordEnv' | 'PasswordCredential';

/** The host side of an overlay that the file does not mention. */
export const defaultNetDevice = NetDevice.parse({});
export type NetDevice = typeof defaultNetDevice;
export type AppBridge = z.infer<typeof AppBridge>;
export type CniOverlay = z.infer<typeof CniOverlay>;
