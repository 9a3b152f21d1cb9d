/**
 * Prosody from Debian as XMPP server of a lab, its users and its roster groups. Owns one server
 * process and its folder; never the network it stands in. mod_limits stays out: Debian's default
 * holds a client at 10 kB/s.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Ca, CertificateOptions } from './ca.ts';
import type { Child } from './child.ts';
import type { Lab } from './netns.ts';
import { waitFor } from './scope.ts';
import {
  asNobody,
  choosePort,
  freePort,
  giveToNobody,
  installCertificate,
  type Place,
  serverFolder,
} from './server.ts';

export interface ProsodyOptions extends Place {
  /** Signs the server's certificate; without one the server offers no TLS at all. */
  readonly ca?: Ca;
  /** Default lab.test. */
  readonly domain?: string;
  /** Names in the certificate instead of the domain, to make it wrong. */
  readonly certificateNames?: readonly string[];
  readonly certificateValidity?: CertificateOptions['validity'];
  /** Account name → password. */
  readonly users?: Readonly<Record<string, string>>;
  /** Group (overlay) → its account names; every member has the others in the roster. */
  readonly groups?: Readonly<Record<string, readonly string[]>>;
  /** Which SCRAM is offered; default SHA-1, as Debian's Prosody does. */
  readonly scram?: 'SHA-1' | 'SHA-256';
  /** `ccert`: SASL EXTERNAL with client certificates of the CA (module of prosody-modules). */
  readonly authentication?: 'internal_hashed' | 'ccert';
  /** Tells clients of this TURN server with time-limited credentials (XEP-0215). */
  readonly turn?: { readonly address: string; readonly port: number; readonly secret: string };
  readonly logLevel?: 'debug' | 'info';
  /** Further modules, name → Lua: what a hostile admin would load. */
  readonly modules?: Readonly<Record<string, string>>;
}

export interface Prosody {
  readonly address: string;
  /** STARTTLS. */
  readonly port: number;
  readonly directTlsPort: number;
  readonly domain: string;
  readonly child: () => Child;
  log(): string;
  register(user: string, password: string): Promise<void>;
  unregister(user: string): Promise<void>;
  /** Writes the group file; members see it after `restart()` (mod_groups reads it at start). */
  setGroups(groups: Readonly<Record<string, readonly string[]>>): void;
  start(): Promise<void>;
  stop(): Promise<void>;
  kill(signal: NodeJS.Signals): Promise<void>;
  restart(): Promise<void>;
}

