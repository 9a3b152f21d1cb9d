/**
 * Two tunnel processes on addons with sanitizers, with real traffic, directly and through a relay:
 *
 *   [site a] ── 198.18.0.0/24 ── [site b]          [site a] ── [pub: coturn] ── [site b]
 */
import assert from 'node:assert/strict';
import { exec } from '../../base/exec.ts';
import type { IceServers } from '../../tincan-bridge/protocol/schema.ts';
import { noServers, until } from '../support/bridge-pair.ts';
import {
  type BridgeProcess,
  carryBetween,
  newNs,
  newSite,
  startBridge,
  startTurn,
  wire,
} from '../support/bridge-process.ts';
import { Child } from '../support/child.ts';
import { suite, type T } from '../support/harness.ts';
import { newIdentity } from '../support/identity.ts';
import { needsProgram } from '../support/needs.ts';
import { buildAddon, newBench, noSanitizer } from '../support/sanitizers.ts';
import { noTap } from '../support/tap-bed.ts';

const kind = 'address,undefined';
const test = suite('sanitized tunnel processes');
const why = noTap() ?? noSanitizer(kind) ?? needsProgram('iperf3') ?? needsProgram('turnserver');

const inside = (ns: string, ...argv: string[]): Promise<string> =>
  exec(['ip', 'netns', 'exec', ns, ...argv], { timeoutMs: 30_000 });

interface Sites {
  readonly a: string;
  readonly b: string;
  readonly serversOf: (site: 'a' | 'b') => IceServers;
}

async function direct(t: T): Promise<Sites> {
  const a = await newSite(t, 'a', '10.77.0.1/24');
  const b = await newSite(t, 'b', '10.77.0.2/24');
  await wire([a, '198.18.0.1/24'], [b, '198.18.0.2/24'], 'evsw');
  return { a, b, serversOf: () => noServers };
}

/** The sites reach the relay, but not each other. */
async function relayed(t: T): Promise<Sites> {
  const pub = await newNs(t, 'p');
  const a = await newSite(t, 'a', '10.77.0.1/24');
  const b = await newSite(t, 'b', '10.77.0.2/24');
  await wire([pub, '198.18.1.1/24'], [a, '198.18.1.2/24'], 'evsa');
  await wire([pub, '198.18.2.1/24'], [b, '198.18.2.2/24'], 'evsb');
  await exec(['ip', '-n', a, 'route', 'add', 'default', 'via', '198.18.1.1']);
  await exec(['ip', '-n', b, 'route', 'add', 'default', 'via', '198.18.2.1']);
  await startTurn(t, pub, ['198.18.1.1', '198.18.2.1']);
  const turn = (host: string): IceServers => ({
    stun: [],
    turn: [{ host, port: 3_478, transport: 'udp', user: 'u', password: 'p' }],
  });
  return { a, b, serversOf: (site) => turn(site === 'a' ? '198.18.1.1' : '198.18.2.1') };
}

/** TCP both ways, and small datagrams, each for a second. */
async function load(t: T, { a, b }: Sites): Promise<void> {
  const ping = await inside(a, 'ping', '-c', '5', '-i', '0.1', '-W', '3', '10.77.0.2');
  assert.match(ping, / 0% packet loss/);
  const server = new Child(['ip', 'netns', 'exec', b, 'iperf3', '-s', '-p', '5201']);
  t.defer(async () => void (await server.stop(1_000)));
  await until(t, 'iperf3 listens', async () =>
    (await inside(b, 'ss', '-Hltn', 'sport = :5201')).includes('5201'),
  );
  for (const flags of [[], ['-R'], ['-u', '-b', '20M', '-l', '200']]) {
    const argv = ['iperf3', '-c', '10.77.0.2', '-p', '5201', '-t', '1', '-J', ...flags];
    assert.match(await inside(a, ...argv), /"bits_per_second":\s*[1-9]/);
  }
}

async function run(
  t: T,
  make: (t: T) => Promise<Sites>,
  path: 'direct-host' | 'turn',
): Promise<void> {
  const bench = newBench(t, kind, await buildAddon(kind));
  const sites = await make(t);
  const ids = [await newIdentity('a'), await newIdentity('b')] as const;
  const one = await startBridge(t, sites.a, ids[0], sites.serversOf('a'), {}, bench.env);
  const two = await startBridge(t, sites.b, ids[1], sites.serversOf('b'), {}, bench.env);
  carryBetween(one, ids[0], () => two);
  carryBetween(two, ids[1], () => one);
  await one.client.call('connect', { peer: ids[1].nodeId }, 10_000);
  await two.client.call('connect', { peer: ids[0].nodeId }, 10_000);
  await until(t, 'online', () => one.ups.length > 0 && two.ups.length > 0, 20_000);
  assert.equal(one.ups[0]?.path.kind, path);
  await load(t, sites);
  // A report of undefined behaviour ends the process, one of memory does too: both must still be
  // there, and end in order.
  for (const bridge of [one, two]) {
    await bridge.client.call('status', {}, 10_000);
    assert.equal(await close(bridge), 0);
  }
  assert.deepEqual(bench.reports(), []);
}

async function close(bridge: BridgeProcess): Promise<number> {
  bridge.client.close();
  return bridge.exited;
}

test.unless(
  why,
  'a direct path carries traffic without a report',
  (t) => run(t, direct, 'direct-host'),
  300_000,
);
test.unless(
  why,
  'a relayed path carries traffic without a report',
  (t) => run(t, relayed, 'turn'),
  120_000,
);
