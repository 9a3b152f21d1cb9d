/**
 * The DTLS handshake: with itself, with OpenSSL's s_server and s_client, and with peers that lie.
 * The liars are werift's DTLS ends, which check nothing and sign with whatever key they are given.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DtlsClient, DtlsServer } from 'werift';
import { EvioError } from '../../base/errors.ts';
import { exec } from '../../base/exec.ts';
import type {
  Handshake,
  HandshakeOptions,
  HandshakeState,
} from '../../tincan-bridge/datapath/handshake.ts';
import { openRecord, sealRecord } from '../../tincan-bridge/datapath/memory-records.ts';
import { createHandshake } from '../../tincan-bridge/datapath/native.ts';
import { lanes } from '../../tincan-bridge/datapath/wire.ts';
import { suite, type T } from '../support/harness.ts';
import { until } from './datapath.suite.ts';

interface Identity {
  readonly certificate: string;
  readonly key: string;
  readonly certificateFile: string;
  readonly keyFile: string;
}

const folder = mkdtempSync(join(tmpdir(), 'evio-handshake-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

async function identity(name: string, curve = 'prime256v1'): Promise<Identity> {
  const [keyFile, certificateFile] = [join(folder, `${name}.key`), join(folder, `${name}.crt`)];
  const newKey = ['-newkey', 'ec', '-pkeyopt', `ec_paramgen_curve:${curve}`, '-nodes'];
  const files = ['-keyout', keyFile, '-out', certificateFile];
  await exec([
    'openssl',
    'req',
    '-x509',
    ...newKey,
    ...files,
    '-subj',
    `/CN=${name}`,
    '-days',
    '2',
  ]);
  const read = (file: string): string => readFileSync(file, 'utf8');
  return { certificate: read(certificateFile), key: read(keyFile), certificateFile, keyFile };
}

const alice = await identity('alice');
const bob = await identity('bob');
const mallory = await identity('mallory');

function handshake(t: T, who: Identity, role: 'client' | 'server', more = {}): Handshake {
  const options: HandshakeOptions = {
    role,
    certificate: who.certificate,
    key: who.key,
    maxDatagramBytes: 1200,
    retransmitMs: 50,
    preferChaCha: false,
    ...more,
  };
  const made = createHandshake(options);
  t.defer(() => made.close());
  return made;
}

const derOf = (who: Identity): Buffer => new X509Certificate(who.certificate).raw;

type Done = Extract<HandshakeState, { state: 'done' }>;
function doneOf(state: HandshakeState): Done {
  assert.equal(state.state, 'done', state.state === 'failed' ? state.reason : '');
  if (state.state !== 'done') throw new Error('unreachable');
  return state;
}

/** Passes datagrams between two until neither has more; `lose` eats some. */
function pump(a: Handshake, b: Handshake, lose: (datagram: Uint8Array) => boolean = () => false) {
  let [ofA, ofB] = [a.start(), b.start()];
  let sizes: number[] = [];
  for (let round = 0; round < 20; round++) {
    const [fromA, fromB] = [a.take(), b.take()];
    sizes = [...sizes, ...fromA.map((d) => d.length), ...fromB.map((d) => d.length)];
    for (const d of fromA) if (!lose(d)) ofB = b.feed(d);
    for (const d of fromB) if (!lose(d)) ofA = a.feed(d);
  }
  return { a: ofA, b: ofB, sizes };
}

const test = suite('handshake');

test('two of ours agree on mirrored keys and prove their certificates', (t) => {
  const client = handshake(t, alice, 'client');
  const server = handshake(t, bob, 'server');
  const result = pump(client, server);
  const [ofClient, ofServer] = [doneOf(result.a), doneOf(result.b)];
  assert.equal(Buffer.compare(ofClient.peerCertificate, derOf(bob)), 0);
  assert.equal(Buffer.compare(ofServer.peerCertificate, derOf(alice)), 0);
  assert.equal(ofClient.cipher, 'ECDHE-ECDSA-AES128-GCM-SHA256');
  const { keys } = ofClient;
  assert.deepEqual(ofServer.keys, {
    suite: 'aes-128-gcm',
    sendKey: keys.receiveKey,
    sendIv: keys.receiveIv,
    receiveKey: keys.sendKey,
    receiveIv: keys.sendIv,
  });
  assert.match(client.keyLogLine() ?? '', /^CLIENT_RANDOM [0-9a-f]{64} [0-9a-f]{96}$/);
  assert.equal(client.keyLogLine(), server.keyLogLine());
});

test('datagrams stay within the bound that was asked for', (t) => {
  const small = { maxDatagramBytes: 300 };
  const result = pump(handshake(t, alice, 'client', small), handshake(t, bob, 'server', small));
  doneOf(result.a);
  doneOf(result.b);
  assert.ok(Math.max(...result.sizes) <= 300, `${result.sizes}`);
});

