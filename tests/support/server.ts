/**
 * What the servers of a lab have in common: a folder of their own, user nobody, free ports. Owns
 * no process; never decides what a server is configured to do.
 */
import { chmodSync, chownSync, copyFileSync, mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Certificate } from './ca.ts';
import type { Lab } from './netns.ts';

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
