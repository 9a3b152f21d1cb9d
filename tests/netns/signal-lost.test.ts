/** The XMPP server goes away and comes back, or is not there at the start: links and joining. */
import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { suite } from '../support/harness.ts';
import type { EvioNode } from '../support/node.ts';
import { assertWithin } from '../support/pace.ts';
import { waitFor } from '../support/scope.ts';
import { startPing } from '../support/steady-ping.ts';
import { createScene } from '../support/two-nodes.ts';

const test = suite('signal lost');

const outageMs = 12_000;

const waitSignal = (node: EvioNode, state: string, timeoutMs: number): Promise<unknown> =>
  waitFor(
    `signalling of ${node.name} is ${state}`,
    async () => (await node.status()).overlays[0]?.signal?.state === state,
    { timeoutMs, stepMs: 200, context: () => node.log().slice(-3_000) },
  );

test('links outlive the XMPP server; after its return all are back, and a late node is linked', async (t) => {
  const scene = await createScene(t, { kinds: ['port', 'restricted', 'open'] });
  const { lab, prosody } = scene;
  const [a, b] = [scene.start(0), scene.start(1)];
  await a.waitUp('b');
  await b.waitUp('a');
  const steady = startPing(lab, a.ns, b.address);
  const goneMs = performance.now();
  await prosody.kill('SIGKILL');
  for (const node of [a, b]) await waitSignal(node, 'offline', 5_000);
  const c = scene.start(2);
  await delay(outageMs - (performance.now() - goneMs));
  const text = await a.evio('status');
  const { sinceMs } = (await a.status()).overlays[0]?.signal ?? {};
  // Noticed after it went, and said before we look.
  const longestMs = performance.now() - goneMs;
  assert.ok(
    (sinceMs ?? 0) <= longestMs && (sinceMs ?? 0) > longestMs - 5_000,
    `since ${sinceMs} ms`,
  );
  assert.match(text, /(offline|connecting) for \d+ s/, text);
  assert.match(text, /signal\.(unreachable|disconnected)/);
  assert.match(text, /10\.99\.0\.1:5222/);
  assert.match(await c.evio('status'), /offline|connecting/);

  await prosody.start();
  const returnMs = performance.now();
  for (const node of [a, b, c]) await waitSignal(node, 'online', 60_000);
  const onlineMs = performance.now() - returnMs;
  await c.waitUp('a', 10_000);
  await c.waitUp('b', 10_000);
  await delay(1_000); // whatever flaps on a return flaps at once
  const { lost, sent } = await steady.stop();
  process.stdout.write(`back after ${Math.round(onlineMs)} ms; ${lost} of ${sent} pings lost\n`);
  await assertWithin('all are back', onlineMs, 60_000);
  assert.equal(lost, 0);
  for (const node of [a, b]) {
    assert.doesNotMatch(node.log(), /link down/, 'no link was touched');
    assert.equal((await node.peer(node === a ? 'b' : 'a'))?.['reachable'], true);
  }
}, 120_000);

test('a node that starts without network joins when it comes', async (t) => {
  const scene = await createScene(t, { kinds: ['port', 'open'] });
  const { lab, prosody } = scene;
  // A name of the server, and a resolver that is as far away as the server itself.
  const folder = `/etc/netns/${lab.fullName('hA')}`;
  mkdirSync(folder, { recursive: true });
  t.defer(() => rmSync(folder, { recursive: true }));
  writeFileSync(`${folder}/resolv.conf`, 'nameserver 10.99.0.1\noptions timeout:1 attempts:1\n');
  const dns = lab.spawn('pub', [
    ...['dnsmasq', '--keep-in-foreground', '--conf-file=/dev/null', '--no-hosts', '--no-resolv'],
    ...['--user=root', '--log-facility=-', '--bind-interfaces', '--listen-address=10.99.0.1'],
    ...['--address=/xmpp.lab.test/10.99.0.1', '--pid-file'],
  ]);
  await dns.waitLog('started');
  await lab.ip('hA', 'link set eth0 down');
  const b = scene.start(1);
  const { xmpp } = scene.options(0);
  const a = scene.start(0, { xmpp: { ...xmpp, address: 'xmpp.lab.test' } });
  await waitFor(
    'the reason is shown',
    async () => /signal\.unresolvable/.test(await a.evio('status')),
    { timeoutMs: 20_000, context: () => a.log().slice(-2_000) },
  );
  await delay(6_000); // long enough for the waits to have grown
  assert.equal(a.exit, undefined, 'it waits');
  assert.match(await a.evio('status'), /xmpp\.lab\.test/);
  await lab.ip('hA', 'link set eth0 up\nroute add default via 192.168.1.1');
  const cameMs = performance.now();
  await a.waitUp('b', 60_000);
  const joinMs = performance.now() - cameMs;
  process.stdout.write(`network to link: ${Math.round(joinMs)} ms\n`);
  await assertWithin('joining', joinMs, 20_000, () => a.log().slice(-6_000));
  assert.equal((await b.peer('a'))?.state, 'online');
  assert.ok(prosody.port > 0);
}, 120_000);
