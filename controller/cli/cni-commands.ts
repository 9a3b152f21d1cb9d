/**
 * `evio cni install|uninstall|status`: the files by which container runtimes find the plugin, and
 * how pods stand. Owns the waiting for a controller that can attach pods; files are the plugin's.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { EvioError, toEvioError } from '../../base/errors.ts';
import { OverlayId } from '../../base/ids.ts';
import {
  inspect,
  installExecutable,
  installList,
  type Places,
  uninstall,
  usualChain,
} from '../../cni-plugin/install.ts';
import type { Client } from '../local-api/client.ts';
import type { PodsReply } from '../local-api/schema.ts';
import { type AskOptions, clientFor, socketPathFrom } from './commands.ts';
import { formatPods } from './core/pods.ts';
import { printJson, printLines, screenOf } from './output.ts';
import { parse } from './trust-commands.ts';

export interface PlaceOptions extends AskOptions {
  readonly binDir: string;
  readonly confDir: string;
}

export interface InstallOptions extends PlaceOptions {
  readonly overlay?: string;
  readonly name: string;
  readonly cniVersion: string;
  /** Comma separated; absent: those of the usual ones that are there. */
  readonly chain?: string;
  readonly wait: string;
}

/** The specification's versions that a list can be written for. */
const listVersions = ['0.3.1', '0.4.0', '1.0.0', '1.1.0'];
/** Between two questions whether pods can be attached. */
const askEveryMs = 500;
const maxWaitS = 86_400;

const placesOf = ({ binDir, confDir }: PlaceOptions): Places => ({
  binDirectory: binDir,
  confDirectory: confDir,
});

export async function cniInstallCommand(options: InstallOptions): Promise<void> {
  const places = placesOf(options);
  const overlay =
    options.overlay === undefined ? null : parse(OverlayId, '--overlay', options.overlay);
  const waitS = Number(options.wait);
  if (!Number.isInteger(waitS) || waitS < 0 || waitS > maxWaitS) {
    throw new EvioError(
      'request.invalid',
      `--wait ${options.wait} is no number of seconds, 0 to ${maxWaitS}`,
    );
  }
  if (!listVersions.includes(options.cniVersion)) {
    throw new EvioError(
      'request.invalid',
      `--cni-version ${options.cniVersion} is not one of ${listVersions.join(', ')}`,
    );
  }
  const before = inspect(places);
  if (before.list.state === 'foreign') {
    throw new EvioError('cni.foreign-file', `${before.list.file} exists and was not made by evio`);
  }
  installExecutable(places);
  // Runtimes take a list for the word that pods can be started: it comes when that is true.
  await waitReady(clientFor(options), overlay, waitS * 1_000);
  const chain =
    options.chain === undefined
      ? usualChain(places)
      : options.chain.split(',').filter((type) => type !== '');
  const { cniVersion, name } = options;
  installList(places, { cniVersion, name, overlay, socket: socketPathFrom(options), chain });
  const after = inspect(places);
  if (options.json === true) printJson({ ...after, chain });
  else {
    const rest = chain.length === 0 ? '' : `, then ${chain.join(', ')}`;
    printLines([
      `installed ${after.executable.file}`,
      `installed ${after.list.file}: evio-cni${rest}`,
    ]);
  }
}

export function cniUninstallCommand(options: PlaceOptions): void {
  const removed = uninstall(placesOf(options));
  if (options.json === true) printJson({ removed });
  else
    printLines(
      removed.length === 0
        ? ['nothing of evio is installed there']
        : removed.map((file) => `removed ${file}`),
    );
}

export async function cniStatusCommand(options: PlaceOptions): Promise<void> {
  const installed = inspect(placesOf(options));
  const pods = await clientFor(options)
    .pods()
    .catch((error: unknown) => {
      const { code } = toEvioError(error);
      if (code === 'not-running' || code === 'host.not-permitted') return null;
      throw error;
    });
  if (options.json === true) printJson({ ...installed, controller: pods });
  else printLines(formatPods(screenOf(process.stdout), installed, pods));
}

async function waitReady(client: Client, overlay: OverlayId | null, waitMs: number): Promise<void> {
  const endMs = performance.now() + waitMs;
  for (;;) {
    const why = await whyNotReady(client, overlay);
    if (why === null) return;
    if (performance.now() >= endMs) {
      throw new EvioError('cni.not-ready', `no pod can be attached yet: ${why}`);
    }
    await delay(askEveryMs);
  }
}

async function whyNotReady(client: Client, overlay: OverlayId | null): Promise<string | null> {
  let reply: PodsReply;
  try {
    reply = await client.pods();
  } catch (error) {
    const { code, message } = toEvioError(error);
    if (code === 'not-running' || code === 'request.timeout') return message;
    throw error;
  }
  const [only] = reply.overlays;
  if (only === undefined)
    throw new EvioError('request.invalid', 'no overlay of this node has a section in Cni.Overlays');
  if (overlay === null && reply.overlays.length > 1) {
    throw new EvioError('request.invalid', 'several overlays have pods: name one by --overlay');
  }
  const found = overlay === null ? only : reply.overlays.find((each) => each.overlay === overlay);
  if (found === undefined)
    throw new EvioError('request.invalid', `overlay ${overlay} has no section in Cni.Overlays`);
  return (
    found.problem ??
    (found.isUp ? null : `the tunnels of overlay ${found.overlay} do not serve yet`)
  );
}