export async function startProsody(lab: Lab, options: ProsodyOptions = {}): Promise<Prosody> {
  const ns = options.ns ?? '';
  const domain = options.domain ?? 'lab.test';
  const address = options.address ?? '127.0.0.1';
  const port = await choosePort(options, 5222);
  const directTlsPort = ns === '' ? await freePort() : 5223;
  const folder = serverFolder(lab, 'prosody');
  const config = join(folder, 'prosody.cfg.lua');
  if (options.ca !== undefined) {
    const names = options.certificateNames ?? [domain];
    const ips = options.certificateNames === undefined ? [address] : [];
    const server = await options.ca.issue({
      name: `prosody-${port}`,
      dns: names,
      ips,
      ...(options.certificateValidity === undefined
        ? {}
        : { validity: options.certificateValidity }),
    });
    installCertificate(folder, server, options.ca.certFile);
  }
  writeFileSync(config, configText({ folder, address, port, directTlsPort, domain }, options));
  giveToNobody(config);
  for (const [name, lua] of Object.entries(options.modules ?? {})) {
    const file = join(folder, `mod_${name}.lua`);
    writeFileSync(file, lua);
    giveToNobody(file);
  }
  const setGroups: Prosody['setGroups'] = (groups) => {
    const file = join(folder, 'groups.ini');
    writeFileSync(file, groupsText(groups, domain));
    giveToNobody(file);
  };
  setGroups(options.groups ?? {});
  const prosodyctl = (...args: readonly string[]): Promise<string> =>
    lab.exec('', asNobody(['prosodyctl', '--config', config, ...args]));
  const register = async (user: string, password: string): Promise<void> => {
    await prosodyctl('register', user, domain, password);
  };
  for (const [user, password] of Object.entries(options.users ?? {})) {
    await register(user, password);
  }

  const spawn = async (): Promise<Child> => {
    const argv = asNobody(['prosody', '--config', config, '-F']);
    const started = lab.spawn(ns, argv, { cwd: folder, env: { HOME: folder } });
    await waitFor(
      'prosody listens',
      async () => (await listens(lab, ns, port)) || started.exit !== undefined,
      { timeoutMs: 10_000, context: () => started.log() },
    );
    if (started.exit !== undefined) throw new Error(`prosody ended: ${started.log()}`);
    return started;
  };
  let child = await spawn();
  const stop = async (): Promise<void> => {
    await child.stop(3_000);
  };
  const start = async (): Promise<void> => {
    if (child.exit !== undefined) child = await spawn();
  };
  return {
    address,
    port,
    directTlsPort,
    domain,
    child: () => child,
    log: () => child.log(),
    register,
    async unregister(user) {
      await prosodyctl('deluser', `${user}@${domain}`);
    },
    setGroups,
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

/** Whether a TCP port of the namespace is listened on. */
export async function listens(lab: Lab, ns: string, port: number): Promise<boolean> {
  const list = await lab.exec(ns, ['ss', '-Hltn', `sport = :${port}`]);
  return list.includes(`:${port} `);
}

function groupsText(groups: Readonly<Record<string, readonly string[]>>, domain: string): string {
  return Object.entries(groups)
    .map(([group, users]) => {
      const members = users.map((user) => `${user}@${domain}=${user}\n`);
      return `[${group}]\n${members.join('')}`;
    })
    .join('\n');
}

interface Listener {
  readonly folder: string;
  readonly address: string;
  readonly port: number;
  readonly directTlsPort: number;
  readonly domain: string;
}

function configText(at: Listener, options: ProsodyOptions): string {
  const tls = options.ca !== undefined;
  const modules = ['roster', 'saslauth', 'disco', 'smacks', 'ping', 'groups'];
  if (tls) modules.push('tls');
  if (options.turn !== undefined) modules.push('turn_external');
  modules.push(...Object.keys(options.modules ?? {}));
  const list = (items: readonly string[]): string => items.map((x) => `"${x}"`).join(', ');
  const lines = [
    `pidfile = "${at.folder}/prosody.pid"`,
    `data_path = "${at.folder}/data"`,
    `certificates = "${at.folder}"`,
    `network_backend = "epoll"`,
    `interfaces = { "${at.address}" }`,
    `c2s_ports = { ${at.port} }`,
    `c2s_direct_tls_ports = { ${tls ? at.directTlsPort : ''} }`,
    's2s_ports = {}; http_ports = {}; https_ports = {}',
    `plugin_paths = { "${at.folder}" }`,
    `modules_enabled = { ${list(modules)} }`,
    `modules_disabled = { ${list(['s2s', 'offline', ...(tls ? [] : ['tls'])])} }`,
    `groups_file = "${at.folder}/groups.ini"`,
    `authentication = "${options.authentication ?? 'internal_hashed'}"`,
    `certificate_match = "xmppaddr"`,
    `password_hash = "${options.scram ?? 'SHA-1'}"`,
    `c2s_require_encryption = ${tls}`,
    `allow_unencrypted_plain_auth = ${!tls}`,
    'smacks_hibernation_time = 60',
    `log = { { levels = { min = "${options.logLevel ?? 'info'}" }, to = "console" } }`,
    `run_as_root = ${process.getuid?.() !== 0}`,
  ];
  if (tls) {
    // Client certificates are checked as if they were a server's: without these flags one for
    // clientAuth only ends in `account-disabled`.
    const verify =
      options.authentication === 'ccert'
        ? 'verify = { "peer", "client_once" }; verifyext = { "lsec_continue", "lsec_ignore_purpose" };'
        : '';
    const files = ['key = "server.key"', 'certificate = "server.crt"', 'cafile = "ca.crt"']
      .map((x) => x.replace(' = "', ` = "${at.folder}/`))
      .join('; ');
    lines.push(`ssl = { ${files}; protocol = "tlsv1_2+"; ${verify} }`, 'c2s_direct_tls_ssl = ssl');
  }
  if (options.turn !== undefined) {
    lines.push(
      `turn_external_host = "${options.turn.address}"`,
      `turn_external_port = ${options.turn.port}`,
      `turn_external_secret = "${options.turn.secret}"`,
      'turn_external_ttl = 3600',
    );
  }
  return `${lines.join('\n')}\nVirtualHost "${at.domain}"\n`;
}
