/**
 * The configuration as the controller uses it: defaults filled in, secrets and certificates read,
 * one entry per overlay. Owns the types; `load.ts` makes the values.
 */
import type { NodeId, OverlayId } from '../base/ids.ts';
import type { LogLevel } from '../base/log.ts';
import type { Secret } from '../base/secret.ts';

export interface Config {
  /** The file that it was read from. */
  readonly file: string;
  /** What the identity key must give, or null when anything is fine. */
  readonly nodeId: NodeId | null;
  readonly nodeName: string;
  readonly logLevel: LogLevel;
  /** Absolute paths. */
  readonly stateDirectory: string;
  readonly runDirectory: string;
  readonly overlays: readonly OverlayConfig[];
}

/** How to prove who we are to the XMPP server. */
export type Login =
  | { readonly method: 'password'; readonly password: Secret }
  /** PEM of the client certificate and of its key. */
  | { readonly method: 'x509'; readonly certificate: string; readonly key: Secret };

export interface SignalConfig {
  readonly host: string;
  readonly port: number;
  readonly tls: 'starttls' | 'direct';
  /** Bare JID. */
  readonly account: string;
  readonly login: Login;
  /** PEM that the server's certificate must chain to, or null for the system's CAs. */
  readonly ca: string | null;
  /** Members are this roster group, or the whole roster when null. */
  readonly rosterGroup: string | null;
}

export interface StunConfig {
  readonly host: string;
  readonly port: number;
}

export interface TurnConfig {
  readonly host: string;
  readonly port: number;
  readonly transport: 'udp' | 'tcp' | 'tls';
  readonly user: string;
  readonly password: Secret;
  /** CA certificates to trust instead of the system's, PEM. */
  readonly ca: string | null;
}

export interface DeviceConfig {
  /** `lxbr`, `ovs`: a bridge with the TAP as a port; `vnic`: the address on the TAP itself. */
  readonly provider:
    | { readonly kind: 'lxbr' | 'vnic' }
    | {
        readonly kind: 'ovs';
        readonly datapathType: 'system' | 'netdev';
        /** Socket of ovsdb-server, or null for the usual one. */
        readonly database: string | null;
      };
  readonly spanningTree: boolean;
  /** The bridge for applications; its MTU null: as that of the first. */
  readonly app: { readonly mtu: number | null; readonly autoDelete: boolean } | null;
  /** Addresses of this host in the overlay, at most one of each family. */
  readonly addresses: readonly { readonly address: string; readonly prefix: number }[];
  /** Null: derived from the paths in use. */
  readonly mtu: number | null;
  readonly autoDelete: boolean;
}

export type TrustConfig =
  | { readonly policy: 'roster' }
  | {
      readonly policy: 'ca';
      /** PEM of the CA's certificate, and of the one that it signed for this node. */
      readonly ca: string;
      readonly certificate: string;
      /** Absolute path of the revocation list, or null for none. */
      readonly crlFile: string | null;
    };

/** What the operator said of the topology; null: the topology's own default. */
export interface TopologyConfig {
  readonly minSuccessors: number | null;
  readonly maxLongDistance: number | null;
  readonly incomingCap: number | null;
  readonly staticEdges: readonly NodeId[];
  readonly manual: boolean;
  readonly role: 'switch' | 'leaf';
  readonly maxConcurrent: number | null;
  readonly maxOnDemand: number | null;
  readonly demandBytesPerSecond: number | null;
  readonly demandMinAgeMs: number | null;
}

/** Pods that are attached to an overlay. */
export interface CniConfig {
  readonly mode: 'routed' | 'bridged';
  readonly source:
    | { readonly kind: 'config'; readonly ranges: readonly string[] }
    | {
        readonly kind: 'pool';
        readonly pool: readonly string[];
        readonly nodeLength: { readonly 4: number; readonly 6: number };
      }
    | {
        readonly kind: 'kubernetes';
        /** Absolute path, or null: the service account of the pod that we run in. */
        readonly kubeconfig: string | null;
        readonly nodeName: string;
      };
  readonly clusterRanges: readonly string[];
  readonly serviceRanges: readonly string[];
  readonly masquerade: boolean;
}

export interface OverlayConfig {
  readonly overlay: OverlayId;
  readonly signal: SignalConfig;
  readonly trust: TrustConfig;
  readonly links: {
    readonly stun: readonly StunConfig[];
    readonly turn: readonly TurnConfig[];
    /** Interfaces whose addresses are never candidates. */
    readonly ignoredNetInterfaces: readonly string[];
  };
  readonly topology: TopologyConfig;
  readonly device: DeviceConfig;
  /** Null: no pod is attached to this overlay. */
  readonly cni: CniConfig | null;
}