test('ChaCha20 is chosen when one side prefers it', (t) => {
  for (const [client, server] of [
    [true, false],
    [false, true],
  ]) {
    const a = handshake(t, alice, 'client', { preferChaCha: client });
    const b = handshake(t, bob, 'server', { preferChaCha: server });
    const { keys, cipher } = doneOf(pump(a, b).a);
    assert.equal(cipher, 'ECDHE-ECDSA-CHACHA20-POLY1305');
    assert.equal(keys.suite, 'chacha20-poly1305');
    assert.equal(keys.sendIv.length, 12);
  }
});

test('a lost last flight is sent again after the end, and alerts are not obeyed', async (t) => {
  const client = handshake(t, alice, 'client');
  const server = handshake(t, bob, 'server');
  let serverDone = false;
  client.start();
  server.start();
  for (let i = 0; i < 6; i++) {
    for (const d of client.take()) serverDone = server.feed(d).state === 'done';
    const flight = server.take();
    if (!serverDone) for (const d of flight) client.feed(d);
  }
  assert.ok(serverDone); // and its last flight was thrown away
  server.feed(Buffer.from('15fefd000000000000000900020228', 'hex')); // plaintext fatal alert
  client.feed(Buffer.from('15fefd000000000000000900020228', 'hex'));
  assert.deepEqual(server.take(), []);
  const deadline = client.deadlineMs();
  assert.ok(deadline !== null && deadline <= 50, `${deadline}`);
  await until('deadline', () => client.deadlineMs() === 0);
  assert.equal(client.expire().state, 'running');
  for (const d of client.take()) server.feed(d);
  const again = server.take();
  assert.ok(again.length > 0);
  const state = again.map((d) => client.feed(d)).at(-1);
  doneOf(state ?? client.start());
  assert.equal(client.deadlineMs(), null);
});

test('half of all datagrams lost only delays it', async (t) => {
  const client = handshake(t, alice, 'client', { retransmitMs: 5 });
  const server = handshake(t, bob, 'server', { retransmitMs: 5 });
  let n = 0;
  const arrives = (): boolean => {
    n = (n * 5 + 3) % 16;
    return n % 2 === 0 || n > 9;
  };
  let [ofClient, ofServer] = [client.start(), server.start()];
  await until('both done', () => {
    if (client.deadlineMs() === 0) ofClient = client.expire();
    if (server.deadlineMs() === 0) ofServer = server.expire();
    for (const d of client.take()) if (arrives()) ofServer = server.feed(d);
    for (const d of server.take()) if (arrives()) ofClient = client.feed(d);
    return ofClient.state !== 'running' && ofServer.state !== 'running';
  });
  doneOf(ofClient);
  doneOf(ofServer);
});

test('random and application datagrams are ignored while it runs and after', (t) => {
  const client = handshake(t, alice, 'client');
  const server = handshake(t, bob, 'server');
  const noise = [
    new Uint8Array(0),
    Uint8Array.of(22),
    Uint8Array.of(23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2),
    new Uint8Array(40).fill(0xee),
    new Uint8Array(70_000).fill(22),
    Uint8Array.of(22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 200, 1),
  ];
  server.start();
  for (const bytes of noise) assert.equal(server.feed(bytes).state, 'running');
  const result = pump(client, server);
  doneOf(result.a);
  for (const bytes of noise) assert.equal(client.feed(bytes).state, 'done');
  assert.deepEqual(client.take(), []);
});

test('an identity that is not a P-256 pair is refused', async (t) => {
  const other = await identity('p384', 'secp384r1');
  const cases = [
    { certificate: alice.certificate, key: bob.key },
    { certificate: other.certificate, key: other.key },
    { certificate: 'nonsense', key: alice.key },
  ];
  for (const pem of cases) {
    assert.throws(
      () => handshake(t, { ...alice, ...pem }, 'client'),
      (error) => error instanceof EvioError && error.code === 'identity.unusable',
    );
  }
});

/** Epoch and number of each record of a datagram, in hex. */
function numbersOf(datagram: Uint8Array): string[] {
  const numbers: string[] = [];
  const bytes = Buffer.from(datagram);
  for (let at = 0; at + 13 <= bytes.length; at += 13 + bytes.readUInt16BE(at + 11)) {
    numbers.push(bytes.toString('hex', at + 3, at + 11));
  }
  return numbers;
}

/** A handshake on a real socket; `other` says where to. */
function overUdp(t: T, made: Handshake, socket: Socket, other: () => number | undefined) {
  const live = { state: made.start(), data: [] as Uint8Array[], numbers: [] as string[] };
  const send = (): void => {
    const port = other();
    for (const d of made.take()) {
      live.numbers.push(...numbersOf(d));
      if (port !== undefined) socket.send(d, port, '127.0.0.1');
    }
  };
  socket.on('message', (d) => {
    live.numbers.push(...numbersOf(d));
    if (d[0] === 23) live.data.push(d);
    else live.state = made.feed(d);
    send();
  });
  send();
  const timer = setInterval(() => {
    if (made.deadlineMs() === 0) live.state = made.expire();
    send();
  }, 20);
  t.defer(() => clearInterval(timer));
  return live;
}

