/**
 * Prosody from Debian as XMPP server of a lab, its users and its roster groups. Owns one server
 * process and its folder; never the network it stands in. mod_limits stays out: Debian's default
 * holds a client at 10 kB/s.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Ca, CertificateOptions } from './ca.ts';
import type { Lab } from './netns.ts';
import {
  asNobody,
  choosePort,
  freePort,
  giveToNobody,
  installCertificate,
  listens,
  type Place,
  runServer,
  type ServerProcess,
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

export interface Prosody extends ServerProcess {
  readonly address: string;
  /** STARTTLS. */
  readonly port: number;
  readonly directTlsPort: number;
  readonly domain: string;
  log(): string;
  register(user: string, password: string): Promise<void>;
  unregister(user: string): Promise<void>;
  /** Writes the group file; members see it after `restart()` (mod_groups reads it at start). */
  setGroups(groups: Readonly<Record<string, readonly string[]>>): void;
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

  const argv = asNobody(['prosody', '--config', config, '-F']);
  const server = await runServer({
    name: 'prosody',
    spawn: () => lab.spawn(ns, argv, { cwd: folder, env: { HOME: folder } }),
    isReady: () => listens(lab, ns, port),
    startMs: 10_000,
    stopMs: 3_000,
  });
  return {
    address,
    port,
    directTlsPort,
    domain,
    ...server,
    log: () => server.child().log(),
    register,
    async unregister(user) {
      await prosodyctl('deluser', `${user}@${domain}`);
    },
    setGroups,
  };
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
    `interfaces = { ${list([at.address, ...(options.address6 === undefined ? [] : [options.address6])])} }`,
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
