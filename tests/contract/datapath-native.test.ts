/** The native data path passes the contract, and what only it has: a TAP, super-frames, C++. */
import assert from 'node:assert/strict';
import { Worker } from 'node:worker_threads';
import { EvioError } from '../../base/errors.ts';
import { InterfaceName, NodeId } from '../../base/ids.ts';
import { loadAddon } from '../../tincan-bridge/datapath/addon.ts';
import type { Upcall } from '../../tincan-bridge/datapath/datapath.ts';
import { createNativeDatapath, kernelEvents } from '../../tincan-bridge/datapath/native.ts';
import * as wire from '../../tincan-bridge/datapath/wire.ts';
import { suite } from '../support/harness.ts';
import { assertWithin } from '../support/pace.ts';
import { makeHostSide, makeTap, noTap } from '../support/tap-bed.ts';
import { datapathSuite, until } from './datapath.suite.ts';

const why = noTap();

datapathSuite('native datapath', why, async (t, id) => {
  const host = await makeHostSide(t);
  const upcalls: Upcall[] = [];
  const onUpcalls = (some: readonly Upcall[]): void => void upcalls.push(...some);
  const datapath = createNativeDatapath({ tap: host.tap, nodeId: id, onUpcalls });
  t.defer(() => datapath.close());
  const { frames, inject } = host;
  await until('forwarding', host.ready);
  return { id, datapath, upcalls, frames, inject, address: '127.0.0.1' };
});

const test = suite('native addon');
const nodeId = NodeId.parse('a'.repeat(32));
const onUpcalls = (): void => {};

test('wire.h and wire.ts hold the same constants', () => {
  assert.deepEqual(loadAddon().wire, {
    ...wire.frameTypes,
    checksumUndone: wire.checksumUndone,
    envelopeBytes: wire.envelopeBytes,
    laneOpenssl: wire.lanes.openssl,
    laneOutbound: wire.lanes.outbound,
    laneInbound: wire.lanes.inbound,
    laneScript: wire.lanes.script,
    laneCapacity: wire.laneCapacity,
    replayWindow: wire.replayWindow,
    recordHeaderBytes: wire.recordHeaderBytes,
    channelDataHeaderBytes: wire.channelDataHeaderBytes,
    aes128Overhead: wire.recordOverhead['aes-128-gcm'],
    aes256Overhead: wire.recordOverhead['aes-256-gcm'],
    chachaOverhead: wire.recordOverhead['chacha20-poly1305'],
  });
});

const codeOf = (body: () => unknown): string | undefined => {
  try {
    body();
  } catch (error) {
    return error instanceof EvioError ? error.code : 'not an EvioError';
  }
  return undefined;
};

test.unless(why, 'a device that is missing, held, or no TAP is refused by name', async (t) => {
  const of = (tap: string): string | undefined =>
    codeOf(() => createNativeDatapath({ tap: InterfaceName.parse(tap), nodeId, onUpcalls }));
  assert.equal(of('evio-none'), 'host.command-failed');
  assert.equal(of('lo'), 'host.device-foreign');
  const tap = await makeTap(t, `t${process.pid}held`);
  const first = createNativeDatapath({ tap, nodeId, onUpcalls });
  t.defer(() => first.close());
  assert.equal(of(tap), 'host.device-foreign');
  first.close();
  createNativeDatapath({ tap, nodeId, onUpcalls }).close();
});

test.unless(why, 'closing ends both threads within 100 ms and frees the port', async (t) => {
  const tap = await makeTap(t, `t${process.pid}cl`);
  const datapath = createNativeDatapath({ tap, nodeId, onUpcalls });
  const { port } = datapath.openSocket(4, '127.0.0.1', 0);
  const start = performance.now();
  datapath.close();
  await assertWithin('closing', performance.now() - start, 100);
  const again = createNativeDatapath({ tap, nodeId, onUpcalls });
  t.defer(() => again.close());
  assert.equal(again.openSocket(4, '127.0.0.1', port).port, port);
  assert.equal(
    codeOf(() => datapath.counters()),
    'internal',
  );
});

/** Ethernet, IPv4, TCP with a time stamp option, `size` bytes of payload; checksum undone. */
function superFrame(size: number): Uint8Array {
  const frame = new Uint8Array(14 + 20 + 32 + size);
  const view = new DataView(frame.buffer);
  frame.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45]);
  view.setUint16(16, 52 + size);
  view.setUint16(18, 0xfffe);
  frame.set([64, 6], 22);
  frame.set([10, 0, 0, 1, 10, 0, 0, 2], 26);
  view.setUint32(38, 0xffff_ff00);
  frame.set([0x80, 0x99], 46); // CWR, ACK, PSH, FIN below
  for (let i = 66; i < frame.length; i++) frame[i] = i * 7;
  return frame;
}

