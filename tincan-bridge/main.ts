#!/usr/bin/env node
/**
 * The tunnel process: speaks the bridge protocol on fd 3 until end-of-file or `close`. Owns the
 * life of the process; everything else is `bridge.ts`. Standard error is for crashes.
 *
 * Usage: tincan-bridge [--protocol VERSION] [--log-level debug|info|warn|error]
 * Exit status: 0 ended in order, 1 a defect, 42 wrong settings or version.
 */
import { readFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { systemClock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import { withDeadline } from '../base/lifecycle.ts';
import { createBridge } from './bridge.ts';
import { createChannelLogger } from './channel-log.ts';
import { createHandshake, createNativeDatapath, kernelEvents } from './datapath/native.ts';
import { hostStationsOf } from './network/host-stations.ts';
import { bridgeProtocolVersion } from './protocol/schema.ts';
import { type BridgeServer, createBridgeServer } from './server.ts';
import { hasAesInstructions } from './session/core/aes-instructions.ts';

const channelFd = 3;
const exitStatus = { inOrder: 0, defect: 1, wrongSettings: 42 } as const;
/** Everything is ended within this after the controller's death. */
const endMs = 1_800;

const Settings = z.object({
  protocol: z.coerce.number().default(bridgeProtocolVersion),
  'log-level': z.enum(['debug', 'info', 'warn', 'error']).default('info'),
});

function readSettings(): z.infer<typeof Settings> {
  try {
    const { values } = parseArgs({
      options: { protocol: { type: 'string' }, 'log-level': { type: 'string' } },
    });
    const settings = Settings.parse(values);
    if (settings.protocol === bridgeProtocolVersion) return settings;
    throw new Error(`protocol ${settings.protocol} is asked for, this is ${bridgeProtocolVersion}`);
  } catch (error) {
    return endProcess(exitStatus.wrongSettings, messageOf(error));
  }
}

function openChannel(): Socket {
  try {
    return new Socket({ fd: channelFd, readable: true, writable: true });
  } catch (error) {
    return endProcess(
      exitStatus.wrongSettings,
      `fd ${channelFd} is no channel: ${messageOf(error)}`,
    );
  }
}

function endProcess(status: number, why?: string): never {
  if (why !== undefined) process.stderr.write(`tincan-bridge: ${why}\n`);
  process.exit(status);
}

/** Name and version of the package, for `ready`. */
function build(): string {
  try {
    const text = readFileSync(join(import.meta.dirname, '..', '..', 'package.json'), 'utf8');
    const { name, version } = z
      .object({ name: z.string(), version: z.string() })
      .parse(JSON.parse(text));
    return `${name} ${version}`.slice(0, 64);
  } catch {
    return 'unknown'; // moved out of its package: harmless, the protocol version is what counts
  }
}

/** Unknown counts as with: the other end's wish decides then, and AES is in most machines. */
function isWithoutAes(): boolean {
  try {
    return hasAesInstructions(readFileSync('/proc/cpuinfo', 'utf8')) === false;
  } catch {
    return false; // a sandbox without that file
  }
}

function main(): void {
  const settings = readSettings();
  // The controller ends us by `close` or by closing the channel; a ^C reaches its children too.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});

  const channel = openChannel();
  let server: BridgeServer | null = null;
  const log = createChannelLogger(
    (name, body) => server?.notify(name, body),
    settings['log-level'],
  );
  let ending = false;
  const end = (status: number): void => {
    if (ending) return;
    ending = true;
    withDeadline(bridge.stop(), endMs, 'end of the tunnel')
      .catch((error: unknown) => process.stderr.write(`tincan-bridge: ${messageOf(error)}\n`))
      .finally(() => process.exit(status));
  };
  const crash = (error: unknown): void => {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    process.stderr.write(`tincan-bridge: ${text}\n`);
    log.error('tunnel process crashed', { error: text });
    server?.close().then(
      () => process.exit(exitStatus.defect),
      () => process.exit(exitStatus.defect),
    );
    setTimeout(() => process.exit(exitStatus.defect), 200);
  };
  process.on('uncaughtException', crash);
  process.on('unhandledRejection', crash);

  const bridge = createBridge({
    createDatapath: createNativeDatapath,
    createHandshake,
    preferChaCha: isWithoutAes(),
    kernelEvents,
    hostStations: hostStationsOf,
    clock: systemClock,
    log,
    notify: (name, body) => server?.notify(name, body),
    loopback: false,
    onClosed: () => {
      // After the answer has been written.
      setImmediate(() => server?.close().finally(() => end(exitStatus.inOrder)));
    },
  });
  server = createBridgeServer(channel, {
    handlers: bridge.handlers,
    onClosed: (reason) => end(reason === null ? exitStatus.inOrder : exitStatus.defect),
  });
  server.notify('ready', { version: bridgeProtocolVersion, build: build(), pid: process.pid });
}

main();
