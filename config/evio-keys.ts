/**
 * The keys of the original Evio that this release does not read, and what takes their place: an
 * operator with an old file is told more than "unknown key". Owns the texts; `*` is an overlay id.
 */

interface EvioKey {
  readonly path: string;
  readonly why: string;
}

const later = 'is not supported yet';
const log =
  'has no meaning here: Evio logs to standard error and never writes or removes log files';

/** Everything below a path goes with it. */
export const evioKeys: readonly EvioKey[] = [
  { path: 'Broker.Controllers', why: 'has no meaning here: the modules are built in' },
  { path: 'Broker.Model', why: 'has no meaning here: the modules are built in' },
  { path: 'Broker.BrokerLogLevel', why: 'is replaced by Broker.LogLevel' },
  { path: 'Broker.TincanLogLevel', why: 'is replaced by Broker.LogLevel' },
  { path: 'Broker.BrokerLogName', why: log },
  { path: 'Broker.TincanLogName', why: log },
  { path: 'Broker.Directory', why: log },
  { path: 'Broker.Device', why: log },
  { path: 'Broker.ConsoleLevel', why: log },
  { path: 'Broker.MaxFileSize', why: log },
  { path: 'Broker.MaxArchives', why: log },
  { path: 'Broker.KeepLogsOnStart', why: log },
  { path: 'Broker.DebugCBTs', why: 'has no meaning here: use LogLevel "debug" or `evio watch`' },
  {
    path: 'Signal.NetCheckHostName',
    why: 'has no meaning here: Evio starts without a network and keeps trying the XMPP server',
  },
  {
    path: 'Signal.PresenceInterval',
    why: 'has no meaning here: presence is announced when it changes, not by a timer',
  },
  { path: 'Signal.JidResolutionTimeout', why: 'has no meaning here: peers announce their JID' },
  { path: 'Signal.Overlays.*.CacheExpiry', why: 'has no meaning here: there is no JID cache' },
  {
    path: 'Signal.Overlays.*.CertDirectory',
    why: 'is replaced by whole paths in CertFile and KeyFile',
  },
  {
    path: 'LinkManager.Overlays.*.TapNamePrefix',
    why: 'has no meaning here: the TAP is named ev-<overlay>',
  },
  {
    path: 'LinkManager.Overlays.*.AllowRecursiveTunneling',
    why: 'has no meaning here: devices of overlays are never candidates',
  },
  { path: 'GeneveTunnel', why: `${later}: links in one data centre are DTLS links like all` },
  { path: 'TincanTunnel', why: 'is replaced by LinkManager' },
  {
    path: 'Topology.TrimCheckInterval',
    why: 'has no meaning here: the XMPP server says at once who is gone',
  },
  { path: 'Topology.Overlays.*.EnforcedEdges', why: 'is replaced by StaticEdges' },
  { path: 'Topology.Overlays.*.MaxSuccessors', why: 'is replaced by MinSuccessors' },
  { path: 'Topology.Overlays.*.LocationId', why: 'has no meaning here: it chose Geneve tunnels' },
  {
    path: 'Topology.Overlays.*.EncryptionRequired',
    why: 'has no meaning here: every link is encrypted',
  },
  {
    path: 'BridgeController.Overlays.*.NetDevice.NamePrefix',
    why: 'has no meaning here: the bridge is named evbr-<overlay>',
  },
  {
    path: 'BridgeController.Overlays.*.NetDevice.SDNControllerPort',
    why: 'has no meaning here: there is no SDN controller',
  },
  {
    path: 'BridgeController.Overlays.*.NetDevice.SDNController',
    why: 'has no meaning here: there is no SDN controller',
  },
  {
    path: 'BridgeController.Overlays.*.NetDevice.Type',
    why: 'is replaced by BridgeProvider',
  },
  {
    path: 'BridgeController.Overlays.*.NetDevice.AppBridge',
    why: 'stands beside NetDevice here: BridgeController.Overlays.<overlay>.AppBridge',
  },
  {
    path: 'BridgeController.Overlays.*.AppBridge.NamePrefix',
    why: 'has no meaning here: the bridge is named evap-<overlay>',
  },
  {
    path: 'BridgeController.Overlays.*.AppBridge.NetworkAddress',
    why: 'has no meaning here: it was for programs that write configurations',
  },
  {
    path: 'BridgeController.BoundedFlood',
    why: 'has no meaning here: the switch is built in and needs no settings',
  },
  { path: 'UsageReport', why: 'has no meaning here: Evio reports to nobody' },
  {
    path: 'OverlayVisualizer',
    why: `${later}: \`evio status\` and \`evio peers\` show the overlay`,
  },
  { path: 'CFx', why: 'is replaced by Broker' },
  { path: 'Logger', why: 'is replaced by Broker.LogLevel' },
  { path: 'TincanInterface', why: 'has no meaning here' },
];

/** Why this key of the original is not read, or null when the original did not have it either. */
export function whyNotRead(path: readonly (string | number)[]): string | null {
  const found = evioKeys.find(({ path: pattern }) => {
    const parts = pattern.split('.');
    return parts.length === path.length && parts.every((p, i) => p === '*' || p === path[i]);
  });
  return found?.why ?? null;
}
