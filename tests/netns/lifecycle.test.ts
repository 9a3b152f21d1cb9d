/** Processes that die, hang and come back: the device stays, and traffic is back by itself. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Child } from '../support/child.ts';
import { suite } from '../support/harness.ts';
import type { Lab } from '../support/netns.ts';
import type { EvioNode } from '../support/node.ts';
import { assertWithin } from '../support/pace.ts';
import { waitFor } from '../support/scope.ts';
import { type SteadyPing, startPing } from '../support/steady-ping.ts';
import { iperf, ping, quantile } from '../support/traffic.ts';
import { type Scene, startTwo } from '../support/two-nodes.ts';

const test = suite('lifecycle');

/** Rounds of start and stop; a hundred are asked for by hand. */
const rounds = Number(process.env['EVIO_TEST_ROUNDS'] ?? 8);

/** Longer than the deadline of the tunnel process' signs of life. */
const hangMs = 10_000;

type Two = Scene & { readonly a: EvioNode; readonly b: EvioNode };

async function bothUp({ a, b }: Two): Promise<void> {
  await a.waitUp('b');
  await b.waitUp('a');
}

/** What the kernel says of the node's links, addresses and routes, from now on. */
function watchDevice(lab: Lab, node: EvioNode): Child {
  return lab.spawn(node.ns, ['ip', '-o', 'monitor', 'link', 'address', 'route']);
}

function assertKept(monitor: Child): void {
  const removed = monitor
    .log()
    .split('\n')
    .filter((line) => line.startsWith('Deleted') && line.includes('ev-lab'));
  assert.deepEqual(removed, [], 'device, addresses and routes stay');
}

/** Milliseconds from now until the next reply to a running ping. */
async function nextReply(steady: SteadyPing, timeoutMs: number): Promise<number> {
  const fromMs = Date.now();
  await waitFor('a reply', () => steady.replies().some((at) => at > fromMs), { timeoutMs });
  return Date.now() - fromMs;
}

