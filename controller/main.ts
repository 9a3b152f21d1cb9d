/**
 * The controller: configuration, identity, bus, modules, local API, in that order, and all of it
 * ended in the reverse. The only file that knows every module; decides nothing itself.
 */
import { systemClock } from '../base/clock.ts';
import { EvioError, messageOf } from '../base/errors.ts';
import { exec } from '../base/exec.ts';
import type { OverlayId } from '../base/ids.ts';
import { Lifecycle } from '../base/lifecycle.ts';
import { createLogger, type Logger } from '../base/log.ts';
import { createCni } from '../cni-plugin/index.ts';
import { formatFinding } from '../config/check.ts';
import type { Config, OverlayConfig } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { createBridgeController, type DeviceConfig } from './bridge-controller/index.ts';
import { Bus } from './bus.ts';
import {
  loadIdentity,
  type NodeIdentity,
  OverlayTrust,
  type OverlayTrustConfig,
  PeerAuthority,
} from './identity/index.ts';
import { createLinkManager, type LinksConfig } from './link-manager/index.ts';
import { createLocalApi } from './local-api/index.ts';
import { attachable, podsReply } from './pod-networks.ts';
import { createPods, hostSysctls, type PodsConfig } from './pods/index.ts';
import { createRingStatus } from './ring-status.ts';
import { createSignal, type OverlaySignalConfig } from './signal/index.ts';
import { StatusBoard } from './status.ts';
import { createTopology, defaultTopology, type OverlayTopologyConfig } from './topology/index.ts';
import { readVersion } from './version.ts';

/** Each part stops within this; together they stay below the 10 s that an operator is promised. */
const stopDeadlineMs = 4_000;

/** Runs this node until SIGTERM or SIGINT; resolves with the exit status. Throws EvioError. */
export async function runController(options: { readonly configFile: string }): Promise<number> {
  const ended = whenAskedToEnd();
  checkRuntime();
  const { config, warnings } = loadConfig(options.configFile);
  const log = createLogger(config.logLevel);
  for (const finding of warnings) {
    log.warn('configuration', { file: config.file, error: formatFinding(config.file, finding) });
  }
  const lifecycle = new Lifecycle(log);
  try {
    await start(config, log, lifecycle);
    const why = await ended;
    log.info('stopping', { reason: why.reason });
    return why.status;
  } finally {
    await lifecycle.stop();
    log.info('stopped');
  }
}

async function start(config: Config, log: Logger, lifecycle: Lifecycle): Promise<void> {
  const version = readVersion();
  const { stateDirectory, runDirectory } = config;
  const bus = new Bus(log.child('bus'));
  logEvents(bus, log);
  const identity = await loadIdentity({
    stateDirectory,
    expectedNode: config.nodeId,
    nowMs: systemClock.wallNow(),
  });
  log.info('starting', { version, nodeId: identity.node, name: config.nodeName });
  const modules = await createModules(config, identity, bus, log);
  const over = new AbortController();
  const board = new StatusBoard({
    config,
    nodeId: identity.node,
    version,
    clock: systemClock,
    ...modules,
  });
  bus.tap(over.signal, (event) => board.see(event));
  const api = await createLocalApi(
    {
      version,
      status: () => board.collect(),
      tap: (signal, see) => bus.tap(signal, see),
      trust: modules.trust,
      ring: createRingStatus({
        overlays: config.overlays.map(({ overlay }) => overlay),
        links: modules.links,
        topology: modules.topology,
        nameOf: (overlay, node) => board.nameOf(overlay, node),
      }),
      cni: {
        pods: () => podsReply(modules.pods.snapshot(), (overlay) => modules.cni.count(overlay)),
        answer: (request, signal) => modules.cni.answer(request, signal),
      },
    },
    { runDirectory, clock: systemClock, log: log.child('local-api') },
  );
  // The API is last to go: `evio status` answers while the rest stops.
  lifecycle.add('local API', stopDeadlineMs, () => api.close());
  const { bridges, links, topology, signal, trust, pods, cni } = modules;
  trust.start();
  lifecycle.add('trust', stopDeadlineMs, () => trust.stop());
  links.start();
  lifecycle.add('devices', stopDeadlineMs, () => bridges.stop());
  lifecycle.add('links', stopDeadlineMs, () => links.stop());
  pods.start();
  lifecycle.add('pods', stopDeadlineMs, () => pods.stop());
  lifecycle.add('attachments', stopDeadlineMs, () => cni.stop());
  await bridges.start();
  await cni.start();
  topology.start();
  lifecycle.add('topology', stopDeadlineMs, () => topology.stop());
  signal.start();
  lifecycle.add('signal', stopDeadlineMs, () => signal.stop());
  // First of all, while there is a way to say it.
  lifecycle.add('membership', stopDeadlineMs, () => topology.leave());
}

