/**
 * Client and server of the bridge protocol over a real socket pair: typed calls, deadlines, wire
 * order, and an end of the channel on anything that is not a good frame.
 */
import { strict as assert } from 'node:assert';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EvioError } from '../../base/errors.ts';
import { NodeId } from '../../base/ids.ts';
import {
  type BridgeClient,
  createBridgeClient,
  type NotificationMessage,
} from '../../tincan-bridge/client.ts';
import { encodeFrame, FrameDecoder } from '../../tincan-bridge/protocol/frames.ts';
import {
  bridgeProtocolVersion,
  type Handlers,
  maxFrameBytes,
} from '../../tincan-bridge/protocol/schema.ts';
import { type BridgeServer, createBridgeServer } from '../../tincan-bridge/server.ts';
import { suite, type T } from '../support/harness.ts';

const test = suite('bridge-channel');
const peer = NodeId.parse('ab'.repeat(16));

async function socketPair(t: T): Promise<readonly [Socket, Socket]> {
  const folder = mkdtempSync(join(tmpdir(), 'evio-channel-'));
  t.defer(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 's');
  const { promise, resolve } = Promise.withResolvers<Socket>();
  const listener = createServer(resolve).listen(path);
  t.defer(() => void listener.close());
  const near = connect(path);
  const far = await promise;
  t.defer(() => void [near.destroy(), far.destroy()]);
  return [near, far];
}

const idle: Handlers = {
  open: async () => ({ mtu: 1_420 }),
  setTrust: async () => ({}),
  setServers: async () => ({}),
  connect: async () => ({}),
  disconnect: async () => ({}),
  describe: async () => ({}),
  ended: async () => ({}),
  setMembers: async () => ({}),
  sendMessage: async () => ({ sent: false }),
  traffic: async () => ({ peers: [] }),
  routes: async () => ({ neighbours: [], ways: [] }),
  ping: async () => ({ rttMs: null, path: { kind: 'none', local: '', remote: '' }, hops: [] }),
  status: async () => ({ mtu: 1_420, sessions: [], counters: {}, stations: [] }),
  echo: async () => ({}),
  close: async () => ({}),
};

interface Pair {
  readonly client: BridgeClient;
  readonly server: BridgeServer;
  readonly heard: NotificationMessage[];
  readonly closed: EvioError[];
  readonly serverClosed: Array<EvioError | null>;
  readonly near: Socket;
  readonly far: Socket;
}

async function pair(t: T, handlers: Partial<Handlers> = {}): Promise<Pair> {
  const [near, far] = await socketPair(t);
  const heard: NotificationMessage[] = [];
  const closed: EvioError[] = [];
  const serverClosed: Array<EvioError | null> = [];
  const server = createBridgeServer(far, {
    handlers: { ...idle, ...handlers },
    onClosed: (reason) => void serverClosed.push(reason),
  });
  const client = createBridgeClient(near, {
    onNotification: (message) => void heard.push(message),
    onClosed: (error) => void closed.push(error),
    readyTimeoutMs: 500,
  });
  t.defer(() => client.close());
  return { client, server, heard, closed, serverClosed, near, far };
}

const ready = { version: bridgeProtocolVersion, build: 'test', pid: 1 };
const codeOf = (code: string) => (error: unknown) =>
  error instanceof EvioError && error.code === code;

test('a call comes back with its result, an error with its code', async (t) => {
  const { client, server } = await pair(t, {
    connect: async () => {
      throw new EvioError('bridge.unknown-peer', 'no such peer');
    },
  });
  server.notify('ready', ready);
  assert.deepEqual(await client.ready, ready);
  assert.deepEqual(await client.call('echo', {}, 1_000), {});
  await assert.rejects(client.call('connect', { peer }, 1_000), codeOf('bridge.unknown-peer'));
});

test('a notification behind an answer is delivered after the caller went on', async (t) => {
  const [near, far] = await socketPair(t);
  const order: string[] = [];
  const client = createBridgeClient(near, {
    onNotification: ({ notification }) => void order.push(notification),
    onClosed: () => {},
  });
  t.defer(() => client.close());
  const called = (async () => {
    await client.call('echo', {}, 1_000);
    order.push('answer');
  })();
  const mtu = { notification: 'mtuChanged', body: { mtu: 1_300 } };
  const frames = [{ notification: 'ready', body: ready }, mtu, { id: 1, result: {} }, mtu];
  far.write(Buffer.concat(frames.map((frame) => encodeFrame(frame))));
  await called;
  while (order.length < 4) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(order, ['ready', 'mtuChanged', 'answer', 'mtuChanged']);
});

