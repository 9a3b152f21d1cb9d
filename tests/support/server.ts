/**
 * What the servers of a lab have in common: a folder of their own, user nobody, free ports, a process
 * that is started, stopped and killed. Never decides what a server is configured to do.
 */
import { chmodSync, chownSync, copyFileSync, mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Certificate } from './ca.ts';
import type { Child } from './child.ts';
import type { Lab } from './netns.ts';
import { waitFor } from './scope.ts';

/** Where a server stands. */
export interface Place {
  /** Namespace of the lab; default '': the host itself, on loopback. */
  readonly ns?: string;
  /** Default 127.0.0.1. */
  readonly address?: string;
  /** IPv6 address to serve too. */
  readonly address6?: string;
}

const nobody = { uid: 65_534, gid: 65_534 };
const isRoot = (): boolean => process.getuid?.() === 0;

/** The command, run as user nobody where this process may choose. */
export const asNobody = (argv: readonly string[]): readonly string[] =>
  isRoot()
    ? ['setpriv', `--reuid=${nobody.uid}`, `--regid=${nobody.gid}`, '--clear-groups', ...argv]
    : argv;

let folders = 0;

/** A new folder in the lab that the server (user nobody) owns. */
export function serverFolder(lab: Lab, name: string): string {
  folders += 1;
  const folder = join(lab.folder, `${name}-${folders}`);
  mkdirSync(folder);
  giveToNobody(folder);
  return folder;
}

/** Copies certificate and key to `server.crt` and `server.key` of the server's folder. */
export function installCertificate(folder: string, certificate: Certificate, caFile: string): void {
  const copies = [
    [certificate.certFile, 'server.crt'],
    [certificate.keyFile, 'server.key'],
    [caFile, 'ca.crt'],
  ] as const;
  for (const [from, name] of copies) {
    const to = join(folder, name);
    copyFileSync(from, to);
    giveToNobody(to);
    chmodSync(to, 0o600);
  }
}

export function giveToNobody(path: string): void {
  if (isRoot()) chownSync(path, nobody.uid, nobody.gid);
}

/** Whether a TCP port of the namespace is listened on. */
export async function listens(lab: Lab, ns: string, port: number): Promise<boolean> {
  const list = await lab.exec(ns, ['ss', '-Hltn', `sport = :${port}`]);
  return list.includes(`:${port} `);
}

/** A server's process, which may be another one after a restart. */
export interface ServerProcess {
  child(): Child;
  /** Nothing when it runs. */
  start(): Promise<void>;
  stop(): Promise<void>;
  kill(signal: NodeJS.Signals): Promise<void>;
  restart(): Promise<void>;
}

export interface ServerProgram {
  readonly name: string;
  readonly spawn: () => Child;
  /** Whether it serves; one that throws says no. */
  readonly isReady: () => Promise<boolean>;
  /** On a quiet machine. */
  readonly startMs: number;
  /** SIGKILL after that. */
  readonly stopMs: number;
}

/** Starts the server; resolves when it serves. */
export async function runServer(program: ServerProgram): Promise<ServerProcess> {
  const { name, startMs, stopMs } = program;
  const launch = async (): Promise<Child> => {
    const started = program.spawn();
    await waitFor(
      `${name} serves`,
      async () => started.exit !== undefined || (await program.isReady()),
      { timeoutMs: startMs, stepMs: 50, context: () => started.log() },
    );
    if (started.exit !== undefined) throw new Error(`${name} ended: ${started.log()}`);
    return started;
  };
  let child = await launch();
  const start = async (): Promise<void> => {
    if (child.exit !== undefined) child = await launch();
  };
  const stop = async (): Promise<void> => {
    await child.stop(stopMs);
  };
  return {
    child: () => child,
    start,
    stop,
    async kill(signal) {
      child.kill(signal);
      await child.ended;
    },
    async restart() {
      await stop();
      await start();
    },
  };
}

/** A TCP port of the host's loopback that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => {
        if (address !== null && typeof address === 'object') resolve(address.port);
        else reject(new Error('no port'));
      });
    });
  });
}

/** In a namespace of its own a server has the well-known port; on the host a random one. */
export const choosePort = (place: Place, wellKnown: number): Promise<number> =>
  (place.ns ?? '') === '' ? freePort() : Promise.resolve(wellKnown);
