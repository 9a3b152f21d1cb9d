/**
 * From the checked file to the Config: general and overlay settings merged, addresses taken apart,
 * secrets fetched from their sources. Owns which default follows from which value.
 */
import { hostname } from 'node:os';
import type { OverlayId } from '../base/ids.ts';
import type {
  CniConfig,
  Config,
  DeviceConfig,
  Login,
  OverlayConfig,
  SignalConfig,
  StunConfig,
  TopologyConfig,
  TrustConfig,
  TurnConfig,
} from './config.ts';
import { type HostPort, parseHostPort } from './core/address.ts';
import type { JsonPath } from './core/json-text.ts';
import {
  type AppBridge,
  type CniOverlay,
  type ConfigFile,
  defaultNetDevice,
  type NetDevice,
} from './schema.ts';
import type { Sources } from './sources.ts';

type SignalEntry = NonNullable<ConfigFile['Signal']['Overlays'][OverlayId]>;
type Turns = ConfigFile['LinkManager']['Turn'];

/** IANA's ports of XMPP, STUN and TURN (RFC 6120 14.7, XEP-0368, RFC 8489 18.6). */
const ports = { xmpp: 5222, xmppDirectTls: 5223, stun: 3478, stunTls: 5349 } as const;

/** It crosses to the tunnel process in one message with those of the other servers. */
const maxTurnCaChars = 16_384;

/** `path` is the file's, absolute. The file must have passed `checkText`. */
export function resolveConfig(file: ConfigFile, path: string, sources: Sources): Config {
  const { Broker } = file;
  return {
    file: path,
    nodeId: Broker.NodeId ?? null,
    nodeName: Broker.NodeName ?? nodeNameFrom(hostname()),
    logLevel: Broker.LogLevel,
    stateDirectory: Broker.StateDirectory,
    runDirectory: Broker.RunDirectory,
    overlays: Broker.Overlays.flatMap((overlay) => {
      const signal = file.Signal.Overlays[overlay];
      return signal === undefined ? [] : [overlayConfig(file, overlay, signal, sources)];
    }),
  };
}

/** A host name as a node name: what node names cannot hold becomes "-". */
export const nodeNameFrom = (host: string): string =>
  host.replace(/[^A-Za-z0-9._-]/g, '-').slice(0, 63) || 'node';

function overlayConfig(
  file: ConfigFile,
  overlay: OverlayId,
  signal: SignalEntry,
  sources: Sources,
): OverlayConfig {
  const general = file.LinkManager;
  const own = general.Overlays[overlay];
  const links: JsonPath = ['LinkManager'];
  const turn =
    own?.Turn === undefined
      ? turnConfigs(general.Turn, [...links, 'Turn'], sources)
      : turnConfigs(own.Turn, [...links, 'Overlays', overlay, 'Turn'], sources);
  return {
    overlay,
    signal: signalConfig(signal, ['Signal', 'Overlays', overlay], sources),
    trust: trustConfig(file, overlay, sources),
    links: {
      stun: (own?.Stun ?? general.Stun).map((text): StunConfig => hostPort(text, ports.stun)),
      turn,
      ignoredNetInterfaces: [
        ...new Set([...general.IgnoredNetInterfaces, ...(own?.IgnoredNetInterfaces ?? [])]),
      ],
    },
    topology: topologyConfig(file, overlay),
    device: deviceConfig(
      file.BridgeController.Overlays[overlay]?.NetDevice ?? defaultNetDevice,
      file.BridgeController.Overlays[overlay]?.AppBridge ?? null,
      file.BridgeController.OvsDatabase ?? null,
    ),
    cni: cniConfig(file.Cni.Overlays[overlay] ?? null, ['Cni', 'Overlays', overlay], sources),
  };
}

function cniConfig(entry: CniOverlay | null, path: JsonPath, sources: Sources): CniConfig | null {
  if (entry === null) return null;
  return {
    mode: entry.Mode,
    source: rangeSource(entry, path, sources),
    clusterRanges: entry.ClusterCIDRs,
    serviceRanges: entry.ServiceCIDRs,
    masquerade: entry.Masquerade,
  };
}

function rangeSource(entry: CniOverlay, path: JsonPath, sources: Sources): CniConfig['source'] {
  const { PodCIDRs, PodPool, Kubernetes } = entry;
  if (PodCIDRs !== undefined) return { kind: 'config', ranges: PodCIDRs };
  if (PodPool !== undefined) {
    const nodeLength = { 4: entry.NodePrefixLen, 6: entry.NodePrefixLen6 };
    return { kind: 'pool', pool: PodPool, nodeLength };
  }
  const { Kubeconfig, NodeName, NodeNameEnv } = Kubernetes ?? {};
  const named =
    NodeNameEnv === undefined
      ? NodeName
      : sources.variable([...path, 'Kubernetes', 'NodeNameEnv'], NodeNameEnv);
  return {
    kind: 'kubernetes',
    kubeconfig: Kubeconfig === undefined ? null : sources.pathOf(Kubeconfig),
    nodeName: named ?? hostname().toLowerCase(),
  };
}

/** Evio counts traffic in periods of so many seconds. */
const demandPeriodSeconds = 10;

