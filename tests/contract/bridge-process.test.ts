/**
 * The life of the tunnel process: `ready` at once, wrong settings end it with 42, a broken channel
 * with 1, end-of-file with 0; errors of `open` have their codes.
 */
import { strict as assert } from 'node:assert';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { EvioError } from '../../base/errors.ts';
import { InterfaceName, NodeId, OverlayId } from '../../base/ids.ts';
import { type BridgeClient, createBridgeClient } from '../../tincan-bridge/client.ts';
import type { Params } from '../../tincan-bridge/protocol/schema.ts';
import { suite, type T } from '../support/harness.ts';
import { newIdentity } from '../support/identity.ts';

const test = suite('bridge-process');
const main = join(import.meta.dirname, '..', '..', 'tincan-bridge', 'main.js');

interface Started {
  readonly stream: Duplex;
  readonly exited: Promise<number | null>;
}

function start(t: T, ...more: readonly string[]): Started {
  const child = spawn(process.execPath, [main, ...more], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  });
  const exited = once(child, 'exit').then(([code]) => (typeof code === 'number' ? code : null));
  t.defer(() => void child.kill('SIGKILL'));
  const stream: unknown = child.stdio[3];
  if (!(stream instanceof Duplex)) throw new Error('fd 3 is no socket');
  stream.on('error', () => {}); // reset when the process ends first
  return { stream, exited };
}

function clientOf(t: T, { stream }: Started): BridgeClient {
  const client = createBridgeClient(stream, { onNotification: () => {}, onClosed: () => {} });
  t.defer(() => client.close());
  return client;
}

async function openParams(): Promise<Params<'open'>> {
  const identity = await newIdentity('a');
  return {
    overlay: OverlayId.parse('test'),
    nodeId: identity.nodeId,
    tap: InterfaceName.parse('evs-missing'),
    certificate: identity.certificate,
    key: identity.key,
    servers: { stun: [], turn: [] },
    ignoredInterfaces: [],
    mtu: null,
    trust: null,
    transit: true,
    offload: true,
    keyLogFile: null,
  };
}

test('it is ready, answers, and ends on close', async (t) => {
  const started = start(t);
  const client = clientOf(t, started);
  assert.match((await client.ready).build, /^evio /);
  assert.deepEqual(await client.call('echo', {}, 2_000), {});
  assert.deepEqual(await client.call('close', {}, 2_000), {});
  assert.equal(await started.exited, 0);
});

test('it ends when the controller is gone', async (t) => {
  const started = start(t);
  const client = clientOf(t, started);
  await client.ready;
  client.close();
  assert.equal(await started.exited, 0);
});

test('a bad frame ends it as a defect', async (t) => {
  const started = start(t);
  started.stream.resume();
  started.stream.write(Buffer.from([0xff, 0xff, 0xff, 0xff]));
  assert.equal(await started.exited, 1);
});

test('wrong settings end it with 42', async (t) => {
  assert.equal(await start(t, '--protocol', '999').exited, 42);
  assert.equal(await start(t, '--nonsense').exited, 42);
  const bare = spawn(process.execPath, [main], { stdio: 'ignore' });
  t.defer(() => void bare.kill('SIGKILL'));
  assert.deepEqual((await once(bare, 'exit'))[0], 42);
});

test('calls before open, a foreign certificate and a missing TAP are refused by code', async (t) => {
  const client = clientOf(t, start(t));
  await client.ready;
  const codeOf = async (call: Promise<unknown>): Promise<string> =>
    call.then(
      () => 'no error',
      (error: unknown) => (error instanceof EvioError ? error.code : 'another error'),
    );
  const peer = NodeId.parse('01'.repeat(16));
  assert.equal(await codeOf(client.call('connect', { peer }, 2_000)), 'request.invalid');
  const params = await openParams();
  const foreign = client.call('open', { ...params, nodeId: peer }, 2_000);
  assert.equal(await codeOf(foreign), 'identity.mismatch');
  assert.match(await codeOf(client.call('open', params, 2_000)), /^host\./);
  assert.deepEqual(await client.call('echo', {}, 2_000), {}, 'and it lives on');
});
