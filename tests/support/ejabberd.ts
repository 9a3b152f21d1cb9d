/**
 * ejabberd from Debian as XMPP server of a lab, its users and shared roster groups, which change
 * while it runs. Owns one Erlang process and its folder; never uses ejabberdctl (it refuses to run
 * as another user than root or ejabberd): the HTTP API on loopback does the same.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Ca } from './ca.ts';
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

export interface EjabberdOptions extends Place {
  readonly ca: Ca;
  readonly domain?: string;
  readonly users?: Readonly<Record<string, string>>;
  readonly groups?: Readonly<Record<string, readonly string[]>>;
  /** Default SHA-256. */
  readonly scram?: 'SHA-1' | 'SHA-256';
}

export interface Ejabberd extends ServerProcess {
  readonly address: string;
  readonly port: number;
  readonly directTlsPort: number;
  readonly domain: string;
  log(): string;
  register(user: string, password: string): Promise<void>;
  unregister(user: string): Promise<void>;
  /** Online members get the roster push at once. */
  addMember(group: string, user: string): Promise<void>;
  removeMember(group: string, user: string): Promise<void>;
  /** Any command of the ejabberd API, with its JSON arguments; the answer's text. */
  api(command: string, args: Readonly<Record<string, string>>): Promise<string>;
}

export async function startEjabberd(lab: Lab, options: EjabberdOptions): Promise<Ejabberd> {
  const ns = options.ns ?? '';
  const domain = options.domain ?? 'lab.test';
  const address = options.address ?? '127.0.0.1';
  const port = await choosePort(options, 5222);
  const directTlsPort = ns === '' ? await freePort() : 5223;
  const apiPort = ns === '' ? await freePort() : 5280;
  const folder = serverFolder(lab, 'ejabberd');
  await installFiles(folder, { address, port, directTlsPort, apiPort, domain }, options);
  const server = await runServer({
    name: 'ejabberd',
    spawn: () => lab.spawn(ns, asNobody(erlArgv(folder)), { cwd: folder, env: erlEnv(folder) }),
    isReady: async () => (await listens(lab, ns, port)) && (await listens(lab, ns, apiPort)),
    startMs: 20_000,
    stopMs: 5_000,
  });
  const api: Ejabberd['api'] = (command, args) => {
    const url = `http://127.0.0.1:${apiPort}/api/${command}`;
    return lab.exec(ns, ['curl', '-sS', '--fail-with-body', '-d', JSON.stringify(args), url]);
  };
  const register = async (user: string, password: string): Promise<void> => {
    await api('register', { user, host: domain, password });
  };
  const membership = (group: string, user: string): Readonly<Record<string, string>> => ({
    user,
    host: domain,
    group,
    grouphost: domain,
  });
  const addMember = async (group: string, user: string): Promise<void> => {
    await api('srg_user_add', membership(group, user));
  };
  for (const [user, password] of Object.entries(options.users ?? {})) {
    await register(user, password);
  }
  for (const [group, users] of Object.entries(options.groups ?? {})) {
    const texts = { label: group, description: group, display: group };
    await api('srg_create', { group, host: domain, ...texts });
    for (const user of users) await addMember(group, user);
  }
  return {
    address,
    port,
    directTlsPort,
    domain,
    ...server,
    log: () => server.child().log() + readFileSync(join(folder, 'ejabberd.log'), 'utf8'),
    register,
    async unregister(user) {
      await api('unregister', { user, host: domain });
    },
    addMember,
    async removeMember(group, user) {
      await api('srg_user_del', membership(group, user));
    },
    api,
  };
}

// One scheduler, no distribution (no node name, no epmd, no cookie): small, and many may run.
const erlArgv = (folder: string): readonly string[] => [
  ...['erl', '-noinput', '+K', 'true', '+S', '1:1', '+SDio', '1'],
  ...['-mnesia', 'dir', `"${folder}/mnesia"`, '-s', 'ejabberd'],
];