test('a call without an answer ends at its deadline, and the late answer is counted', async (t) => {
  const { promise, resolve } = Promise.withResolvers<Record<string, never>>();
  const { client, server } = await pair(t, { echo: () => promise });
  server.notify('ready', ready);
  await assert.rejects(client.call('echo', {}, 50), codeOf('request.timeout'));
  resolve({});
  while (client.lateAnswers() === 0) await new Promise((next) => setImmediate(next));
  assert.deepEqual(await client.call('close', {}, 1_000), {});
});

test('the end of the channel rejects everything that is pending', async (t) => {
  const { client, server, closed, far } = await pair(t, { echo: () => new Promise(() => {}) });
  server.notify('ready', ready);
  await client.ready;
  const pending = [client.call('echo', {}, 5_000), client.call('echo', {}, 5_000)];
  far.destroy();
  for (const call of pending) await assert.rejects(call, codeOf('bridge.failed'));
  assert.equal(closed.length, 1);
  await assert.rejects(client.call('echo', {}, 1_000), codeOf('bridge.failed'));
});

test('a bad frame from the process is fatal to the channel', async (t) => {
  for (const bytes of [
    Buffer.from([0, 0, 0, 2, 0x7b, 0x7d]), // {} is no message
    Buffer.from([0, 0, 0, 1, 0xff]), // not UTF-8
    Buffer.from([0, 0, 0, 0]), // empty
    Buffer.from([0xff, 0xff, 0xff, 0xff]), // too long
    Buffer.from(encodeFrame({ notification: 'ready', body: { ...ready, more: 1 } })),
  ]) {
    const { client, closed, far } = await pair(t);
    far.write(bytes);
    await assert.rejects(client.ready, codeOf('bridge.failed'));
    assert.equal(closed.length, 1);
  }
});

test('a bad frame from the controller ends the process side', async (t) => {
  for (const bytes of [Buffer.from([0, 0, 0, 1, 0x7b]), Buffer.from(encodeFrame({ id: 0 }))]) {
    const { serverClosed, near } = await pair(t);
    near.write(bytes);
    while (serverClosed.length === 0) await new Promise((next) => setImmediate(next));
    assert.equal(serverClosed[0]?.code, 'bridge.failed');
  }
});

test('parameters that break the schema never reach a handler', async (t) => {
  let called = 0;
  const { client, server, far, near } = await pair(t, {
    connect: async () => {
      called += 1;
      return {};
    },
  });
  server.notify('ready', ready);
  const bad = { peer: 'nobody' } as unknown as { peer: NodeId };
  await assert.rejects(client.call('connect', bad, 1_000), codeOf('request.invalid'));
  near.write(encodeFrame({ id: 900, method: 'connect', params: bad })); // past the client's check
  near.write(encodeFrame({ id: 901, method: 'nonsense', params: {} }));
  while (client.lateAnswers() < 2) await new Promise((next) => setImmediate(next));
  assert.equal(called, 0);
  assert.equal(far.destroyed, false);
});

test('another version in ready, or none in time, ends the channel', async (t) => {
  const first = await pair(t);
  first.server.notify('ready', { ...ready, version: bridgeProtocolVersion + 1 });
  await assert.rejects(first.client.ready, codeOf('bridge.version'));
  const second = await pair(t);
  await assert.rejects(second.client.ready, codeOf('bridge.failed'));
});

test('frames survive any cutting of the stream, and the decoder holds one at most', () => {
  const messages = [{ a: 1 }, { b: 'x'.repeat(70_000) }, [], 'ö'];
  const stream = Buffer.concat(messages.map((m) => encodeFrame(m)));
  for (const size of [1, 3, 7, 4_096, stream.length]) {
    const decoder = new FrameDecoder();
    const got: unknown[] = [];
    for (let at = 0; at < stream.length; at += size) {
      got.push(...decoder.push(stream.subarray(at, at + size)));
    }
    assert.deepEqual(got, messages);
    assert.equal(decoder.unfinishedBytes, 0);
  }
  assert.throws(() => encodeFrame('x'.repeat(maxFrameBytes)), codeOf('request.invalid'));
});
