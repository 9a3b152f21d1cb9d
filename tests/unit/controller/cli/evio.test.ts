/**
 * The `evio` command as a process: exit codes, what goes where, and the launcher's search.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../../../base/clock.ts';
import { silentLogger } from '../../../../base/log.ts';
import { createLocalApi } from '../../../../controller/local-api/index.ts';
import { repositoryRoot } from '../../../reference/pages.ts';
import { suite, type T } from '../../../support/harness.ts';
import { noPods, noTrust, sampleRing, sampleStatus } from '../../../support/sample-status.ts';

const test = suite('cli evio');

const launcher = join(repositoryRoot, 'controller', 'cli', 'evio');

/** Each run costs 0.3 s of a processor, which others may want too. */
const loadedMs = 40_000;

interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

const evio = (args: readonly string[], program = launcher): Promise<Ended> =>
  new Promise((resolve) => {
    const child = execFile(program, args, (_error, out, err) =>
      resolve({ code: child.exitCode ?? -1, out, err }),
    );
  });

function folder(t: T): string {
  const path = mkdtempSync(join(tmpdir(), 'evio-cli-'));
  t.defer(() => rmSync(path, { recursive: true }));
  return path;
}

test(
  'help shows every command and the exit codes, wrong usage exits 2',
  async () => {
    const help = await evio(['--help']);
    assert.equal(help.code, 0);
    const words = ['up', 'status', 'peers', 'links', 'routes', 'ping', 'trace', 'watch', 'config'];
    for (const word of [...words, 'version', 'Exit codes']) {
      assert.match(help.out, new RegExp(`\\b${word}\\b`));
    }
    const version = await evio(['--version']);
    assert.deepEqual([version.code, version.err], [0, '']);
    assert.match(version.out, /^\d+\.\d+\.\d+\n$/);
    const wrong = await evio(['stauts']);
    assert.deepEqual([wrong.code, wrong.out], [2, '']);
    assert.match(wrong.err, /^evio: unknown command 'stauts'/);
  },
  loadedMs,
);

test(
  'without a controller it says so and exits 3',
  async (t) => {
    const socket = join(folder(t), 'none.sock');
    const { code, err } = await evio(['status', '--socket', socket]);
    assert.equal(code, 3);
    assert.match(err, /no controller answers on .*\nto do: start one with `evio up`/);
  },
  loadedMs,
);

test(
  'a wrong configuration is listed on standard output and exits 2',
  async (t) => {
    const file = join(folder(t), 'c.json');
    writeFileSync(file, '{\n  "Broker": {}\n}\n');
    const { code, out } = await evio(['config', 'check', file]);
    assert.equal(code, 2);
    assert.equal(
      out,
      `${file}:1:1: error: Signal: is missing\n` +
        `${file}:2:3: error: Broker.Overlays: is missing\n${file}: 2 errors, 0 warnings\n`,
    );
    const json = await evio(['config', 'check', '--json', file]);
    assert.equal(JSON.parse(json.out).findings.length, 2);
  },
  loadedMs,
);

test(
  'a controller is found by its configuration, and answers status, peers and version',
  async (t) => {
    const path = folder(t);
    const deps = {
      status: async () => sampleStatus,
      tap: () => {},
      trust: noTrust,
      ring: sampleRing,
      cni: noPods,
      version: '9.9.9',
    };
    const options = { runDirectory: path, clock: systemClock, log: silentLogger };
    const api = await createLocalApi(deps, options);
    t.defer(() => api.close());
    const file = join(path, 'c.json');
    const farm = { HostAddress: 'h', Username: 'a@h', PasswordEnv: 'P' };
    const sections = { Signal: { Overlays: { farm } } };
    const broker = { Overlays: ['farm'], RunDirectory: path };
    writeFileSync(file, JSON.stringify({ Broker: broker, ...sections }));
    const status = await evio(['status', '--config', file, '--json']);
    assert.deepEqual([status.code, JSON.parse(status.out)], [0, sampleStatus]);
    const peers = await evio(['peers', '--socket', api.socketPath]);
    assert.match(peers.out, /barn-gw +01234567 +online +direct reflexive 192\.0\.2\.7:4500/);
    const absent = await evio(['peers', 'nobody', '--socket', api.socketPath]);
    assert.equal(absent.code, 1);
    const links = await evio(['links', '--config', file, '--json']);
    assert.deepEqual([links.code, JSON.parse(links.out)], [0, sampleRing.samples.links]);
    const routes = await evio(['routes', '--socket', api.socketPath]);
    assert.match(routes.out, /silo +aaaaaaaa +barn-gw +neighbour of a neighbour/);
    const version = await evio(['version', '--socket', api.socketPath]);
    assert.match(version.out, /^evio \d+\.\d+\.\d+, Node\.js \d+.*\ncontroller: 9\.9\.9\n$/);
  },
  loadedMs,
);

test(
  'ping and trace name the way, and exit 1 without an answer',
  async (t) => {
    const runDirectory = folder(t);
    const api = await createLocalApi(
      {
        status: async () => sampleStatus,
        tap: () => {},
        trust: noTrust,
        ring: sampleRing,
        cni: noPods,
        version: '9.9.9',
      },
      { runDirectory, clock: systemClock, log: silentLogger },
    );
    t.defer(() => api.close());
    const at = ['--socket', api.socketPath];
    const ping = await evio(['ping', 'barn-gw', '--count', '2', ...at]);
    assert.equal(ping.code, 0);
    assert.match(
      ping.out,
      /^1: silo in 22 ms, ring via barn-gw, through barn-gw\n2: .*\n2 sent, 2 answered/,
    );
    const lost = await evio(['ping', 'fedc', '--count', '1', '--json', ...at]);
    assert.equal(lost.code, 1);
    assert.equal(JSON.parse(lost.out).answered, 0);
    const trace = await evio(['trace', 'barn-gw', '--json', ...at]);
    assert.equal(trace.code, 0);
    assert.deepEqual(
      JSON.parse(trace.out).hops.map((hop: { readonly name: string }) => hop.name),
      ['barn-gw', 'silo'],
    );
    const nobody = await evio(['ping', 'nobody', ...at]);
    assert.equal(nobody.code, 1);
    assert.match(nobody.err, /"nobody" \[peer\.unknown\]\nto do: `evio peers` lists/);
  },
  loadedMs,
);

test(
  'the launcher works through symbolic links from anywhere',
  async (t) => {
    const path = folder(t);
    symlinkSync(launcher, join(path, 'first'));
    symlinkSync('first', join(path, 'second'));
    const { code } = await evio(['--help'], join(path, 'second'));
    assert.equal(code, 0);
  },
  loadedMs,
);