function topologyConfig({ Topology }: ConfigFile, overlay: OverlayId): TopologyConfig {
  const entry = Topology.Overlays[overlay] ?? {};
  const { DemandThreshold: threshold, DemandMinAge: minAge } = entry;
  return {
    minSuccessors: entry.MinSuccessors ?? null,
    maxLongDistance: entry.MaxLongDistEdges ?? null,
    incomingCap: entry.MaxIncomingLongDistEdges ?? null,
    staticEdges: [...new Set(entry.StaticEdges)],
    manual: entry.ManualTopology ?? false,
    role: entry.Role ?? 'switch',
    maxConcurrent: Topology.MaxConcurrentOps ?? null,
    maxOnDemand: entry.MaxOnDemandEdges ?? null,
    demandBytesPerSecond: threshold === undefined ? null : bytesOf(threshold) / demandPeriodSeconds,
    demandMinAgeMs: minAge === undefined ? null : minAge * 1_000,
  };
}

/** "10M" as a number; the schema has accepted the text. */
function bytesOf(amount: string): number {
  const power = 'KMG'.indexOf(amount.slice(-1)) + 1;
  return Number.parseInt(amount, 10) * 1_000 ** power;
}

function trustConfig(file: ConfigFile, overlay: OverlayId, sources: Sources): TrustConfig {
  const entry = file.Trust.Overlays[overlay];
  if (entry?.Policy !== 'ca') return { policy: 'roster' };
  const path: JsonPath = ['Trust', 'Overlays', overlay];
  const { Broker } = file;
  const ca = sources.overlayCa([...path, 'CaFile'], entry.CaFile ?? '');
  return {
    policy: 'ca',
    ca,
    certificate: sources.nodeCertificate([...path, 'CertFile'], entry.CertFile ?? '', ca, {
      overlay,
      name: Broker.NodeName ?? nodeNameFrom(hostname()),
      stateDirectory: Broker.StateDirectory,
    }),
    crlFile:
      entry.CrlFile === undefined
        ? null
        : sources.revocationList([...path, 'CrlFile'], entry.CrlFile),
  };
}

function signalConfig(entry: SignalEntry, path: JsonPath, sources: Sources): SignalConfig {
  return {
    host: entry.HostAddress,
    port: entry.Port ?? (entry.Tls === 'direct' ? ports.xmppDirectTls : ports.xmpp),
    tls: entry.Tls,
    account: entry.Username,
    login: loginOf(entry, path, sources),
    ca: entry.CaFile === undefined ? null : sources.certificates([...path, 'CaFile'], entry.CaFile),
    rosterGroup: entry.RosterGroup ?? null,
  };
}

function loginOf(entry: SignalEntry, path: JsonPath, sources: Sources): Login {
  if (entry.AuthenticationMethod === 'PASSWORD') {
    return { method: 'password', password: sources.password(path, entry) };
  }
  const certificate = sources.certificates([...path, 'CertFile'], entry.CertFile ?? '');
  const key = sources.privateKey([...path, 'KeyFile'], entry.KeyFile ?? '', certificate);
  return { method: 'x509', certificate, key };
}

function turnConfigs(turns: Turns, path: JsonPath, sources: Sources): TurnConfig[] {
  return turns.map((turn, index) => ({
    ...hostPort(turn.Address, turn.Transport === 'tls' ? ports.stunTls : ports.stun),
    transport: turn.Transport,
    user: turn.User,
    password: sources.password([...path, index], turn),
    ca:
      turn.CaFile === undefined
        ? null
        : sources.certificates([...path, index, 'CaFile'], turn.CaFile, maxTurnCaChars),
  }));
}

/** The schema has accepted the text. */
const hostPort = (text: string, defaultPort: number): HostPort =>
  parseHostPort(text, defaultPort) ?? { host: text, port: defaultPort };

function deviceConfig(
  device: NetDevice,
  app: AppBridge | null,
  database: string | null,
): DeviceConfig {
  return {
    provider: providerOf(device, database),
    spanningTree: device.SwitchProtocol === 'STP',
    app: app === null ? null : { mtu: app.MTU, autoDelete: app.AutoDelete },
    addresses: addressesOf(app ?? device),
    mtu: device.MTU,
    autoDelete: device.AutoDelete,
  };
}

function providerOf(
  { BridgeProvider, DatapathType }: NetDevice,
  database: string | null,
): DeviceConfig['provider'] {
  if (BridgeProvider === 'OVS') return { kind: 'ovs', datapathType: DatapathType, database };
  return { kind: BridgeProvider === 'VNIC' ? 'vnic' : 'lxbr' };
}

function addressesOf(
  keys: Pick<NetDevice, 'IP4' | 'PrefixLen' | 'IP6' | 'PrefixLen6'>,
): DeviceConfig['addresses'] {
  const addresses: { address: string; prefix: number }[] = [];
  if (keys.IP4 !== undefined && keys.PrefixLen !== undefined) {
    addresses.push({ address: keys.IP4, prefix: keys.PrefixLen });
  }
  if (keys.IP6 !== undefined && keys.PrefixLen6 !== undefined) {
    addresses.push({ address: keys.IP6, prefix: keys.PrefixLen6 });
  }
  return addresses;
}
