/** What is wrong around a node is named and does it no harm: files, datagrams, local clients, disk. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { exec } from '../../base/exec.ts';
import { suite } from '../support/harness.ts';
import type { EvioNode } from '../support/node.ts';
import { type Scope, waitFor } from '../support/scope.ts';
import { startPing } from '../support/steady-ping.ts';
import { createScene, startTwo } from '../support/two-nodes.ts';

const test = suite('bad input');

const lines = (node: EvioNode): number => node.log().split('\n').length;

async function counters(node: EvioNode): Promise<Readonly<Record<string, number>>> {
  return Object((await node.status()).overlays[0]?.['counters']);
}

/** Bytes that are no request, to the local API; resolves when the server has ended the connection. */
function badRequest(path: string, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    socket.on('connect', () => socket.write(bytes));
    socket.on('error', () => {}); // it may be cut off while we write
    socket.resume().on('close', () => resolve());
  });
}

/** A small file system of its own, from before the node starts until the test is over. */
async function mountSmall(t: Scope, folder: string, size: string): Promise<void> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  await exec(['mount', '-t', 'tmpfs', '-o', `size=${size},mode=700`, 'none', folder]);
  t.defer(async () => void (await exec(['umount', '-l', folder])));
}

test('a configuration that cannot be used is refused with file, line and reason', async (t) => {
  const scene = await createScene(t, { kinds: ['open'] });
  const device = (more: object): object => ({
    config: { BridgeController: { Overlays: { lab: { NetDevice: more } } } },
  });
  const signal = (more: object): object => ({ config: { Signal: { Overlays: { lab: more } } } });
  const cases: ReadonlyArray<readonly [object, RegExp]> = [
    [
      signal({ PasswordFile: '/nowhere/secret' }),
      /PasswordFile.*\/nowhere\/secret.*cannot be read/,
    ],
    [signal({ PasswordFile: '/etc' }), /PasswordFile.*cannot be read/],
    [device({ MTU: 100_000 }), /NetDevice\.MTU is 100000/],
    [device({ MTU: 10 }), /NetDevice\.MTU is 10/],
  ];
  for (const [changes, says] of cases) {
    const node = scene.start(0, changes);
    const exit = await waitFor('evio up ends', () => node.exit, { timeoutMs: 10_000 });
    assert.equal(exit.code, 2);
    assert.match(node.log(), says);
    assert.match(node.log(), /config\.json:\d+:\d+: error/);
  }
}, 60_000);

test('garbage to the ports of a live session and to the local API is counted, and nothing else', async (t) => {
  const scene = await startTwo(t, { kinds: ['open', 'open'] });
  const { lab, a, b } = scene;
  const { path } = await a.waitUp('b');
  await b.waitUp('a');
  const [address = '', port = ''] = path?.local?.split(':') ?? [];
  const before = await counters(a);
  const linesBefore = lines(a);
  const steady = startPing(lab, a.ns, b.address);
  const program = join(import.meta.dirname, '..', 'support', 'garbage.js');
  const count = 5_000;
  // From a stranger, and from the peer's own address.
  for (const ns of ['rA', b.ns]) {
    await lab.exec(ns, [process.execPath, program, address, port, String(count)], {
      timeoutMs: 30_000,
    });
  }
  const socket = join(a.folder, 'run', 'controller.sock');
  await Promise.all([
    badRequest(socket, randomBytes(200_000)),
    badRequest(socket, Buffer.from(`GET /v1/status HTTP/1.1\r\nX: ${'y'.repeat(20_000)}`)),
    badRequest(
      socket,
      Buffer.from('POST /v1/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{{{{{{{{'),
    ),
    badRequest(socket, Buffer.from('\0\0\0\0')),
  ]);
  const after = await counters(a);
  const { lost } = await steady.stop();
  const grown = Object.entries(after)
    .map(([name, value]) => [name, value - (before[name] ?? 0)] as const)
    .filter(([name, by]) => by > 100 && !/bytes|frames/i.test(name));
  const extraLines = lines(a) - linesBefore;
  process.stdout.write(`${JSON.stringify(Object.fromEntries(grown))}, ${extraLines} log lines\n`);
  assert.ok(grown.reduce((sum, [, by]) => sum + by, 0) > count, 'what was dropped is counted');
  assert.ok(extraLines < 20, a.log().slice(-3_000));
  assert.ok(lost <= 1, `${lost} pings lost`);
  assert.equal((await a.peer('b'))?.state, 'online');
  assert.doesNotMatch(a.log() + b.log(), /link down/);
}, 60_000);

test('a full disk is named; what is on it stays whole', async (t) => {
  const scene = await createScene(t, { kinds: ['open', 'open'] });
  const { lab } = scene;
  const state = join(lab.folder, 'a', 'state');
  await mountSmall(t, state, '4k');
  const a = scene.start(0);
  const exit = await waitFor('evio up ends', () => a.exit, { timeoutMs: 10_000 });
  assert.equal(exit.code, 1);
  assert.match(a.log(), /identity\.unusable|cannot be written/);
  assert.match(a.log(), /ENOSPC|no space/i);
  const left = readdirSync(state);
  assert.deepEqual(
    left.filter((name) => name.endsWith('.tmp')),
    [],
  );

  await exec(['mount', '-o', 'remount,size=32k', state]);
  a.start();
  const online = async (): Promise<boolean> =>
    (await a.status()).overlays[0]?.signal?.state === 'online';
  await waitFor('a is online', online, { timeoutMs: 15_000, context: () => a.log() });
  const key = readFileSync(join(state, 'key.pem'));
  writeFileSync(join(state, 'ballast'), randomBytes(24_576)); // key and certificate hold 8 KiB
  const b = scene.start(1);
  await a.waitUp('b');
  await b.waitUp('a');
  await waitFor('the full disk is named', () =>
    /pins cannot be written.*|pins\.json cannot/.test(a.log()),
  );
  assert.equal((await a.stop()).code, 0, a.log());
  assert.deepEqual(readFileSync(join(state, 'key.pem')), key);
  for (const name of readdirSync(state)) assert.ok(statSync(join(state, name)).size > 0, name);

  await exec(['mount', '-o', 'remount,size=1m', state]);
  a.start();
  await a.waitUp('b');
  await a.stop();
  assert.match(readFileSync(join(state, 'pins.json'), 'utf8'), /"b@lab\.test"/);
}, 60_000);
