/**
 * The plugin on one node that no other can reach: how quick it is, what it does at its limits, and
 * that nothing leaks whatever is killed.
 *
 *   pods ── evpd-lab ── host (evio up, no XMPP server)
 */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseRange } from '../../base/cidr.ts';
import { systemClock } from '../../base/clock.ts';
import { OverlayId } from '../../base/ids.ts';
import { silentLogger } from '../../base/log.ts';
import { createCni } from '../../cni-plugin/index.ts';
import { addressOf, callCni, errorOf, needsShim, resultOf, shim } from '../support/cni.ts';
import { suite } from '../support/harness.ts';
import { type LoneNode, startLoneNode } from '../support/lone-node.ts';
import { createLab, removeNamespace } from '../support/netns.ts';
import { waitFor } from '../support/scope.ts';
import { ping, quantile } from '../support/traffic.ts';

const test = suite('cni alone');
const range = { PodCIDRs: ['10.42.1.0/24', 'fd42:0:0:1::/64'] };

const whole = parseRange('10.42.1.0/24');
assert.ok(whole !== null);
/** What a controller would say of an overlay. */
const overlay = {
  overlay: OverlayId.parse('lab'),
  mode: 'routed' as const,
  bridge: 'evpd-lab',
  mtu: 1_420,
  ranges: [{ range: whole, gateway: '10.42.1.1', onLink: 24 }],
};

/** What is on disk: the interface of each attachment. */
function records({ node }: LoneNode): readonly string[] {
  const folder = join(node.folder, 'state', 'cni');
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => {
      const record: { hostInterface: string } = JSON.parse(
        readFileSync(join(folder, name), 'utf8'),
      );
      return record.hostInterface;
    });
}

/** Records, kernel and what a test believes are one. */
async function assertExactly(lone: LoneNode, count: number): Promise<void> {
  const [onDisk, inKernel] = [records(lone), await lone.interfaces()];
  assert.deepEqual([...onDisk].sort(), [...inKernel].sort());
  assert.equal(onDisk.length, count);
}

test.unless(
  needsShim,
  '50 ADDs at once give 50 addresses; one after the other they are quick',
  async (t) => {
    const lone = await startLoneNode(t, range);
    const names = Array.from({ length: 50 }, (_, index) => `p${index}`);
    for (const name of names) await lone.pod(name);
    const outcomes = await Promise.all(names.map((name) => lone.call('ADD', name)));
    const addresses = outcomes.map((outcome) => addressOf(resultOf(outcome), 4));
    assert.equal(new Set(addresses).size, 50);
    await assertExactly(lone, 50);
    const gone = await Promise.all(names.map((name) => lone.call('DEL', name)));
    assert.deepEqual(
      gone.filter(({ status }) => status !== 0),
      [],
    );
    await assertExactly(lone, 0);

    const times: number[] = [];
    for (const name of [...names, ...names, ...names, ...names]) {
      const added = await lone.call('ADD', name);
      const result = resultOf(added);
      times.push(added.ms);
      assert.equal((await lone.call('DEL', name, { prevResult: result })).status, 0);
    }
    times.sort((x, y) => x - y);
    const [p50, p99] = [quantile(times, 0.5), quantile(times, 0.99)];
    process.stdout.write(
      `ADD, warm: p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms of ${times.length}\n`,
    );
    assert.ok(p50 <= 150, `p50 is ${p50} ms`);
    await assertExactly(lone, 0);
  },
  180_000,
);