/** Debian puts ejabberd's Erlang libraries under the multiarch folder. */
function erlEnv(folder: string): Readonly<Record<string, string>> {
  const holds = (triplet: string): boolean =>
    readdirSync(`/usr/lib/${triplet}`).some((name) => name.startsWith('ejabberd-'));
  const triplet = readdirSync('/usr/lib').find(
    (name) => name.endsWith('-linux-gnu') && holds(name),
  );
  return {
    ERL_LIBS: `/usr/lib/${triplet ?? ''}`,
    ERL_CRASH_DUMP: `${folder}/crash.dump`,
    HOME: folder,
    EJABBERD_CONFIG_PATH: `${folder}/ejabberd.yml`,
    EJABBERD_LOG_PATH: `${folder}/ejabberd.log`,
    EJABBERD_PID_PATH: `${folder}/ejabberd.pid`,
  };
}

interface Listener {
  readonly address: string;
  readonly port: number;
  readonly directTlsPort: number;
  readonly apiPort: number;
  readonly domain: string;
}

async function installFiles(folder: string, at: Listener, options: EjabberdOptions): Promise<void> {
  const certificate = await options.ca.issue({
    name: `ejabberd-${at.port}`,
    dns: [at.domain],
    ips: [at.address],
  });
  installCertificate(folder, certificate, options.ca.certFile);
  const texts = [certificate.keyFile, certificate.certFile].map((x) => readFileSync(x, 'utf8'));
  writeFileSync(join(folder, 'server.pem'), texts.join(''));
  writeFileSync(join(folder, 'ejabberd.yml'), configText(folder, at, options.scram ?? 'SHA-256'));
  mkdirSync(join(folder, 'mnesia'));
  for (const name of ['server.pem', 'ejabberd.yml', 'mnesia']) giveToNobody(join(folder, name));
}

/** JSON is YAML: no template to keep in step with its indentation. */
function configText(folder: string, at: Listener, scram: 'SHA-1' | 'SHA-256'): string {
  const c2s = {
    ip: at.address,
    module: 'ejabberd_c2s',
    // Asks for a client certificate, for SASL EXTERNAL.
    tls_verify: true,
    cafile: `${folder}/ca.crt`,
    max_stanza_size: 262_144,
    access: 'c2s',
  };
  return JSON.stringify({
    loglevel: 'info',
    hosts: [at.domain],
    certfiles: [`${folder}/server.pem`],
    ca_file: `${folder}/ca.crt`,
    auth_method: 'internal',
    auth_password_format: 'scram',
    auth_scram_hash: scram === 'SHA-1' ? 'sha' : 'sha256',
    disable_sasl_mechanisms: ['digest-md5', 'X-OAUTH2', 'PLAIN'],
    c2s_protocol_options: ['no_sslv3', 'no_tlsv1', 'no_tlsv1_1'],
    acl: { local: { user_regexp: '' }, loopback: { ip: ['127.0.0.0/8', '::1/128'] } },
    access_rules: { local: { allow: 'local' }, c2s: { allow: 'all' } },
    shaper_rules: { max_user_sessions: 10, max_user_offline_messages: 100 },
    api_permissions: {
      test: { who: { access: { allow: [{ acl: 'loopback' }] } }, what: ['*'] },
    },
    listen: [
      { port: at.port, starttls_required: true, ...c2s },
      { port: at.directTlsPort, tls: true, ...c2s },
      {
        port: at.apiPort,
        ip: '127.0.0.1',
        module: 'ejabberd_http',
        request_handlers: { '/api': 'mod_http_api' },
      },
    ],
    modules: {
      mod_admin_extra: {},
      mod_http_api: {},
      mod_roster: { versioning: true },
      mod_shared_roster: {},
      mod_stream_mgmt: { resend_on_timeout: 'if_offline', resume_timeout: 60 },
      mod_ping: {},
      mod_disco: {},
    },
  });
}
