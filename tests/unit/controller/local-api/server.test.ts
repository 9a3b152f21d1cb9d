/**
 * The local API: what it answers, whom it lets near, and what it does with garbage, slow readers
 * and a dead controller's socket.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../../../base/clock.ts';
import { EvioError } from '../../../../base/errors.ts';
import { NodeId, OverlayId } from '../../../../base/ids.ts';
import { silentLogger } from '../../../../base/log.ts';
import { Secret } from '../../../../base/secret.ts';
import type { BusEvent } from '../../../../controller/events.ts';
import { createClient } from '../../../../controller/local-api/client.ts';
import {
  createLocalApi,
  type Deps,
  type LocalApi,
} from '../../../../controller/local-api/index.ts';
import { maxWaitingBytes } from '../../../../controller/local-api/line-writer.ts';
import type { Status } from '../../../../controller/local-api/schema.ts';
import { limits } from '../../../../controller/local-api/server.ts';
import { suite, type T } from '../../../support/harness.ts';
import { noPods, noTrust, sampleRing, sampleStatus } from '../../../support/sample-status.ts';

const test = suite('local api');

interface Bench {
  readonly api: LocalApi;
  readonly path: string;
  /** To every watcher. */
  emit(event: BusEvent): void;
  /** Resolves when so many watch. */
  watchers(count: number): Promise<void>;
}

function folder(t: T): string {
  const path = join(mkdtempSync(join(tmpdir(), 'evio-api-')), 'run');
  t.defer(() => rmSync(join(path, '..'), { recursive: true }));
  return path;
}

async function serve(
  t: T,
  makeStatus: () => Status = () => sampleStatus,
  trust: Deps['trust'] = noTrust,
): Promise<Bench> {
  const path = folder(t);
  const taps = new Set<(event: BusEvent) => void>();
  const waiting: { readonly count: number; readonly done: () => void }[] = [];
  const tell = (): void => {
    for (const { count, done } of waiting) if (taps.size === count) done();
  };
  const deps: Deps = {
    status: async () => makeStatus(),
    version: '1.2.3',
    trust,
    ring: sampleRing,
    cni: noPods,
    tap: (signal, see) => {
      taps.add(see);
      tell();
      signal.addEventListener('abort', () => {
        taps.delete(see);
        tell();
      });
    },
  };
  const options = { runDirectory: path, clock: systemClock, log: silentLogger };
  const api = await createLocalApi(deps, options);
  t.defer(() => api.close());
  return {
    api,
    path,
    emit: (event) => {
      for (const see of taps) see(event);
    },
    watchers: (count) =>
      new Promise((done) => {
        waiting.push({ count, done });
        tell();
      }),
  };
}

const codeOf = async (promise: Promise<unknown>): Promise<string> => {
  try {
    await promise;
  } catch (error) {
    return error instanceof EvioError ? error.code : String(error);
  }
  return 'none';
};

/** Sends bytes, returns all that came back until the connection ended. */
async function raw(path: string, bytes: string | Uint8Array): Promise<string> {
  const socket = connect(path);
  let answer = '';
  socket.on('data', (data) => {
    answer += data.toString('latin1');
  });
  socket.on('error', () => {}); // being cut off is an answer too
  socket.write(bytes);
  await new Promise((resolve) => socket.on('close', resolve));
  return answer;
}

const event = (reason: string): BusEvent => ({
  name: 'topology.linkUnwanted',
  event: { overlay: overlayId, peer: peerId, reason },
});
const overlayId = sampleStatus.overlays[0]?.overlay ?? assert.fail('the sample has an overlay');
const peerId = sampleStatus.nodeId;

test('status and version come as they were given', async (t) => {
  const { api } = await serve(t);
  const client = createClient(api.socketPath);
  assert.deepEqual(await client.status(), sampleStatus);
  assert.deepEqual(await client.version(), { version: '1.2.3' });
});

test('only the owner may open the socket, and its folder', async (t) => {
  const { api, path } = await serve(t);
  assert.equal(statSync(path).mode & 0o777, 0o700);
  assert.equal(statSync(api.socketPath).mode & 0o777, 0o600);
});

test('a changed key is accepted by a request of the right form only', async (t) => {
  const taken: unknown[] = [];
  const trust: Deps['trust'] = {
    ...noTrust,
    accept: async (change) => void taken.push(change),
  };
  const { api } = await serve(t, undefined, trust);
  const client = createClient(api.socketPath);
  const [from, to] = [NodeId.parse('0'.repeat(32)), NodeId.parse('1'.repeat(32))];
  const place = { overlay: OverlayId.parse('lab'), account: 'a@b', name: 'n' };
  await client.acceptKey({ ...place, from, to });
  assert.deepEqual(taken, [{ ...place, from, to }]);
  assert.equal(await codeOf(client.forgetKey({ ...place, node: from })), 'request.invalid');
  assert.equal(await codeOf(client.acceptKey({ ...place, name: '', from, to })), 'request.invalid');
  assert.equal(taken.length, 1);
  assert.deepEqual(await client.trust(), { overlays: [] });
});