test.unless(
  needsShim,
  'an exhausted range is said so, by ADD and by STATUS, until there is room again',
  async (t) => {
    const lone = await startLoneNode(t, { PodCIDRs: ['10.42.1.0/29'] });
    const names = ['a', 'b', 'c', 'd', 'e'];
    for (const name of [...names, 'f']) await lone.pod(name);
    for (const name of names) resultOf(await lone.call('ADD', name));
    const full = errorOf(await lone.call('ADD', 'f'));
    assert.deepEqual([full.code, full.msg], [102, 'no address is free in 10.42.1.0/29']);
    assert.equal(errorOf(await lone.call('STATUS', '')).code, 50);
    await assertExactly(lone, 5);
    assert.equal((await lone.call('DEL', 'c')).status, 0);
    await lone.lab.ip('f', 'link add eth0 type bridge');
    assert.equal(errorOf(await lone.call('ADD', 'f')).code, 101);
    await assertExactly(lone, 4);
    await lone.lab.ip('f', 'link delete eth0');
    assert.equal((await lone.call('STATUS', '')).status, 0);
    assert.equal(addressOf(resultOf(await lone.call('ADD', 'f')), 4), '10.42.1.4');
  },
  120_000,
);

test.unless(
  needsShim,
  'whatever is killed in the middle of ADD, nothing leaks and pods that were answered live',
  async (t) => {
    const lone = await startLoneNode(t, range);
    for (const name of ['stays', 'p', 'q', 'r']) await lone.pod(name);
    const stays = resultOf(await lone.call('ADD', 'stays'));
    for (let round = 0; round < 8; round += 1) {
      // Three calls, cut at a time that wanders over their whole length: by turns of the controller,
      // and of the executable alone.
      const cut = new AbortController();
      const calls = ['p', 'q', 'r'].map((name) => lone.call('ADD', name, {}, cut.signal));
      await new Promise((resolve) => setTimeout(resolve, 2 + round * 6));
      if (round % 2 === 0) {
        await lone.node.kill('SIGKILL');
        const outcomes = await Promise.all(calls);
        for (const outcome of outcomes.filter(({ status }) => status !== 0)) {
          assert.equal(errorOf(outcome).code, 11);
        }
        lone.node.start();
        await lone.waitReady();
      } else {
        cut.abort();
        await Promise.all(calls);
      }
      // A runtime sends DEL after an ADD that failed.
      for (const name of ['p', 'q', 'r']) assert.equal((await lone.call('DEL', name)).status, 0);
      await assertExactly(lone, 1);
    }
    const { lab } = lone;
    assert.equal((await ping(lab, 'stays', '10.42.1.1', { count: 3 })).received, 3);
    const prevResult = { ...stays };
    assert.equal((await lone.call('CHECK', 'stays', { prevResult })).text, '');

    // The namespace goes without DEL, while nobody looks.
    await lone.node.kill('SIGKILL');
    await removeNamespace(lab.fullName('stays'));
    lone.node.start();
    await lone.waitReady();
    await waitFor('the attachment is released', () => records(lone).length === 0, {
      timeoutMs: 10_000,
    });
    await assertExactly(lone, 0);
  },
  240_000,
);

test.unless(
  needsShim,
  'a bridge that somebody removed is made again, with the pods on it',
  async (t) => {
    const lone = await startLoneNode(t, range);
    const { lab } = lone;
    await lone.pod('old');
    await lone.pod('new');
    const old = resultOf(await lone.call('ADD', 'old'));
    await lab.ip('host', 'link delete dev evpd-lab');
    resultOf(await lone.call('ADD', 'new'));
    await waitFor(
      'the old pod is back',
      async () =>
        (await ping(lab, 'new', addressOf(old, 4), { count: 1, waitS: 1 })).received === 1,
      { timeoutMs: 20_000, context: () => lone.node.log().slice(-3_000) },
    );
  },
  90_000,
);

test.unless(
  needsShim,
  'a namespace with IPv6 off gets both families all the same',
  async (t) => {
    const lone = await startLoneNode(t, range);
    await lone.pod('p');
    await lone.lab.sysctl('p', { 'net.ipv6.conf.all.disable_ipv6': 1 });
    await lone.lab.sysctl('p', { 'net.ipv6.conf.default.disable_ipv6': 1 });
    const result = resultOf(await lone.call('ADD', 'p'));
    for (const family of [4, 6] as const) {
      const answered = await ping(lone.lab, 'host', addressOf(result, family), { count: 2 });
      assert.equal(answered.received, 2, addressOf(result, family));
    }
  },
  90_000,
);

