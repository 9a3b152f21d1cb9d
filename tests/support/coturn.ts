/**
 * coturn from Debian as STUN and TURN server of a lab. Owns one server process; never the network
 * it stands in.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Certificate } from './ca.ts';
import type { Lab } from './netns.ts';
import {
  asNobody,
  choosePort,
  freePort,
  giveToNobody,
  installCertificate,
  type Place,
  runServer,
  type ServerProcess,
  serverFolder,
} from './server.ts';

export interface CoturnOptions extends Place {
  /** A second address makes it answer RFC 5780 (what kind of NAT is this?). */
  readonly secondAddress?: string;
  /** Credentials: names and passwords, or a secret for time-limited ones (XEP-0215). */
  readonly users?: Readonly<Record<string, string>>;
  readonly sharedSecret?: string;
  /** TURN over TLS on 5349. */
  readonly tls?: { readonly certificate: Certificate; readonly caFile: string };
  /** Allows relaying to 127.0.0.0/8, for tests on loopback. */
  readonly allowLoopbackPeers?: boolean;
}

/** A restart loses every allocation. */
export interface Coturn extends ServerProcess {
  readonly address: string;
  readonly port: number;
  readonly tlsPort: number | undefined;
  /** `address:port`, as our configuration wants it. */
  readonly endpoint: string;
  log(): string;
}

export async function startCoturn(lab: Lab, options: CoturnOptions = {}): Promise<Coturn> {
  const ns = options.ns ?? '';
  const address = options.address ?? '127.0.0.1';
  const port = await choosePort(options, 3478);
  const tlsPort = options.tls === undefined ? undefined : ns === '' ? await freePort() : 5349;
  const folder = serverFolder(lab, 'coturn');
  const config = join(folder, 'turnserver.conf');
  writeFileSync(config, configText(folder, address, port, tlsPort, options));
  giveToNobody(config);
  if (options.tls !== undefined) {
    installCertificate(folder, options.tls.certificate, options.tls.caFile);
  }
  // Line by line, or the last lines of the log stay in its buffer.
  const argv = asNobody(['stdbuf', '-oL', 'turnserver', '-c', config]);
  const server = await runServer({
    name: 'coturn',
    spawn: () => lab.spawn(ns, argv, { cwd: folder }),
    isReady: () => answersStun(lab, ns, address, port),
    startMs: 10_000,
    stopMs: 3_000,
  });
  return {
    address,
    port,
    tlsPort,
    endpoint: `${address}:${port}`,
    ...server,
    log: () => server.child().log(),
  };
}

/** Rejects unless the server answers a binding request. */
async function answersStun(lab: Lab, ns: string, address: string, port: number): Promise<boolean> {
  // turnutils_stunclient sends once and waits for ever: the deadline is timeout's.
  await lab.exec(ns, ['timeout', '0.5', 'turnutils_stunclient', '-p', String(port), address]);
  return true;
}

function configText(
  folder: string,
  address: string,
  port: number,
  tlsPort: number | undefined,
  options: CoturnOptions,
): string {
  const lines = [
    `listening-ip=${address}`,
    `relay-ip=${address}`,
    `listening-port=${port}`,
    'realm=lab.test',
    'fingerprint',
    'no-cli',
    'no-multicast-peers',
    'min-port=49152',
    'max-port=49999',
    // Else it complains about /var/lib/turn, which user nobody may not write.
    `userdb=${folder}/turndb`,
    `pidfile=${folder}/turn.pid`,
    'log-file=stdout',
    'simple-log',
    'no-dtls',
  ];
  if (options.secondAddress !== undefined) lines.push(`listening-ip=${options.secondAddress}`);
  if (options.address6 !== undefined) {
    lines.push(`listening-ip=${options.address6}`, `relay-ip=${options.address6}`);
  }
  if (options.sharedSecret === undefined) {
    lines.push('lt-cred-mech');
    for (const [user, password] of Object.entries(options.users ?? { u: 'p' })) {
      lines.push(`user=${user}:${password}`);
    }
  } else {
    lines.push('use-auth-secret', `static-auth-secret=${options.sharedSecret}`);
  }
  if (tlsPort === undefined) lines.push('no-tls');
  else {
    lines.push(`tls-listening-port=${tlsPort}`, `cert=${folder}/server.crt`);
    lines.push(`pkey=${folder}/server.key`);
  }
  if (options.allowLoopbackPeers === true) lines.push('allow-loopback-peers');
  return `${lines.join('\n')}\n`;
}