test('a folder that others may write to is refused', async (t) => {
  const { path } = await serve(t);
  chmodSync(path, 0o777);
  const deps: Deps = {
    status: async () => sampleStatus,
    tap: () => {},
    trust: noTrust,
    ring: sampleRing,
    version: '',
    cni: noPods,
  };
  const options = { runDirectory: path, clock: systemClock, log: silentLogger };
  assert.equal(await codeOf(createLocalApi(deps, options)), 'config.invalid');
});

test('a second controller is refused, and the first goes on', async (t) => {
  const { api, path } = await serve(t);
  const deps: Deps = {
    status: async () => sampleStatus,
    tap: () => {},
    trust: noTrust,
    ring: sampleRing,
    version: '',
    cni: noPods,
  };
  const options = { runDirectory: path, clock: systemClock, log: silentLogger };
  assert.equal(await codeOf(createLocalApi(deps, options)), 'already-running');
  assert.deepEqual(await createClient(api.socketPath).version(), { version: '1.2.3' });
});

test("a dead controller's socket is replaced", async (t) => {
  const first = await serve(t);
  const path = join(first.path, 'second');
  const socketPath = join(path, 'controller.sock');
  const script = `require('fs').mkdirSync(${JSON.stringify(path)});
    require('net').createServer().listen(${JSON.stringify(socketPath)}, () => process.kill(process.pid, 'SIGKILL'));`;
  await once(spawn(process.execPath, ['-e', script]), 'close');
  assert.ok(existsSync(socketPath), 'the dead one left its socket');
  assert.equal(await codeOf(createClient(socketPath).status()), 'not-running');
  const deps: Deps = {
    status: async () => sampleStatus,
    tap: () => {},
    trust: noTrust,
    ring: sampleRing,
    version: '2',
    cni: noPods,
  };
  const options = { runDirectory: path, clock: systemClock, log: silentLogger };
  const api = await createLocalApi(deps, options);
  t.defer(() => api.close());
  assert.deepEqual(await createClient(socketPath).version(), { version: '2' });
});

test('a file that is no socket is not removed', async (t) => {
  const { path } = await serve(t);
  const inner = mkdtempSync(join(path, 'x'));
  writeFileSync(join(inner, 'controller.sock'), 'precious');
  const deps: Deps = {
    status: async () => sampleStatus,
    tap: () => {},
    trust: noTrust,
    ring: sampleRing,
    version: '',
    cni: noPods,
  };
  const options = { runDirectory: inner, clock: systemClock, log: silentLogger };
  assert.equal(await codeOf(createLocalApi(deps, options)), 'config.invalid');
});

test('closing removes the socket, ends watchers, and may be repeated', async (t) => {
  const { api, watchers } = await serve(t);
  const lines = createClient(api.socketPath).watch(t.signal);
  const next = lines.next();
  await watchers(1);
  await Promise.all([api.close(), api.close()]);
  assert.equal((await next).done, true);
  assert.equal(existsSync(api.socketPath), false);
  assert.equal(await codeOf(createClient(api.socketPath).status()), 'not-running');
});

test('garbage is answered with an error or dropped, and the next client is served', async (t) => {
  const { api } = await serve(t);
  const garbage: readonly (string | Uint8Array)[] = [
    'hello\r\n\r\n',
    new Uint8Array(4_096).fill(0xff),
    `GET /${'x'.repeat(limits.headerBytes * 2)} HTTP/1.1\r\n\r\n`,
    'GET /v1/status HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n',
    'POST /v1/status HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n',
  ];
  for (const bytes of garbage) {
    const answer = await raw(api.socketPath, bytes);
    assert.match(answer, /^HTTP\/1\.1 400 [\s\S]*"code":"request\.invalid"/);
  }
  assert.deepEqual(await createClient(api.socketPath).version(), { version: '1.2.3' });
});

test('an unknown resource, a wrong method and a body too large are errors as JSON', async (t) => {
  const { api } = await serve(t);
  const close = 'Host: a\r\nConnection: close\r\n';
  const requests = [
    `GET /v2/status HTTP/1.1\r\n${close}\r\n`,
    `DELETE /v1/status HTTP/1.1\r\n${close}\r\n`,
    `GET /v1/status HTTP/1.1\r\n${close}Content-Length: 70000\r\n\r\n${'x'.repeat(70_000)}`,
  ];
  for (const bytes of requests) {
    assert.match(await raw(api.socketPath, bytes), /^HTTP\/1\.1 400 [\s\S]*request\.invalid/);
  }
});