test('pods follow the MTU of their overlay', async (t) => {
  const lab = await createLab(t);
  for (const name of ['host', 'p']) await lab.namespace(name);
  await lab.bridge('host', 'evpd-lab', ['10.42.1.1/24']);
  const network = { ...overlay, isUp: true };
  const cni = createCni({
    exec: (argv, options) => lab.exec('host', argv, options),
    clock: systemClock,
    log: silentLogger,
    networks: { find: () => network, repair: async () => {} },
    stateDirectory: lab.folder,
  });
  const netns = `/run/netns/${lab.fullName('p')}`;
  const config = JSON.stringify({ cniVersion: '1.1.0', name: 'evio', type: 'evio-cni' });
  const request = {
    command: 'ADD',
    containerId: 'c',
    netns,
    ifname: 'eth0',
    args: '',
    path: '',
    config,
  };
  const answer = await cni.answer(request, t.signal);
  assert.ok(answer.ok, answer.text);
  await cni.setMtu(overlay.overlay, 1_300);
  const [host, pod] = [
    await lab.exec('host', ['ip', '-br', 'link']),
    await lab.exec('p', ['ip', 'link']),
  ];
  const name = /^evc[0-9a-f]{11}/m.exec(host)?.[0] ?? '';
  assert.match(await lab.exec('host', ['ip', 'link', 'show', name]), /mtu 1300/);
  assert.match(pod, /eth0@.*mtu 1300/);
}, 60_000);

test.unless(
  needsShim,
  'addresses of another plugin are used, and given back to it',
  async (t) => {
    const lone = await startLoneNode(t, range);
    const bin = join(lone.lab.folder, 'bin');
    const calls = join(lone.lab.folder, 'calls');
    mkdirSync(bin);
    // The smallest address plugin there is: one address, and a note of each call.
    writeFileSync(
      join(bin, 'one-address'),
      `#!/bin/sh\necho "$CNI_COMMAND $CNI_CONTAINERID $(env | grep -c -v ^CNI_)" >>${calls}\ncat >/dev/null\n[ "$CNI_COMMAND" = ADD ] || exit 0\n[ "$CNI_CONTAINERID" != c-bad ] || { echo '{"cniVersion":"1.1.0","code":7,"msg":"no"}'; exit 1; }\necho '{"cniVersion":"1.1.0","ips":[{"address":"10.42.1.77/24","gateway":"10.42.1.1"}]}'\n`,
    );
    chmodSync(join(bin, 'one-address'), 0o755);
    await lone.pod('good');
    await lone.pod('bad');
    const conf = lone.conf({ ipam: { type: 'one-address' } });
    const call = (command: string, pod: string) =>
      callCni({
        command,
        containerId: `c-${pod}`,
        netns: `/run/netns/${lone.lab.fullName(pod)}`,
        path: bin,
        config: conf,
      });
    assert.equal(addressOf(resultOf(await call('ADD', 'good')), 4), '10.42.1.77');
    assert.equal((await ping(lone.lab, 'good', '10.42.1.1', { count: 1 })).received, 1);
    const failed = errorOf(await call('ADD', 'bad'));
    assert.deepEqual([failed.code, failed.msg], [104, 'one-address: no (code 7)']);
    await assertExactly(lone, 1);
    assert.equal((await call('DEL', 'good')).status, 0);
    await assertExactly(lone, 0);
    const seen = readFileSync(calls, 'utf8')
      .trim()
      .split('\n')
      .map((line) => line.split(' ').slice(0, 2).join(' '));
    assert.deepEqual(seen, ['ADD c-good', 'ADD c-bad', 'DEL c-bad', 'DEL c-good']);
    const missing = await callCni({
      command: 'ADD',
      containerId: 'c-x',
      netns: `/run/netns/${lone.lab.fullName('good')}`,
      path: bin,
      config: lone.conf({ ipam: { type: 'nobody' } }),
    });
    assert.equal(errorOf(missing).code, 7);
    await assertExactly(lone, 0);
    assert.ok(shim.endsWith('evio-cni'));
  },
  90_000,
);
