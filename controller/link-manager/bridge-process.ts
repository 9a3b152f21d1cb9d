/**
 * One tunnel process: spawned with a socket pair on fd 3, its log lines taken over, its end
 * reported once. Owns the child; decides nothing about restarts.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { EvioError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { type BridgeClient, createBridgeClient } from '../../tincan-bridge/client.ts';
import {
  bridgeProtocolVersion,
  type Notification,
  type NotificationName,
} from '../../tincan-bridge/protocol/schema.ts';

export interface BridgeEvents {
  readonly onReady: () => void;
  readonly onNotification: <N extends NotificationName>(name: N, body: Notification<N>) => void;
  /** Once, when the process has ended or its channel broke. */
  readonly onEnd: (reason: string) => void;
}

export interface BridgeProcess {
  readonly pid: number;
  readonly client: BridgeClient;
  kill(): void;
  /** Resolves when the process has ended. */
  readonly ended: Promise<void>;
}

/** Starts the process. Throws `bridge.failed` when it cannot be spawned at all. */
export function spawnBridge(log: Logger, events: BridgeEvents): BridgeProcess {
  const main = fileURLToPath(new URL('../../tincan-bridge/main.js', import.meta.url));
  const child = spawn(process.execPath, [main], { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
  const channel = child.stdio[3];
  if (!(channel instanceof Duplex) || child.pid === undefined) {
    child.on('error', () => {}); // the cause is in the exception
    throw new EvioError('bridge.failed', `tunnel process ${main} could not be started`);
  }
  if (child.stderr !== null) {
    createInterface(child.stderr).on('line', (line) =>
      log.warn('tunnel process wrote to standard error', { error: line.slice(0, 500) }),
    );
  }
  const client = createBridgeClient(channel, {
    onNotification: (name, body) => {
      events.onNotification(name, body);
    },
    onEnd: (reason) => {
      child.kill('SIGKILL'); // a channel that broke cannot be trusted with more
      log.debug('bridge channel ended', { reason });
    },
  });
  return { pid: child.pid, client, kill: () => child.kill('SIGKILL'), ended: whenEnded(child, events) };
}

function whenEnded(child: ChildProcess, events: BridgeEvents): Promise<void> {
  return new Promise((resolve) => {
    let reason = '';
    child.on('error', (error) => {
      reason = error.message;
    });
    child.on('close', (code, signal) => {
      events.onEnd(reason || (signal === null ? `exit status ${code}` : `signal ${signal}`));
      resolve();
    });
  });
}

export { bridgeProtocolVersion };