test('a request that does not arrive whole is ended', async (t) => {
  const { api } = await serve(t);
  const started = performance.now();
  await raw(api.socketPath, 'GET /v1/status HTTP/1.1\r\nHost');
  assert.ok(performance.now() - started >= limits.requestMs - 100);
}, 15_000);

test('a status that cannot be made is an error for one client only', async (t) => {
  let broken = true;
  const { api } = await serve(t, () => {
    if (broken) throw new Error('no status now');
    return sampleStatus;
  });
  const client = createClient(api.socketPath);
  assert.equal(await codeOf(client.status()), 'internal');
  broken = false;
  assert.deepEqual(await client.status(), sampleStatus);
});

test('more connections than the limit are dropped, and room is made again', async (t) => {
  const { api } = await serve(t);
  const sockets = Array.from({ length: limits.connections }, () => connect(api.socketPath));
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  assert.equal(await raw(api.socketPath, 'GET /v1/version HTTP/1.1\r\nHost: a\r\n\r\n'), '');
  await Promise.all(
    sockets.map((socket) => {
      socket.destroy();
      return once(socket, 'close');
    }),
  );
  const client = createClient(api.socketPath);
  while ((await codeOf(client.version())) !== 'none') assert.ok(!t.signal.aborted);
});

test('a watcher gets every event in order, with secrets hidden', async (t) => {
  const { api, emit, watchers } = await serve(t);
  const lines = createClient(api.socketPath).watch(t.signal);
  const first = lines.next();
  await watchers(1);
  emit(event('one'));
  emit({
    name: 'signal.serversOffered',
    event: {
      overlay: overlayId,
      stun: [],
      turn: [{ host: 'h', port: 1, transport: 'udp', user: 'u', password: new Secret('hunter2') }],
    },
  });
  const description = {
    nonce: '0'.repeat(16),
    ufrag: 'hunter2',
    password: 'hunter2hunter2hunter2!',
  };
  emit({
    name: 'links.messageReady',
    event: {
      overlay: overlayId,
      to: peerId,
      message: {
        kind: 'describe',
        description: { ...description, peerNonce: null, candidates: [], complete: false },
      },
    } as never,
  });
  const received = [await first, await lines.next(), await lines.next()].map(({ value }) => value);
  assert.deepEqual(
    received.map((line) => (line?.kind === 'event' ? line.name : null)),
    ['topology.linkUnwanted', 'signal.serversOffered', 'links.messageReady'],
  );
  assert.doesNotMatch(JSON.stringify(received), /hunter2/);
  await lines.return(undefined);
  await watchers(0);
});

test('a watcher that stops at any moment gets an end, no error', async (t) => {
  const { api, watchers } = await serve(t);
  const client = createClient(api.socketPath);
  const early = new AbortController();
  const first = client.watch(early.signal).next();
  early.abort();
  assert.equal((await first).done, true);
  const late = new AbortController();
  const second = client.watch(late.signal).next();
  await watchers(1);
  late.abort();
  assert.equal((await second).done, true);
  await watchers(0);
});

test('a slow watcher loses events, is told how many, and costs a bounded memory', async (t) => {
  const { api, emit, watchers } = await serve(t);
  const asked = request({ socketPath: api.socketPath, path: '/v1/watch', agent: false }).end();
  asked.on('error', () => {}); // the server ends it at the end of the test
  const [response] = await once(asked, 'response');
  response.pause();
  await watchers(1);
  const size = 10_000;
  const sent = (4 * maxWaitingBytes) / size;
  for (let i = 0; i < sent; i += 1) emit(event(`${i} ${'x'.repeat(size)}`));
  let text = '';
  const dropped = new Promise<number>((resolve) => {
    response.on('data', (data: Buffer) => {
      text += data.toString();
      const count = /"kind":"dropped","count":(\d+)/.exec(text)?.[1];
      if (count !== undefined) resolve(Number(count));
    });
  });
  response.resume();
  const count = await dropped;
  const kept = text.split('\n').filter((line) => line.includes('"event"')).length;
  assert.equal(kept + count, Math.ceil(sent));
  assert.ok(text.length < 2 * maxWaitingBytes);
  emit(event('after'));
  while (!text.includes('"after"')) await once(response, 'data');
  asked.destroy();
  await watchers(0);
});

test('a client that speaks to something else than a controller gets an error', async (t) => {
  const path = join(folder(t), '..', 's');
  const server = createServer((socket) => socket.end('HTTP/1.1 200 OK\r\n\r\n{"x":1}'));
  t.defer(() => void server.close());
  await once(server.listen(path), 'listening');
  assert.equal(await codeOf(createClient(path).status()), 'request.invalid');
});