const alive = (pid: number): boolean => {
  try {
    // A zombie is none of ours any more.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
};

const logs = (...nodes: readonly EvioNode[]): string =>
  nodes.map((node) => `--- ${node.name}\n${node.log().slice(-4_000)}`).join('\n');

/** What a process and its namespace hold: must not grow with the deaths of others. */
async function holdings(lab: Lab, node: EvioNode): Promise<Record<string, number>> {
  const lines = (text: string): number => text.split('\n').filter(Boolean).length;
  const fds = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;
  return {
    controllerFds: fds(node.pid),
    tunnelFds: fds(await node.tunnelPid()),
    udp: lines(await lab.exec(node.ns, ['ss', '-Haun'])),
    processes: lines(await lab.exec('', ['ip', 'netns', 'pids', lab.fullName(node.ns)])),
    links: lines(await lab.exec(node.ns, ['ip', '-o', 'link'])),
  };
}

/** Waits until the node holds no more than before: replaced associations linger for 5 s. */
async function assertNoMore(
  lab: Lab,
  node: EvioNode,
  before: Record<string, number>,
): Promise<void> {
  let now: Record<string, number> = {};
  await waitFor(
    `${node.name} holds no more than before`,
    async () => {
      now = await holdings(lab, node);
      return Object.entries(before).every(([key, count]) => (now[key] ?? 0) <= count);
    },
    { timeoutMs: 12_000, stepMs: 300, context: () => JSON.stringify({ before, now }) },
  );
}

test('a killed tunnel process is back within 3 s, under ping and under TCP', async (t) => {
  const scene = await startTwo(t, { kinds: ['open', 'port'] });
  const { lab, a, b } = scene;
  await bothUp(scene);
  const before = { a: await holdings(lab, a), b: await holdings(lab, b) };
  const monitor = watchDevice(lab, a);
  const steady = startPing(lab, a.ns, b.address);
  await nextReply(steady, 3_000);
  const first = await a.tunnelPid();
  process.kill(first, 'SIGKILL');
  await delay(1_000);
  await nextReply(steady, 10_000);
  const under = await steady.stop();
  process.stdout.write(`killed under ping: ${Math.round(under.longestGapMs)} ms\n`);
  await assertWithin('without a reply under ping', under.longestGapMs, 3_000, () => logs(a, b));

  const second = await a.tunnelPid(first);
  const beside = startPing(lab, a.ns, b.address);
  const flow = iperf(lab, {
    from: a.ns,
    to: b.ns,
    address: b.address,
    seconds: 7,
    bitrate: '200M',
  });
  await delay(2_000);
  process.kill(second, 'SIGKILL');
  await delay(3_000);
  process.kill(await b.tunnelPid(), 'SIGKILL'); // and the far side's
  const { mbps } = await flow;
  const gap = (await beside.stop()).longestGapMs;
  process.stdout.write(`killed under TCP: ${Math.round(gap)} ms, ${mbps.toFixed(0)} Mbit/s\n`);
  await assertWithin('without a reply under TCP', gap, 3_000, () => logs(a, b));
  assert.ok(mbps > 20, `${mbps} Mbit/s`);
  assertKept(monitor);
  await monitor.stop();
  await assertNoMore(lab, a, before.a);
  await assertNoMore(lab, b, before.b);
}, 90_000);

test('a hung tunnel process is replaced; a hung controller hinders no frame', async (t) => {
  const scene = await startTwo(t, { kinds: ['open', 'port'] });
  const { lab, a, b } = scene;
  await bothUp(scene);
  const before = { a: await holdings(lab, a), b: await holdings(lab, b) };
  const monitor = watchDevice(lab, a);
  const steady = startPing(lab, a.ns, b.address);
  await nextReply(steady, 3_000);
  const hung = await a.tunnelPid();
  process.kill(hung, 'SIGSTOP');
  await delay(500);
  await nextReply(steady, 20_000);
  const { longestGapMs } = await steady.stop();
  process.stdout.write(`hung tunnel process: ${Math.round(longestGapMs)} ms\n`);
  await assertWithin('without a reply beside a hung one', longestGapMs, 12_000);
  assert.equal(alive(hung), false);
  const next = await a.tunnelPid(hung);

  const through = startPing(lab, a.ns, b.address);
  const flow = iperf(lab, { from: b.ns, to: a.ns, address: a.address, seconds: 5, bitrate: '50M' });
  process.kill(a.pid, 'SIGSTOP');
  await delay(hangMs);
  process.kill(a.pid, 'SIGCONT');
  await flow;
  await delay(3_000); // a verdict of late timers would come now
  const { lost } = await through.stop();
  assert.equal(lost, 0, 'no frame is lost while the controller hangs');
  assert.equal(await a.tunnelPid(), next, 'the tunnel process was not replaced');
  assert.equal((await a.peer('b'))?.state, 'online');
  assertKept(monitor);
  await monitor.stop();
  await assertNoMore(lab, a, before.a);
  await assertNoMore(lab, b, before.b);
}, 90_000);

test('a killed controller leaves its devices but no process; the next one takes them over; so after a power cut', async (t) => {
  const scene = await startTwo(t, { kinds: ['open', 'port'] });
  const { lab, a, b } = scene;
  await bothUp(scene);
  const beforeB = await holdings(lab, b);
  const monitor = watchDevice(lab, a);
  const steady = startPing(lab, b.ns, a.address);
  await nextReply(steady, 3_000);
  const backsMs: number[] = [];
  for (let round = 0; round < 2; round += 1) {
    const tunnel = await a.tunnelPid();
    await a.kill('SIGKILL');
    await waitFor('the tunnel process ends by itself', () => !alive(tunnel), { timeoutMs: 4_000 });
    const address = await lab.exec(a.ns, ['ip', '-brief', 'address', 'show', 'dev', 'ev-lab']);
    assert.match(address, /10\.77\.0\.1\/24/);
    a.start();
    backsMs.push(await nextReply(steady, 10_000));
  }
  process.stdout.write(`killed controller: traffic ${backsMs.join(' and ')} ms after its start\n`);
  // The better of two: a start is processor time, of which a busy machine has little.
  await assertWithin('traffic after a start', Math.min(...backsMs), 3_000);
  assertKept(monitor);
  await monitor.stop();

  // A power cut: nobody is told, the XMPP server still holds the old stream, the devices are gone.
  const tunnel = await a.tunnelPid();
  await lab.ip(a.ns, 'link set eth0 down');
  await a.kill('SIGKILL');
  await waitFor('the tunnel process ends', () => !alive(tunnel), { timeoutMs: 4_000 });
  await lab.ip(a.ns, 'link del ev-lab\nlink set eth0 up\nroute add default via 10.98.1.1');
  a.start();
  const rebootMs = await nextReply(steady, 20_000);
  process.stdout.write(`power cut: traffic ${rebootMs} ms after the start\n`);
  await assertWithin('traffic after a power cut', rebootMs, 6_000);
  await steady.stop();
  await assertNoMore(lab, b, beforeB);
  assert.equal((await a.stop()).code, 0);
  assert.doesNotMatch(await lab.exec(a.ns, ['ip', '-brief', 'link']), /ev-lab/);
}, 60_000);

test(
  'ordered stops under load end within 10 s and leave nothing; the far side holds no more',
  async (t) => {
    const scene = await startTwo(t, { kinds: ['open', 'port'] });
    const { lab, a, b } = scene;
    await bothUp(scene);
    const before = await holdings(lab, b);
    const stopsMs: number[] = [];
    const startsMs: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      // One server for each round: it misses the end of a client whose device is removed.
      const port = `${5_301 + round}`;
      const server = lab.spawn(b.ns, ['iperf3', '--forceflush', '-s', '-p', port]);
      await server.waitLog('listening');
      const flow = ['iperf3', '--forceflush', '-c', b.address, '-p', port, '-t', '60'];
      const load = lab.spawn(a.ns, flow);
      await load.waitLog('connected to');
      const stopMs = performance.now();
      assert.equal((await a.stop()).code, 0, a.log().slice(-2_000));
      stopsMs.push(performance.now() - stopMs);
      await Promise.all([load.stop(100), server.stop(100)]);
      assert.equal((await lab.exec('', ['ip', 'netns', 'pids', lab.fullName(a.ns)])).trim(), '');
      assert.doesNotMatch(await lab.exec(a.ns, ['ip', '-brief', 'link']), /ev-lab/);
      assert.deepEqual(readdirSync(`${a.folder}/run`), []);
      const startMs = performance.now();
      a.start();
      await waitFor(
        'the first ping',
        async () => (await ping(lab, a.ns, b.address, { count: 1, waitS: 1 })).received === 1,
        { timeoutMs: 20_000, context: () => `${a.log().slice(-2_000)}\n${b.log().slice(-2_000)}` },
      );
      startsMs.push(performance.now() - startMs);
    }
    const [stops, starts] = [stopsMs, startsMs].map((times) => times.toSorted((x, y) => x - y));
    const said = (times: readonly number[] = []): string =>
      [0.5, 0.9, 1].map((q) => quantile(times, q).toFixed(0)).join(', ');
    process.stdout.write(
      `${rounds} stops: median, 9 of 10, worst ${said(stops)} ms; first pings after ${said(starts)} ms\n`,
    );
    const median = quantile(starts ?? [], 0.5);
    await assertWithin('the peer accepts a new attempt at once', median, 5_000);
    await assertNoMore(lab, b, before);
  },
  60_000 + rounds * 15_000,
);
