/**
 * What each module is told of the configuration of one overlay. Owns the translation; the configuration's
 * own rules and defaults are in `config/`.
 */
import type { Config, OverlayConfig } from '../config/config.ts';
import type { DeviceConfig } from './bridge-controller/index.ts';
import type { NodeIdentity, OverlayTrust, OverlayTrustConfig } from './identity/index.ts';
import type { LinksConfig } from './link-manager/index.ts';
import type { PodsConfig } from './pods/index.ts';
import type { OverlaySignalConfig } from './signal/index.ts';
import { defaultTopology, type OverlayTopologyConfig } from './topology/index.ts';

export const deviceConfig = ({ overlay, device }: OverlayConfig): DeviceConfig => ({
  overlay,
  provider: device.provider,
  spanningTree: device.spanningTree,
  app: device.app,
  addresses: device.addresses.map(({ address, prefix }) => `${address}/${prefix}`),
  mtu: device.mtu,
  autoDelete: device.autoDelete,
});

export const podsConfig = ({ overlay, device, cni }: OverlayConfig): PodsConfig[] =>
  cni === null ? [] : [{ ...cni, overlay, mtu: device.mtu, autoDelete: device.autoDelete }];

export const trustConfig = ({ overlay, trust }: OverlayConfig): OverlayTrustConfig => ({
  overlay,
  ca: trust.policy === 'ca' ? trust : null,
});

export const linksConfig = (
  { overlay, links, device, trust, topology }: OverlayConfig,
  identity: NodeIdentity,
  overlayTrust: OverlayTrust,
): LinksConfig => ({
  overlay,
  credentials: {
    nodeId: identity.node,
    certificate: trust.policy === 'ca' ? trust.certificate : identity.certificatePem,
    key: identity.privateKeyPem.reveal(),
  },
  anchors: () => overlayTrust.anchorsOf(overlay),
  stun: links.stun,
  turn: links.turn,
  ignoredInterfaces: links.ignoredNetInterfaces,
  mtu: device.mtu,
  transit: topology.role === 'switch',
});

export const topologyConfig = ({ overlay, topology }: OverlayConfig): OverlayTopologyConfig => {
  const { onDemand, ...general } = defaultTopology;
  return {
    overlay,
    config: {
      minSuccessors: topology.minSuccessors ?? general.minSuccessors,
      maxLongDistance: topology.maxLongDistance ?? general.maxLongDistance,
      incomingCap: topology.incomingCap ?? general.incomingCap,
      staticEdges: topology.staticEdges,
      manual: topology.manual,
      role: topology.role,
      onDemand: {
        max: topology.maxOnDemand ?? onDemand.max,
        thresholdBytesPerSecond: topology.demandBytesPerSecond ?? onDemand.thresholdBytesPerSecond,
        minAgeMs: topology.demandMinAgeMs ?? onDemand.minAgeMs,
      },
      maxConcurrent: topology.maxConcurrent ?? general.maxConcurrent,
    },
  };
};

export const signalConfig = (
  config: Config,
  { overlay, signal, topology, device }: OverlayConfig,
): OverlaySignalConfig => ({
  overlay,
  host: signal.host,
  port: signal.port,
  tls: signal.tls,
  username: signal.account,
  password: signal.login.method === 'password' ? signal.login.password : null,
  clientCertificate: signal.login.method === 'x509' ? signal.login : null,
  caPem: signal.ca,
  rosterGroup: signal.rosterGroup,
  nodeName: config.nodeName,
  leaf: topology.role === 'leaf',
  addresses: device.addresses.map(({ address }) => address),
});
