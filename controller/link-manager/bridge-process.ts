/**
 * One tunnel process: spawned with a socket pair on fd 3, its log lines taken over, its end
 * reported once. Owns the child; decides nothing about restarts.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { EvioError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import {
  type BridgeClient,
  createBridgeClient,
  type NotificationMessage,
} from '../../tincan-bridge/client.ts';
import { watchedCallMs } from './core/timers.ts';

export interface BridgeProcess {
  readonly pid: number;
  readonly client: BridgeClient;
  /** How long its main thread was ready to run and had no processor, since its start; null: not known. */
  waitedMs(): number | null;
  /** Ends it at once (SIGKILL). Idempotent. */
  kill(): void;
  /** How it ended; never rejects. */
  readonly ended: Promise<string>;
}

/** Starts the process. Throws `bridge.failed` when it cannot be spawned at all. */
export function spawnBridge(
  log: Logger,
  onNotification: (message: NotificationMessage) => void,
): BridgeProcess {
  const main = fileURLToPath(new URL('../../tincan-bridge/main.js', import.meta.url));
  const child = spawn(process.execPath, [youngGeneration, main], {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    env: bridgeEnvironment(),
  });
  const ended = whenEnded(child);
  const channel = child.stdio[3];
  if (child.pid === undefined || !(channel instanceof Duplex)) {
    throw new EvioError('bridge.failed', `tunnel process ${main} could not be started`);
  }
  if (child.stderr !== null) {
    createInterface(child.stderr).on('line', (line) =>
      log.warn('tunnel process wrote to standard error', { error: line.slice(0, 500) }),
    );
  }
  const kill = (): void => void child.kill('SIGKILL');
  const client = createBridgeClient(channel, {
    readyTimeoutMs: watchedCallMs,
    onNotification,
    onClosed: (error) => {
      log.debug('bridge channel closed', { error: error.message });
      // A process whose channel is gone ends by itself; one that does not is not worth keeping.
      const timer = setTimeout(kill, orphanMs);
      void ended.then(() => clearTimeout(timer));
    },
  });
  const { pid } = child;
  return { pid, client, kill, ended, waitedMs: () => runDelayMs(pid) };
}

/** Small objects die young here; V8's default of 16 MiB semi-spaces would only hold 10 MiB more. */
const youngGeneration = '--max-semi-space-size=1';

/** The process ends within 2 s of end-of-file by its own contract; then it is killed. */
const orphanMs = 2_500;

/** Second number of /proc/PID/schedstat, nanoseconds (Documentation/scheduler/sched-stats.rst). */
function runDelayMs(pid: number): number | null {
  try {
    const [, delay] = readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ');
    return Number(delay) / 1e6;
  } catch {
    return null; // a kernel without it, or the process has just ended
  }
}

/** Secrets that were given to the controller by environment are not for the child. */
function bridgeEnvironment(): NodeJS.ProcessEnv {
  const { PATH, TZ, NODE_EXTRA_CA_CERTS } = process.env;
  return { PATH, TZ, NODE_EXTRA_CA_CERTS };
}

function whenEnded(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) =>
      resolve(signal === null ? `exit status ${code}` : `signal ${signal}`),
    );
  });
}
