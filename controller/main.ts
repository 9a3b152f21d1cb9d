/**
 * The controller: configuration, identity, bus, modules, local API, in that order, and all of it
 * ended in the reverse. The only file that knows every module; decides nothing itself.
 */
import { systemClock } from '../base/clock.ts';
import { EvioError } from '../base/errors.ts';
import { exec } from '../base/exec.ts';
import type { OverlayId } from '../base/ids.ts';
import { Lifecycle } from '../base/lifecycle.ts';
import { createLogger, type Logger } from '../base/log.ts';
import { createCni } from '../cni-plugin/index.ts';
import { formatFinding } from '../config/check.ts';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { createBridgeController } from './bridge-controller/index.ts';
import { Bus } from './bus.ts';
import { loadIdentity, type NodeIdentity, OverlayTrust, PeerAuthority } from './identity/index.ts';
import { createLinkManager } from './link-manager/index.ts';
import { createLocalApi } from './local-api/index.ts';
import {
  deviceConfig,
  linksConfig,
  podsConfig,
  signalConfig,
  topologyConfig,
  trustConfig,
} from './module-config.ts';
import { attachable, podsReply } from './pod-networks.ts';
import { createPods, hostSysctls } from './pods/index.ts';
import { whenAskedToEnd } from './process-end.ts';
import { createRingStatus } from './ring-status.ts';
import { createSignal } from './signal/index.ts';
import { StatusBoard } from './status.ts';
import { createTopology } from './topology/index.ts';
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