async function udpSocket(t: T): Promise<Socket> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  t.defer(() => new Promise<void>((resolve) => socket.close(() => resolve())));
  return socket;
}

function openssl(
  t: T,
  ...argv: string[]
): { readonly child: ChildProcess; readonly out: () => string } {
  const child = spawn('openssl', argv, { stdio: ['pipe', 'pipe', 'pipe'] });
  let text = '';
  child.stdout.on('data', (d: Buffer) => (text += d.toString()));
  child.stderr.on('data', (d: Buffer) => (text += d.toString()));
  t.defer(async () => {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) {
      await new Promise((resolve) => child.once('exit', resolve));
    }
  });
  return { child, out: () => text };
}

for (const role of ['client', 'server'] as const) {
  test(`openssl opens our records and we open its, with us as the ${role}`, async (t) => {
    const socket = await udpSocket(t);
    const identityOf = ['-cert', bob.certificateFile, '-key', bob.keyFile, '-dtls1_2'];
    const ours = handshake(t, alice, role);
    let port: number | undefined;
    let judge: ReturnType<typeof openssl>;
    if (role === 'client') {
      const spare = createSocket('udp4');
      await new Promise<void>((resolve) => spare.bind(0, '127.0.0.1', resolve));
      port = spare.address().port;
      await new Promise<void>((resolve) => spare.close(() => resolve()));
      judge = openssl(t, 's_server', '-accept', `127.0.0.1:${port}`, ...identityOf, '-Verify', '1');
      await until('s_server', () => judge.out().includes('ACCEPT'));
    } else {
      socket.on('message', (_, from) => (port = from.port));
      const to = `127.0.0.1:${socket.address().port}`;
      judge = openssl(t, 's_client', '-connect', to, ...identityOf);
    }
    const live = overUdp(t, ours, socket, () => port);
    await until('handshake', () => live.state.state !== 'running');
    const done = doneOf(live.state);
    assert.equal(Buffer.compare(done.peerCertificate, derOf(bob)), 0);
    const text = `frame over ${role}`;
    socket.send(
      sealRecord(done.keys, lanes.outbound, 1, Buffer.from(`${text}\n`)),
      port ?? 0,
      '127.0.0.1',
    );
    await until('openssl prints it', () => judge.out().includes(text));
    judge.child.stdin?.write('hello from openssl\n');
    await until('data', () => live.data.length > 0);
    const opened = openRecord(done.keys, live.data[0] ?? new Uint8Array());
    assert.equal(Buffer.from(opened?.plaintext ?? []).toString(), 'hello from openssl\n');
    // OpenSSL's own numbers are its lane's: small ones that no writer of ours ever uses.
    assert.equal(opened?.lane, lanes.openssl);
    const sealed = live.numbers.filter((number) => number.startsWith('0001'));
    assert.ok(
      sealed.length >= 3 && sealed.every((n) => n.startsWith('0001000000000')),
      `${sealed}`,
    );
  }, 10_000);
}

/** What a werift end wants for a transport, over a socket of ours. */
function transportOver(socket: Socket, port: () => number | undefined) {
  const transport = {
    type: 'udp',
    closed: false,
    address: { address: '127.0.0.1', port: 0, family: 'IPv4' },
    onData: (_data: Buffer, _from: [string, number]): void => {},
    send: async (data: Buffer): Promise<void> => void socket.send(data, port() ?? 0, '127.0.0.1'),
    close: async (): Promise<void> => {},
  };
  socket.on('message', (data, from) => transport.onData(data, [from.address, from.port]));
  return transport;
}

for (const role of ['client', 'server'] as const) {
  for (const honest of [true, false]) {
    const title = honest ? 'its own key is accepted' : 'another key than its own is refused';
    test(`as ${role}: a peer that signs with ${title}`, async (t) => {
      const [mine, theirs] = [await udpSocket(t), await udpSocket(t)];
      const live = overUdp(t, handshake(t, alice, role), mine, () => theirs.address().port);
      const options = {
        // The test's transport has what is used of werift's; its type asks for more.
        transport: transportOver(theirs, () => mine.address().port) as never,
        cert: bob.certificate,
        key: honest ? bob.key : mallory.key,
        signatureHash: { hash: 4, signature: 3 } as never,
        certificateRequest: true,
        extendedMasterSecret: true,
      };
      const peer = role === 'server' ? new DtlsClient(options) : new DtlsServer(options);
      let connected = false;
      peer.onConnect.subscribe(() => (connected = true));
      peer.onError.subscribe(() => {});
      if (peer instanceof DtlsClient) void peer.connect().catch(() => {});
      await until('an end', () => live.state.state !== 'running');
      if (honest) {
        doneOf(live.state);
        await until('peer connected', () => connected);
      } else {
        assert.equal(live.state.state, 'failed');
        assert.match(live.state.state === 'failed' ? live.state.reason : '', /signature/);
      }
      peer.dtls.flight = 99; // werift would go on retransmitting for 30 s
      peer.close();
    }, 10_000);
  }
}
