/**
 * From a file to what the controller runs with: defaults, secrets, certificates.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { EvioError } from '../../../base/errors.ts';
import { checkConfig, loadConfig, readRunDirectory } from '../../../config/load.ts';
import { nodeNameFrom } from '../../../config/resolve.ts';
import { suite, type T } from '../../support/harness.ts';

const test = suite('config load');

function folder(t: T): string {
  const path = mkdtempSync(join(tmpdir(), 'evio-config-'));
  t.defer(() => rmSync(path, { recursive: true }));
  return path;
}

interface Parts {
  readonly signal?: object;
  readonly sections?: object;
}

/** Writes a configuration of one overlay `farm`; 0600. */
function write(path: string, parts: Parts): string {
  const file = join(path, 'config.json');
  const farm = { HostAddress: 'xmpp.example', Username: 'a@example', ...parts.signal };
  const config = {
    Broker: { Overlays: ['farm'] },
    Signal: { Overlays: { farm } },
    ...parts.sections,
  };
  writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
  return file;
}

const codeOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof EvioError);
    return error.code;
  }
  return 'none';
};

test('everything but server and account has a default', (t) => {
  const { config, warnings } = loadConfig(write(folder(t), { signal: { Password: 'x' } }), {});
  assert.deepEqual(warnings, []);
  assert.equal(config.stateDirectory, '/var/lib/evio');
  assert.equal(config.runDirectory, '/run/evio');
  assert.equal(config.logLevel, 'info');
  assert.match(config.nodeName, /^[A-Za-z0-9._-]{1,63}$/);
  const [overlay] = config.overlays;
  assert.deepEqual([overlay?.signal.port, overlay?.signal.tls], [5222, 'starttls']);
  assert.deepEqual(overlay?.trust, { policy: 'roster' });
  assert.deepEqual(overlay?.links, { stun: [], turn: [], ignoredNetInterfaces: [] });
  assert.deepEqual(overlay?.device, {
    provider: { kind: 'lxbr' },
    spanningTree: false,
    app: null,
    addresses: [],
    mtu: null,
    autoDelete: true,
  });
});

test('values as Evio writes them are read', (t) => {
  const file = write(folder(t), {
    signal: { Password: 'x', Port: '5224' },
    sections: { Broker: { Overlays: ['farm'], LogLevel: 'WARNING' } },
  });
  const { config } = loadConfig(file, {});
  assert.equal(config.overlays[0]?.signal.port, 5224);
  assert.equal(config.logLevel, 'warn');
});

test('a password comes from a file, a variable or a credential, and is never printed', (t) => {
  const path = folder(t);
  writeFileSync(join(path, 'secret'), 'hunter2\n', { mode: 0o600 });
  const sources: readonly (readonly [object, Record<string, string>])[] = [
    [{ PasswordFile: 'secret' }, {}],
    [{ PasswordEnv: 'XMPP' }, { XMPP: 'hunter2' }],
    [{ PasswordCredential: 'secret' }, { CREDENTIALS_DIRECTORY: path }],
    [{ Password: 'hunter2' }, {}],
  ];
  for (const [signal, environment] of sources) {
    const { config } = loadConfig(write(path, { signal }), environment);
    const login = config.overlays[0]?.signal.login;
    assert.equal(login?.method === 'password' && login.password.reveal(), 'hunter2');
    assert.doesNotMatch(inspect(config, { depth: 9 }) + JSON.stringify(config), /hunter2/);
  }
});

test('settings of an overlay replace the general ones, ignored interfaces add up', (t) => {
  const turn = { Address: '[2001:db8::1]', User: 'u', Password: 'p', Transport: 'tls' };
  const file = write(folder(t), {
    signal: { Password: 'x', Tls: 'direct' },
    sections: {
      LinkManager: {
        Stun: ['general.example'],
        Turn: [turn],
        IgnoredNetInterfaces: ['docker0'],
        Overlays: { farm: { Stun: ['own.example:1'], IgnoredNetInterfaces: ['cni*', 'docker0'] } },
      },
    },
  });
  const overlay = loadConfig(file, {}).config.overlays[0];
  assert.equal(overlay?.signal.port, 5223);
  assert.deepEqual(overlay?.links.stun, [{ host: 'own.example', port: 1 }]);
  assert.deepEqual(overlay?.links.ignoredNetInterfaces, ['docker0', 'cni*']);
  const [server] = overlay?.links.turn ?? [];
  assert.deepEqual([server?.host, server?.port, server?.user], ['2001:db8::1', 5349, 'u']);
});

