/**
 * The reference runtime, cnitool, with what `evio cni install` wrote and the reference plugins
 * behind ours: each verb in each version of the specification.
 *
 *   pod ── evpd-lab ── host (evio up, no XMPP server)
 */
import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../../base/errors.ts';
import { addressOf, needsShim, Result } from '../support/cni.ts';
import { suite } from '../support/harness.ts';
import { cniPlugin, judge } from '../support/kubernetes/judges.ts';
import { type LoneNode, startLoneNode } from '../support/lone-node.ts';
import { ping } from '../support/traffic.ts';

const test = suite('cnitool');

const plugins = ['portmap', 'bandwidth', 'host-local'];
const missing = [judge('cnitool'), ...plugins.map(cniPlugin)].find((file) => !existsSync(file));
const needs =
  needsShim ??
  (missing === undefined ? null : `no ${missing}: tests/setup.sh kubernetes builds it with Go`);

interface Bench extends LoneNode {
  readonly bin: string;
  readonly net: string;
  /** Standard output of a verb for a pod. */
  tool(verb: string, pod: string, environment?: Readonly<Record<string, string>>): Promise<string>;
  /** What a verb that fails says. */
  failure(verb: string, pod: string): Promise<string>;
}

/** A node with the chained plugins where it looks for them; ours is not installed yet. */
async function startBench(t: Parameters<typeof startLoneNode>[0]): Promise<Bench> {
  const lone = await startLoneNode(t, { PodCIDRs: ['10.42.1.0/24', 'fd42:0:0:1::/64'] });
  const [bin, net] = [join(lone.lab.folder, 'bin'), join(lone.lab.folder, 'net.d')];
  mkdirSync(bin);
  for (const name of plugins) copyFileSync(cniPlugin(name), join(bin, name));
  const tool: Bench['tool'] = (verb, pod, environment = {}) => {
    const all = {
      CNI_PATH: bin,
      NETCONFPATH: net,
      PATH: process.env['PATH'] ?? '',
      ...environment,
    };
    const variables = Object.entries(all).map(([name, value]) => `${name}=${value}`);
    const netns = `/run/netns/${lone.lab.fullName(pod)}`;
    const argv = ['env', '-i', ...variables, judge('cnitool'), verb, 'evio', netns];
    return lone.lab.exec('host', argv, { timeoutMs: 30_000 });
  };
  const failure: Bench['failure'] = (verb, pod) =>
    tool(verb, pod).then(
      () => 'it succeeded',
      (error: unknown) => messageOf(error),
    );
  return { ...lone, bin, net, tool, failure };
}

const install = ({ node, bin, net }: Bench, ...more: readonly string[]): Promise<string> =>
  node.evio('cni', 'install', '--bin-dir', bin, '--conf-dir', net, ...more);

test.unless(
  needs,
  'every verb of every version, with portmap and bandwidth behind it',
  async (t) => {
    const bench = await startBench(t);
    const { lab, tool, net, node, bin } = bench;
    const table: string[] = [];
    for (const version of ['0.3.1', '0.4.0', '1.0.0', '1.1.0']) {
      await install(bench, '--cni-version', version);
      await lab.namespace(`v${version.replaceAll('.', '')}`);
      const pod = `v${version.replaceAll('.', '')}`;
      const ports = { portMappings: [{ hostPort: 8_080, containerPort: 80, protocol: 'tcp' }] };
      const rates = { bandwidth: { ingressRate: 100_000_000, ingressBurst: 1_000_000 } };
      const environment = { CAP_ARGS: JSON.stringify({ ...ports, ...rates }) };
      const result = Result.parse(JSON.parse(await tool('add', pod, environment)));
      assert.equal(result.cniVersion, version);
      assert.equal((await ping(lab, pod, '10.42.1.1', { count: 2 })).received, 2);
      assert.equal((await ping(lab, 'host', addressOf(result, 6), { count: 2 })).received, 2);
      assert.match(await lab.exec('host', ['tc', 'qdisc', 'show']), /tbf .*rate 100Mbit/);
      const checked =
        version === '0.3.1'
          ? 'not in this version'
          : await tool('check', pod, environment).then(() => 'ok');
      const status =
        version === '1.1.0' ? await tool('status', pod).then(() => 'ok') : 'not in this version';
      await tool('del', pod, environment);
      await tool('del', pod, environment);
      const collected =
        version === '1.1.0' ? await tool('gc', pod).then(() => 'ok') : 'not in this version';
      assert.deepEqual(await bench.interfaces(), []);
      table.push(`${version}: ADD ok, CHECK ${checked}, DEL ok, GC ${collected}, STATUS ${status}`);
    }
    process.stdout.write(`${table.join('\n')}\n`);
    const removed = JSON.parse(
      await node.evio('cni', 'uninstall', '--bin-dir', bin, '--conf-dir', net, '--json'),
    );
    assert.equal(removed.removed.length, 2);
    assert.deepEqual(
      [readdirSync(net), readdirSync(bin).sort()],
      [[], ['bandwidth', 'host-local', 'portmap']],
    );
  },
  180_000,
);

test.unless(
  needs,
  'addresses by host-local, which gets them back',
  async (t) => {
    const bench = await startBench(t);
    const { lab, tool, node, net } = bench;
    await install(bench);
    const data = join(lab.folder, 'host-local');
    const ipam = {
      type: 'host-local',
      dataDir: data,
      ranges: [[{ subnet: '10.42.1.0/24', rangeStart: '10.42.1.200', gateway: '10.42.1.1' }]],
    };
    const own = { type: 'evio-cni', socket: join(node.folder, 'run', 'controller.sock'), ipam };
    const list = { cniVersion: '1.0.0', name: 'evio', plugins: [own] };
    writeFileSync(join(net, '10-evio.conflist'), JSON.stringify(list));
    await lab.namespace('p');
    const result = Result.parse(JSON.parse(await tool('add', 'p')));
    assert.equal(addressOf(result, 4), '10.42.1.200');
    assert.equal((await ping(lab, 'p', '10.42.1.1', { count: 2 })).received, 2);
    await tool('check', 'p');
    const leases = (): readonly string[] =>
      readdirSync(join(data, 'evio')).filter((name) => name.startsWith('10.'));
    assert.deepEqual(leases(), ['10.42.1.200']);
    await tool('del', 'p');
    assert.deepEqual(leases(), []);
  },
  90_000,
);

test.unless(
  needs,
  'install waits for a node that can attach pods, and writes no list before',
  async (t) => {
    const bench = await startBench(t);
    const { node, net, bin, failure } = bench;
    await node.stop();
    const early = await install(bench, '--wait', '1').then(
      () => 'it succeeded',
      (error: unknown) => messageOf(error),
    );
    assert.match(early, /no pod can be attached yet.*\[cni\.not-ready\]/s);
    assert.ok(existsSync(join(bin, 'evio-cni')));
    assert.ok(!existsSync(join(net, '10-evio.conflist')));
    node.start();
    const installed = await install(bench, '--wait', '60');
    assert.match(installed, /evio-cni, then portmap, bandwidth/);
    await node.stop();
    await bench.lab.namespace('p');
    assert.match(await failure('add', 'p'), /the evio controller is not running/);
    const status = JSON.parse(
      await node.evio('cni', 'status', '--bin-dir', bin, '--conf-dir', net, '--json'),
    );
    assert.deepEqual(
      [status.executable.state, status.list.state, status.controller],
      ['ours', 'ours', null],
    );
  },
  120_000,
);