async function createModules(config: Config, identity: NodeIdentity, bus: Bus, log: Logger) {
  const clock = systemClock;
  const { node: self } = identity;
  const trust = await OverlayTrust.open({
    port: bus.port('trust'),
    identity,
    stateDirectory: config.stateDirectory,
    clock,
    log: log.child('identity'),
    overlays: config.overlays.map(trustConfig),
  });
  const pods = createPods({
    port: bus.port('pods'),
    exec,
    sysctls: hostSysctls,
    clock,
    random: Math.random,
    log: log.child('pods'),
    self,
    stateDirectory: config.stateDirectory,
    environment: process.env,
    overlays: config.overlays.flatMap(podsConfig),
    mtuChanged: (overlay, mtu) => void cni.setMtu(overlay, mtu),
    hostReady: () => cni.tidy(),
    attached: (overlay) => cni.count(overlay),
  });
  const cni = createCni({
    exec,
    clock,
    log: log.child('cni'),
    stateDirectory: config.stateDirectory,
    networks: attachable(pods),
  });
  return {
    trust,
    pods,
    cni,
    bridges: createBridgeController({
      port: bus.port('bridges'),
      exec,
      clock,
      log: log.child('bridges'),
      self,
      devices: config.overlays.map(deviceConfig),
    }),
    links: createLinkManager({
      port: bus.port('links'),
      log,
      clock,
      random: Math.random,
      keyLogFile: process.env['EVIO_KEY_LOG_FILE'] ?? null,
      rekeyMs: rekeyMs(process.env['EVIO_REKEY_MS']),
      overlays: config.overlays.map((overlay) => linksConfig(overlay, identity, trust)),
    }),
    topology: createTopology({
      port: bus.port('topology'),
      clock,
      random: Math.random,
      log,
      self,
      overlays: config.overlays.map(topologyConfig),
    }),
    signal: createSignal({
      port: bus.port('signal'),
      clock,
      random: Math.random,
      log: log.child('signal'),
      self,
      authority: new PeerAuthority({
        identity,
        clock,
        trust: (overlay) => trust.policyOf(overlay),
        certificate: (overlay) => trust.certificateOf(overlay),
      }),
      overlays: config.overlays.map((overlay) => signalConfig(config, overlay)),
    }),
  };
}

const deviceConfig = ({ overlay, device }: OverlayConfig): DeviceConfig => ({
  overlay,
  provider: device.provider,
  spanningTree: device.spanningTree,
  app: device.app,
  addresses: device.addresses.map(({ address, prefix }) => `${address}/${prefix}`),
  mtu: device.mtu,
  autoDelete: device.autoDelete,
});

const podsConfig = ({ overlay, device, cni }: OverlayConfig): PodsConfig[] =>
  cni === null ? [] : [{ ...cni, overlay, mtu: device.mtu, autoDelete: device.autoDelete }];

const trustConfig = ({ overlay, trust }: OverlayConfig): OverlayTrustConfig => ({
  overlay,
  ca: trust.policy === 'ca' ? trust : null,
});

const linksConfig = (
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

const topologyConfig = ({ overlay, topology }: OverlayConfig): OverlayTopologyConfig => {
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

const signalConfig = (
  config: Config,
  { overlay, signal, topology }: OverlayConfig,
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
});

/** One line per event at level debug; what an operator follows is logged by the modules. */
function logEvents(bus: Bus, log: Logger): void {
  const events = log.child('events');
  bus.tap(new AbortController().signal, ({ name, event }) => {
    const { overlay }: { readonly overlay: OverlayId } = event;
    const peer = 'peer' in event ? event.peer : undefined;
    events.debug('event', { event: name, overlay, ...(peer === undefined ? {} : { peer }) });
  });
}

/** For laboratories, where an hour is too long to wait. */
function rekeyMs(text: string | undefined): number | null {
  if (text === undefined || text === '') return null;
  const value = Number(text);
  if (Number.isInteger(value) && value >= 100 && value <= 3_600_000) return value;
  throw new EvioError('config.invalid', `EVIO_REKEY_MS is ${text}, not 100…3600000`);
}

function checkRuntime(): void {
  const major = Number(process.versions.node.split('.')[0]);
  if (major >= 24) return;
  throw new EvioError('runtime.unsupported', `Node.js ${process.versions.node} is older than 24`);
}

interface End {
  readonly reason: string;
  readonly status: number;
}

/** Resolves on the first signal or uncaught error; a second SIGINT ends the process at once. */
function whenAskedToEnd(): Promise<End> {
  return new Promise((resolve) => {
    let asked = false;
    const onSignal = (signal: NodeJS.Signals): void => {
      if (asked && signal === 'SIGINT') process.exit(130);
      asked = true;
      resolve({ reason: signal, status: 0 });
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
    process.on('SIGHUP', () => {}); // a closed terminal does not end a node
    const onError = (error: unknown): void => {
      const detail = error instanceof Error ? (error.stack ?? error.message) : messageOf(error);
      process.stderr.write(`evio: uncaught: ${detail}\n`);
      resolve({ reason: `uncaught error: ${messageOf(error)}`, status: 1 });
    };
    process.on('uncaughtException', onError);
    process.on('unhandledRejection', onError);
  });
}
