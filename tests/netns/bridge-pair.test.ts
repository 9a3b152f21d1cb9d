/**
 * Two real tunnel processes in namespaces, driven over fd 3:
 *
 *   [site a: ev-test 10.77.0.1] ── evsw 198.18.0.1 ──── 198.18.0.2 ── [site b: ev-test 10.77.0.2]
 */
import { strict as assert } from 'node:assert';
import { exec } from '../../base/exec.ts';
import { until } from '../support/bridge-pair.ts';
import {
  type BridgeProcess,
  carryBetween,
  newSite,
  startBridge,
  wire,
} from '../support/bridge-process.ts';
import { suite, type T } from '../support/harness.ts';
import { newIdentity, type TestIdentity } from '../support/identity.ts';
import { assertWithin } from '../support/pace.ts';

const test = suite('bridge-pair');
const why = process.getuid?.() === 0 ? null : 'needs root for namespaces';
const noServers = { stun: [], turn: [] };

interface Lab {
  readonly sites: readonly [string, string];
  readonly ids: readonly [TestIdentity, TestIdentity];
  readonly bridges: [BridgeProcess, BridgeProcess];
}

async function lab(t: T): Promise<Lab> {
  const sites = [
    await newSite(t, 'a', '10.77.0.1/24'),
    await newSite(t, 'b', '10.77.0.2/24'),
  ] as const;
  await wire([sites[0], '198.18.0.1/24'], [sites[1], '198.18.0.2/24'], 'evsw');
  const ids = [await newIdentity('a'), await newIdentity('b')] as const;
  const bridges: [BridgeProcess, BridgeProcess] = [
    await startBridge(t, sites[0], ids[0], noServers),
    await startBridge(t, sites[1], ids[1], noServers),
  ];
  const made: Lab = { sites, ids, bridges };
  join(made);
  await bridges[0].client.call('connect', { peer: ids[1].nodeId }, 10_000);
  await bridges[1].client.call('connect', { peer: ids[0].nodeId }, 10_000);
  await until(t, 'online', () => bridges.every((b) => b.ups.length === 1));
  return made;
}

function join({ bridges, ids }: Lab): void {
  carryBetween(bridges[0], ids[0], () => bridges[1]);
  carryBetween(bridges[1], ids[1], () => bridges[0]);
}

const ping = (ns: string, to: string, ...more: readonly string[]): Promise<string> =>
  exec(['ip', 'netns', 'exec', ns, 'ping', '-c', '3', '-i', '0.2', '-W', '2', ...more, to]);

test.unless(
  why,
  'a ping crosses, small and as large as the MTU',
  async (t) => {
    const { sites, bridges } = await lab(t);
    const out = await ping(sites[0], '10.77.0.2');
    assert.match(out, / 0% packet loss/);
    assert.match(
      await ping(sites[1], '10.77.0.1', '-s', String(1_420 - 28), '-M', 'do'),
      / 0% packet loss/,
    );
    const { stations } = await bridges[0].client.call('status', {}, 10_000);
    assert.equal(stations.length, 2);
    process.stdout.write(
      `set-up ${bridges[0].ups[0]?.setUpMs} ms; ${out.trim().split('\n').at(-1)}\n`,
    );
  },
  20_000,
);

test.unless(
  why,
  'a packet above the MTU of the path is answered, not swallowed',
  async (t) => {
    const { sites } = await lab(t);
    await ping(sites[0], '10.77.0.2');
    for (const ns of sites) await exec(['ip', '-n', ns, 'link', 'set', 'ev-test', 'mtu', '1500']);
    const tooBig = await ping(sites[0], '10.77.0.2', '-s', '1450', '-M', 'do').catch(String);
    assert.match(tooBig, /(Frag needed|Message too long|message too long).*1420/i);
  },
  20_000,
);

test.unless(
  why,
  'a process that is killed and started again carries frames again',
  async (t) => {
    const made = await lab(t);
    const { sites, ids, bridges } = made;
    await ping(sites[0], '10.77.0.2');
    bridges[0].kill('SIGKILL');
    await bridges[0].exited;
    bridges[0] = await startBridge(t, sites[0], ids[0], noServers);
    join(made);
    const started = performance.now();
    await bridges[0].client.call('connect', { peer: ids[1].nodeId }, 10_000);
    await until(t, 'online again', () => bridges[0].ups.length === 1);
    assert.match(await ping(sites[0], '10.77.0.2'), / 0% packet loss/);
    assert.equal(bridges[1].downs.length, 0);
    process.stdout.write(
      `again after ${Math.round(performance.now() - started)} ms with 3 pings\n`,
    );
  },
  20_000,
);

test.unless(
  why,
  'signals are ignored, the end of the channel is obeyed within 2 s',
  async (t) => {
    const { bridges } = await lab(t);
    bridges[0].kill('SIGTERM');
    bridges[0].kill('SIGINT');
    await bridges[0].client.call('echo', {}, 10_000);
    const started = performance.now();
    bridges[0].client.close();
    assert.equal(await bridges[0].exited, 0);
    await assertWithin('the stop', performance.now() - started, 2_000);
    await bridges[1].client.call('close', {}, 10_000);
    assert.equal(await bridges[1].exited, 0);
  },
  20_000,
);