test('a topology is taken over, null where its own defaults hold', (t) => {
  const edge = '0123456789abcdef0123456789abcdef';
  const of = (Topology: object) => {
    const file = write(folder(t), { signal: { Password: 'x' }, sections: { Topology } });
    return loadConfig(file, {}).config.overlays[0]?.topology;
  };
  assert.deepEqual(of({}), {
    minSuccessors: null,
    maxLongDistance: null,
    incomingCap: null,
    staticEdges: [],
    manual: false,
    role: 'switch',
    maxConcurrent: null,
    maxOnDemand: null,
    demandBytesPerSecond: null,
    demandMinAgeMs: null,
  });
  const farm = {
    MinSuccessors: 3,
    MaxLongDistEdges: 0,
    MaxIncomingLongDistEdges: 9,
    MaxOnDemandEdges: 1,
    DemandThreshold: '20M',
    DemandMinAge: 60,
    StaticEdges: [edge, edge],
    ManualTopology: true,
    Role: 'Switch',
  };
  assert.deepEqual(of({ MaxConcurrentOps: 2, Overlays: { farm } }), {
    minSuccessors: 3,
    maxLongDistance: 0,
    incomingCap: 9,
    staticEdges: [edge],
    manual: true,
    role: 'switch',
    maxConcurrent: 2,
    maxOnDemand: 1,
    demandBytesPerSecond: 2_000_000,
    demandMinAgeMs: 60_000,
  });
  assert.equal(of({ Overlays: { farm: { Role: 'Leaf' } } })?.role, 'leaf');
  assert.equal(of({ Overlays: { farm: { DemandThreshold: '500' } } })?.demandBytesPerSecond, 50);
});

test('a secret that cannot be read has its own code and its line', (t) => {
  const file = write(folder(t), { signal: { PasswordFile: 'absent' } });
  assert.equal(
    codeOf(() => loadConfig(file, {})),
    'secret.unreadable',
  );
  const [finding] = checkConfig(file, {});
  assert.equal(finding?.path, 'Signal.Overlays.farm.PasswordFile');
  assert.equal(finding?.severity, 'error');
});

test('what only the service has stops a start, and is a warning in a check', (t) => {
  for (const signal of [{ PasswordEnv: 'NOT_SET' }, { PasswordCredential: 'c' }]) {
    const file = write(folder(t), { signal });
    assert.equal(
      codeOf(() => loadConfig(file, {})),
      'secret.unreadable',
    );
    assert.deepEqual(
      checkConfig(file, {}).map(({ severity }) => severity),
      ['warning'],
    );
  }
});

test('a file with a password that everybody can read is warned about', (t) => {
  const file = write(folder(t), { signal: { Password: 'x' } });
  chmodSync(file, 0o644);
  assert.match(loadConfig(file, {}).warnings[0]?.message ?? '', /everybody can read it/);
});

test('certificates are read, and the key must belong to them', (t) => {
  const path = folder(t);
  for (const name of ['a', 'b']) {
    const out = ['-keyout', join(path, `${name}.key`), '-out', join(path, `${name}.pem`)];
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    execFileSync('openssl', ['req', '-x509', '-subj', `/CN=${name}`, ...kind, ...out], {
      stdio: 'pipe',
    });
  }
  const x509 = { AuthenticationMethod: 'x509', CertFile: 'a.pem', CaFile: 'b.pem' };
  const right = write(path, { signal: { ...x509, KeyFile: 'a.key' } });
  const signal = loadConfig(right, {}).config.overlays[0]?.signal;
  assert.match(signal?.ca ?? '', /BEGIN CERTIFICATE/);
  assert.equal(signal?.login.method, 'x509');
  const wrong = write(path, { signal: { ...x509, KeyFile: 'b.key', CaFile: 'a.key' } });
  assert.deepEqual(
    checkConfig(wrong, {})
      .map(({ path: at, message }) => `${at} ${message}`)
      .sort(),
    [
      'Signal.Overlays.farm.CaFile cannot be used as certificate: no PEM certificate in it',
      'Signal.Overlays.farm.KeyFile cannot be used as private key: it does not belong to the certificate in CertFile',
    ],
  );
});

test('a file that cannot be read, is too large or is not UTF-8 is refused', (t) => {
  const path = folder(t);
  const large = join(path, 'large');
  writeFileSync(large, ' '.repeat(300_000));
  const bytes = join(path, 'bytes');
  writeFileSync(bytes, Buffer.from([0x7b, 0xff, 0x7d]));
  for (const file of [join(path, 'absent'), path, large, bytes]) {
    assert.equal(
      codeOf(() => loadConfig(file, {})),
      'config.unreadable',
    );
  }
});

test('a byte order mark is ignored', (t) => {
  const file = join(folder(t), 'bom.json');
  const text = '{"Broker":{"Overlays":["a"],"RunDirectory":"/run/x"},"Signal":{"Overlays":{"a":';
  const entry = '{"HostAddress":"h","Username":"a@h","Password":"p"}}}}';
  writeFileSync(file, `\ufeff${text}${entry}`);
  assert.equal(readRunDirectory(file), '/run/x');
});

test('any host name gives a node name', () => {
  assert.equal(nodeNameFrom('barn gw!'), 'barn-gw-');
  assert.equal(nodeNameFrom(''), 'node');
  assert.equal(nodeNameFrom('a'.repeat(99)).length, 63);
});