function sum(bytes: Uint8Array, start = 0): number {
  let total = start;
  for (let i = 0; i < bytes.length; i += 2) total += (bytes[i] ?? 0) * 256 + (bytes[i + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 65_536);
  return total;
}

test('a TCP super-frame is cut with right lengths, numbers, flags and checksums', () => {
  const addon = loadAddon();
  const whole = superFrame(2500);
  whole[47] = 0x99; // CWR | ACK | PSH | FIN
  const facts = Uint8Array.from([1, 1 | 0x80, 66, 0, 1000 & 255, 1000 >> 8, 34, 0, 16, 0]);
  const parts = addon.completeFrame(whole, facts);
  assert.deepEqual(
    parts.map((p) => p.length),
    [1066, 1066, 566],
  );
  const payloads = Buffer.concat(parts.map((p) => p.subarray(66)));
  assert.equal(Buffer.compare(payloads, whole.subarray(66)), 0);
  const views = parts.map((p) => new DataView(p.buffer));
  assert.deepEqual(
    views.map((v) => v.getUint32(38)),
    [0xffff_ff00, 0xffff_ff00 + 1000 - 2 ** 32, 0xffff_ff00 + 2000 - 2 ** 32],
  );
  assert.deepEqual(
    views.map((v) => v.getUint16(18)),
    [0xfffe, 0xffff, 0],
  );
  assert.deepEqual(
    parts.map((p) => p[47]),
    [0x90, 0x10, 0x19],
  );
  for (const part of parts) {
    assert.equal(sum(part.subarray(14, 34)), 0xffff);
    assert.equal(sum(part.subarray(34), sum(part.subarray(26, 34), 6 + part.length - 34)), 0xffff);
  }
});

test('facts that contradict the frame give no frame and no crash', () => {
  const addon = loadAddon();
  const whole = superFrame(2500);
  let state = 99;
  const random = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 8;
  };
  for (let i = 0; i < 3000; i++) {
    const facts = Uint8Array.from({ length: 10 }, () => random());
    facts.set([1, [0, 1, 4, 5][i % 4] ?? 0, 66, 0]);
    if (i % 3 === 0) facts.set([34, 0, 16, 0], 6);
    if (i % 2 === 0) facts[5] = 0;
    const frame = Uint8Array.from(whole.subarray(0, random() % whole.length));
    if (frame.length > 60) frame[12 + (random() % 40)] = random();
    for (const part of addon.completeFrame(frame, facts)) assert.ok(part.length <= frame.length);
  }
  assert.deepEqual(
    addon.completeFrame(whole.subarray(0, 40), Uint8Array.of(1, 1, 0, 0, 9, 0, 34, 0, 16, 0)),
    [],
  );
});

test('arguments of the wrong kind throw and do no harm', () => {
  const addon = loadAddon();
  const call = (name: string, ...argv: unknown[]): void => {
    const method: unknown = Reflect.get(addon, name);
    if (typeof method === 'function') Reflect.apply(method, addon, argv);
  };
  for (const name of Object.keys(addon).filter((key) => key !== 'wire')) {
    assert.throws(() => call(name), TypeError, name);
    assert.throws(() => call(name, {}, 1, 'x', -1, null, 3, 4, 5, 6), TypeError, name);
  }
});

test.unless(why, 'a change of the network is told of, until the watch ends', async (t) => {
  let told = 0;
  const stop = kernelEvents(() => {
    told += 1;
  });
  await makeTap(t, `t${process.pid}k`);
  await until('the event', () => told > 0);
  stop();
  stop();
  const before = told;
  await makeTap(t, `t${process.pid}l`);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(told, before);
});

async function startWorker(tap: string): Promise<Worker> {
  const script = new URL('./datapath-worker.js', import.meta.url);
  const worker = new Worker(script, { workerData: { tap } });
  await new Promise((resolve) => worker.once('message', resolve));
  return worker;
}

test.unless(why, 'a worker that ends with an open data path leaves nothing', async (t) => {
  const tap = await makeTap(t, `t${process.pid}w`);
  const worker = await startWorker(tap);
  await worker.terminate();
  createNativeDatapath({ tap, nodeId, onUpcalls }).close();
});

test.unless(why, 'what onUpcalls throws is an uncaught exception', async (t) => {
  const worker = await startWorker(await makeTap(t, `t${process.pid}e`));
  const error = new Promise((resolve) => worker.once('error', resolve));
  const exit = new Promise((resolve) => worker.once('exit', resolve));
  worker.postMessage('throw');
  assert.match(String(await error), /thrown by onUpcalls/);
  await exit;
});
