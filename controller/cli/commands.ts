/**
 * The commands that ask a running controller. Owns where its socket is looked for; formatting is
 * in `core`.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { EvioError, toEvioError } from '../../base/errors.ts';
import { readRunDirectory } from '../../config/load.ts';
import { type Client, createClient } from '../local-api/client.ts';
import { socketName } from '../local-api/schema.ts';
import { readVersion } from '../version.ts';
import { findPeers, formatPeer, formatPeers } from './core/peers.ts';
import { formatStatus } from './core/status.ts';
import { formatWatchLine } from './core/watch.ts';
import { printJson, printLines, screenOf } from './output.ts';

/** What every asking command takes. */
export interface AskOptions {
  readonly socket?: string;
  readonly config?: string;
  readonly json?: boolean;
}

const defaultConfig = '/etc/evio/config.json';
const defaultRunDirectory = '/run/evio';

export async function statusCommand(options: AskOptions): Promise<void> {
  const status = await clientFor(options).status();
  if (options.json === true) printJson(status);
  else {
    const upMs = Math.max(0, Date.now() - Date.parse(status.startedAt));
    printLines(formatStatus(screenOf(process.stdout), status, upMs));
  }
}

export async function peersCommand(peer: string | undefined, options: AskOptions): Promise<void> {
  const status = await clientFor(options).status();
  const screen = screenOf(process.stdout);
  if (peer === undefined) {
    if (options.json === true) {
      printJson(status.overlays.map(({ overlay, peers }) => ({ overlay, peers })));
    } else printLines(formatPeers(screen, status));
    return;
  }
  const found = findPeers(status, peer);
  if (found.length === 0) {
    throw new EvioError('peer.unknown', `no peer has the name or id ${JSON.stringify(peer)}`);
  }
  if (options.json === true) printJson(found);
  else printLines(found.flatMap((each) => formatPeer(screen, each)));
}

export async function watchCommand(options: AskOptions): Promise<void> {
  const interrupted = new AbortController();
  process.once('SIGINT', () => interrupted.abort());
  process.once('SIGTERM', () => interrupted.abort());
  const screen = screenOf(process.stdout);
  for await (const line of clientFor(options).watch(interrupted.signal)) {
    process.stdout.write(
      `${options.json === true ? JSON.stringify(line) : formatWatchLine(screen, line)}\n`,
    );
  }
  if (!interrupted.signal.aborted) throw new EvioError('not-running', 'the controller has ended');
}

export async function versionCommand(options: AskOptions): Promise<void> {
  const program = readVersion();
  const controller = await runningVersion(clientFor(options));
  if (options.json === true) {
    printJson({ version: program, node: process.versions.node, controller });
    return;
  }
  printLines([
    `evio ${program}, Node.js ${process.versions.node}`,
    `controller: ${controller ?? 'not running'}`,
  ]);
}

/** Null when none is running, or when we may not ask it. */
async function runningVersion(client: Client): Promise<string | null> {
  try {
    return (await client.version()).version;
  } catch (error) {
    const { code } = toEvioError(error);
    if (code === 'not-running' || code === 'host.not-permitted') return null;
    throw error;
  }
}

export const clientFor = (options: AskOptions): Client => createClient(socketPathFrom(options));

/** Where the controller is looked for; see `--help`. */
export function socketPathFrom(options: AskOptions): string {
  if (options.socket !== undefined) return options.socket;
  if (options.config !== undefined) return join(readRunDirectory(options.config), socketName);
  return join(runDirectoryByDefault(), socketName);
}

/** A default configuration that we may not read, or that has errors, does not stop a question. */
function runDirectoryByDefault(): string {
  if (!existsSync(defaultConfig)) return defaultRunDirectory;
  try {
    return readRunDirectory(defaultConfig);
  } catch (error) {
    if (toEvioError(error).code === 'internal') throw error;
    return defaultRunDirectory;
  }
}
