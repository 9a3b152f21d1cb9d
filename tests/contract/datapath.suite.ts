/**
 * What any Datapath must do, run on the native one and on its in-memory twin. A bed makes nodes;
 * each has a host side: frames that the host sends, and those that it gets.
 */
import assert from 'node:assert/strict';
import { EvioError } from '../../base/errors.ts';
import { Mac, NodeId } from '../../base/ids.ts';
import type {
  Datapath,
  Endpoint,
  Path,
  RecordKeys,
  Upcall,
} from '../../tincan-bridge/datapath/datapath.ts';
import type { Suite } from '../../tincan-bridge/datapath/wire.ts';
import { recordOverhead } from '../../tincan-bridge/datapath/wire.ts';
import { suite as named, type T } from '../support/harness.ts';

export interface Node {
  readonly id: NodeId;
  readonly datapath: Datapath;
  readonly upcalls: Upcall[];
  /** Ethernet frames that the host got. */
  readonly frames: Uint8Array[];
  /** A frame from the host. */
  readonly inject: (bytes: Uint8Array) => void;
  /** Where its sockets can be reached. */
  readonly address: string;
}

/** Makes a node; undone by the test. */
export type MakeNode = (t: T, id: NodeId) => Promise<Node>;

const ids = [1, 2, 3].map((n) => NodeId.parse(String(n).repeat(32)));
const macs = [1, 2, 3].map((n) => Mac.parse(`02:00:00:00:00:0${n}`));
const id = (n: number): NodeId => ids[n] ?? NodeId.parse('');
const mac = (n: number): Mac => macs[n] ?? Mac.parse('');

export async function until(what: string, ready: () => boolean): Promise<void> {
  const start = performance.now();
  while (!ready()) {
    if (performance.now() - start > 10_000) throw new Error(`never happened: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

const bytesOf = (m: Mac): number[] => m.split(':').map((b) => Number.parseInt(b, 16));

/** A frame of an EtherType for experiments, so that no kernel answers it. */
export function frame(to: Mac, from: Mac, size = 60, fill = 7): Uint8Array {
  const bytes = new Uint8Array(size).fill(fill);
  bytes.set([...bytesOf(to), ...bytesOf(from), 0x88, 0xb5]);
  return bytes;
}

export function keyPair(suite: Suite = 'aes-128-gcm', seed = 1): [RecordKeys, RecordKeys] {
  const size = suite === 'aes-128-gcm' ? 16 : 32;
  const ivSize = suite === 'chacha20-poly1305' ? 12 : 4;
  const one = { key: new Uint8Array(size).fill(seed), iv: new Uint8Array(ivSize).fill(seed + 1) };
  const two = {
    key: new Uint8Array(size).fill(seed + 2),
    iv: new Uint8Array(ivSize).fill(seed + 3),
  };
  const of = (a: typeof one, b: typeof one): RecordKeys => ({
    suite,
    sendKey: a.key,
    sendIv: a.iv,
    receiveKey: b.key,
    receiveIv: b.iv,
  });
  return [of(one, two), of(two, one)];
}

interface Link {
  readonly a: Node;
  readonly b: Node;
  readonly socketA: number;
  readonly socketB: number;
  readonly toA: Endpoint;
  readonly toB: Endpoint;
}

function open(node: Node): { readonly socket: number; readonly at: Endpoint } {
  const { socket, port } = node.datapath.openSocket(4, node.address, 0);
  return { socket, at: { address: node.address, port } };
}

function join(a: Node, b: Node, number: number, suite: Suite = 'aes-128-gcm'): Link {
  const [keysA, keysB] = keyPair(suite, number * 16);
  const [endA, endB] = [open(a), open(b)];
  const udp = (socket: number, to: Endpoint): Path => ({ kind: 'udp', socket, to });
  a.datapath.addSession({
    session: number,
    peer: b.id,
    keys: keysA,
    path: udp(endA.socket, endB.at),
    sockets: [endA.socket],
    maxFrameBytes: 1400,
  });
  b.datapath.addSession({
    session: number,
    peer: a.id,
    keys: keysB,
    path: udp(endB.socket, endA.at),
    sockets: [endB.socket],
    maxFrameBytes: 1400,
  });
  return { a, b, socketA: endA.socket, socketB: endB.socket, toA: endA.at, toB: endB.at };
}

function stations(link: Link, session: number): void {
  link.a.datapath.setStation(mac(0), { kind: 'local' });
  link.a.datapath.setStation(mac(1), { kind: 'session', session });
  link.b.datapath.setStation(mac(1), { kind: 'local' });
  link.b.datapath.setStation(mac(0), { kind: 'session', session });
}

const has = (frames: readonly Uint8Array[], wanted: Uint8Array): boolean =>
  frames.some((f) => Buffer.compare(f, wanted) === 0);

const datagrams = (node: Node): Uint8Array[] =>
  node.upcalls.flatMap((u) => (u.kind === 'datagram' ? [u.bytes] : []));

const isCode =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof EvioError && error.code === code;

export function datapathSuite(name: string, why: string | null, make: MakeNode): void {
  const all = named(name);
  const test = (title: string, body: (t: T) => Promise<void>): void =>
    all.unless(why, title, body, 20_000);
  const pair = async (t: T): Promise<[Node, Node]> => [await make(t, id(0)), await make(t, id(1))];

  test('a datagram that is no record comes up with its sender', async (t) => {
    const [a, b] = await pair(t);
    const [endA, endB] = [open(a), open(b)];
    assert.equal(a.datapath.sendDatagram(endA.socket, endB.at, Uint8Array.of(0, 1, 2)), true);
    await until('datagram', () => b.upcalls.length > 0);
    const wanted = {
      kind: 'datagram',
      socket: endB.socket,
      from: endA.at,
      bytes: Uint8Array.of(0, 1, 2),
    };
    assert.deepEqual(b.upcalls, [wanted]);
    b.datapath.injectDatagram(endB.socket, endA.at, Uint8Array.of(22, 9));
    await until('injected datagram', () => b.upcalls.length > 1);
    assert.deepEqual(b.upcalls[1], { ...wanted, bytes: Uint8Array.of(22, 9) });
  });

  test('a port that is taken is refused, and free once its socket is closed', async (t) => {
    const a = await make(t, id(0));
    const { socket, port } = a.datapath.openSocket(4, a.address, 0);
    assert.throws(() => a.datapath.openSocket(4, a.address, port), isCode('host.command-failed'));
    a.datapath.closeSocket(socket);
    a.datapath.closeSocket(socket);
    const again = a.datapath.openSocket(4, a.address, port);
    assert.equal(again.port, port);
    const to = { address: a.address, port };
    assert.equal(a.datapath.sendDatagram(socket, to, Uint8Array.of(1)), false);
    assert.equal(a.datapath.sendDatagram(again.socket, to, new Uint8Array(65_508)), false);
    assert.equal(a.datapath.counters().sendErrors, 2);
  });

  for (const suite of ['aes-128-gcm', 'aes-256-gcm', 'chacha20-poly1305'] as const) {
    test(`a frame between known stations crosses a session of ${suite}`, async (t) => {
      const [a, b] = await pair(t);
      const link = join(a, b, 1, suite);
      stations(link, 1);
      const sent = frame(mac(1), mac(0), 1400);
      a.inject(sent);
      await until('frame', () => has(b.frames, sent));
      const back = frame(mac(0), mac(1), 60);
      b.inject(back);
      await until('frame back', () => has(a.frames, back));
      const counters = b.datapath.sessionCounters(1);
      assert.equal(counters?.receivedFrames, 1);
      assert.equal(counters?.receivedBytes, 1401);
      assert.equal(counters?.sentFrames, 1);
      assert.deepEqual([a.upcalls, b.upcalls], [[], []]);
    });
  }

  test('frames that the tables do not answer come up with the reason', async (t) => {
    const [a, b] = await pair(t);
    stations(join(a, b, 1), 1);
    const cases = [
      [frame(Mac.parse('ff:ff:ff:ff:ff:ff'), mac(0)), 'group'],
      [frame(mac(2), mac(0)), 'unknown-destination'],
      [frame(mac(1), mac(2)), 'source'],
      [frame(mac(1), mac(0), 1401), 'too-big'],
    ] as const;
    for (const [bytes, reason] of cases) {
      const before = a.upcalls.length;
      a.inject(bytes);
      await until(reason, () => a.upcalls.length > before);
      const session = reason === 'too-big' ? 1 : 0;
      const offload = null;
      assert.deepEqual(a.upcalls.at(-1), {
        kind: 'frame-out',
        reason,
        frame: { bytes, offload },
        session,
      });
    }
    assert.equal(a.datapath.sessionCounters(1)?.tooBig, 1);
  });

  test('a source that is not the peer goes up, one that is ours is dropped', async (t) => {
    const [a, b] = await pair(t);
    stations(join(a, b, 1), 1);
    const strange = frame(mac(1), mac(2));
    assert.equal(a.datapath.sendFrame(1, 'ethernet', { bytes: strange, offload: null }), true);
    await until('frame-in', () => b.upcalls.length > 0);
    assert.deepEqual(b.upcalls[0], {
      kind: 'frame-in',
      reason: 'source',
      session: 1,
      frame: { bytes: strange, offload: null },
    });
    a.datapath.sendFrame(1, 'ethernet', { bytes: frame(mac(0), mac(1)), offload: null });
    await until('spoofed', () => b.datapath.counters().spoofed === 1);
    b.datapath.setStation(mac(2), { kind: 'drop' });
    a.datapath.sendFrame(1, 'ethernet', { bytes: strange, offload: null });
    await until('dropped', () => b.datapath.counters().dropped === 1);
    assert.equal(b.frames.length, 0);
  });

  test('of what may say who has an address a copy goes up', async (t) => {
    const [a, b] = await pair(t);
    stations(join(a, b, 1), 1);
    const of = (type: number, icmp: number): Uint8Array => {
      const bytes = new Uint8Array(86);
      bytes.set(frame(mac(1), mac(0)).subarray(0, 12));
      bytes.set([type >> 8, type & 255], 12);
      bytes[20] = 58;
      bytes[54] = icmp;
      return bytes;
    };
    const asking = [of(0x0806, 0), of(0x86dd, 135), of(0x86dd, 136)];
    const others = [of(0x86dd, 134), of(0x0800, 135)];
    for (const bytes of [...others, ...asking]) {
      a.datapath.sendFrame(1, 'ethernet', { bytes, offload: null });
    }
    await until('frame-in', () => b.upcalls.length === asking.length);
    const raised = asking.map((bytes) => ({
      ...({ kind: 'frame-in', reason: 'resolution', session: 1 } as const),
      frame: { bytes, offload: null },
    }));
    assert.deepEqual(b.upcalls, raised);
    await until('delivered', () => b.datapath.counters().tapWrittenFrames >= 5);
  });

  test('a peer that spoofs a station of ours does not keep its entry alive', async (t) => {
    const [a, b] = await pair(t);
    stations(join(a, b, 1), 1);
    const idle = (m: Mac): number => b.datapath.stationIdleMs(m) ?? -1;
    await until('both entries idle', () => Math.min(idle(mac(0)), idle(mac(1))) >= 100);
    a.datapath.sendFrame(1, 'ethernet', { bytes: frame(mac(0), mac(1)), offload: null });
    await until('spoofed', () => b.datapath.counters().spoofed === 1);
    assert.ok(idle(mac(1)) >= 100);
    // The same peer's own station is used by its frames.
    const sent = frame(mac(1), mac(0));
    a.inject(sent);
    await until('frame', () => has(b.frames, sent));
    assert.ok(idle(mac(0)) < idle(mac(1)));
  });

  test('flood and control payloads come up with the checksum bit', async (t) => {
    const [a, b] = await pair(t);
    join(a, b, 1);
    const bytes = Uint8Array.of(1, 2, 3);
    const offload = Uint8Array.of(1, 0, 0, 0, 0, 0, 34, 0, 16, 0);
    a.datapath.sendFrame(1, 'control', { bytes, offload: null });
    a.datapath.sendFrame(1, 'flood', { bytes, offload });
    await until('messages', () => b.upcalls.length === 2);
    assert.deepEqual(b.upcalls, [
      { kind: 'message', type: 'control', session: 1, bytes, checksumUndone: false },
      { kind: 'message', type: 'flood', session: 1, bytes, checksumUndone: true },
    ]);
  });

  test('records carry epoch 1, the lane of their writer, and numbers from 1', async (t) => {
    const [a, b] = await pair(t);
    stations(join(a, b, 1), 1);
    const spy = await wiretap(t, make, a);
    for (let i = 0; i < 2; i++)
      a.datapath.sendFrame(1, 'control', { bytes: Uint8Array.of(5), offload: null });
    a.inject(frame(mac(1), mac(0)));
    await until('three records', () => envelopes(spy).length === 3);
    // Type, version, epoch, number: one of the outbound lane, two of the script's.
    const heads = envelopes(spy).map((r) => Buffer.from(r.subarray(0, 11)).toString('hex'));
    const lane = (number: number, counter: number): string =>
      `17fefd0001${number}${'0'.repeat(10)}${counter}`;
    assert.deepEqual(heads.sort(), [lane(1, 1), lane(3, 1), lane(3, 2)]);
    a.datapath.setPath(1, { kind: 'none' }, [], 1400);
    assert.equal(
      a.datapath.sendFrame(1, 'control', { bytes: Uint8Array.of(5), offload: null }),
      false,
    );
    assert.equal(a.datapath.sessionCounters(1)?.noPath, 1);
  });

  test('a session over TURN is opened from ChannelData and from injected bytes', async (t) => {
    const [a, b] = await pair(t);
    const link = join(a, b, 1);
    stations(link, 1);
    a.datapath.setPath(
      1,
      { kind: 'turn', socket: link.socketA, to: link.toB, channel: 0x4abc },
      [link.socketA],
      1400,
    );
    const sent = frame(mac(1), mac(0), 100);
    a.inject(sent);
    await until('frame over ChannelData', () => has(b.frames, sent));
    const stun = Uint8Array.of(0x40, 1, 0, 4, 0, 1, 0, 0);
    a.datapath.sendDatagram(link.socketA, link.toB, stun);
    await until('ChannelData with STUN', () => b.upcalls.length > 0);
    assert.deepEqual(datagrams(b), [stun]);
  });

  test('replayed, forged, cut and stretched records are counted, never delivered', async (t) => {
    const [a, b] = await pair(t);
    const link = join(a, b, 1);
    const spy = await wiretap(t, make, a);
    a.datapath.sendFrame(1, 'control', { bytes: Uint8Array.of(5), offload: null });
    await until('a record', () => envelopes(spy).length === 1);
    const record = envelopes(spy)[0] ?? new Uint8Array();
    const send = (bytes: Uint8Array): boolean =>
      a.datapath.sendDatagram(link.socketA, link.toB, bytes);
    const counters = (): ReturnType<Datapath['sessionCounters']> => b.datapath.sessionCounters(1);
    send(record);
    await until('the record', () => b.upcalls.length === 1);
    send(record);
    await until('replay', () => counters()?.replayed === 1);
    const forged = Uint8Array.from(record);
    forged[record.length - 1] = (forged.at(-1) ?? 0) ^ 1;
    send(forged);
    await until('forged', () => counters()?.forged === 1);
    send(record.subarray(0, record.length - 1));
    send(Uint8Array.of(...record, 0));
    send(Uint8Array.of(...record.subarray(0, 11), 0, 3, 1, 2, 3));
    await until('malformed', () => b.datapath.counters().unopened === 4);
    assert.equal(b.upcalls.length, 1);
    assert.equal(record[0], 23);
    assert.deepEqual([...record.subarray(3, 11)], [0, 1, 0x30, 0, 0, 0, 0, 1]);
    assert.equal(record.length, 2 + recordOverhead['aes-128-gcm']);
  });

  test('random datagrams neither end nor confuse it', async (t) => {
    const [a, b] = await pair(t);
    const link = join(a, b, 1);
    let state = 12345;
    const random = (): number => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return state >>> 16;
    };
    for (let i = 0; i < 600; i++) {
      const bytes = Uint8Array.from({ length: random() % 90 }, () => random());
      const firsts = [23, 64, 22, 0, 79, 20];
      if (bytes.length > 2 && i % 2 === 0) bytes.set([firsts[i % 6] ?? 0, 0xfe, 0xfd]);
      if (bytes.length > 20 && i % 4 === 0) bytes.set([0, 1], 3);
      b.datapath.injectDatagram(link.socketB, link.toA, bytes);
    }
    a.datapath.sendFrame(1, 'control', { bytes: Uint8Array.of(9), offload: null });
    await until('control afterwards', () => b.upcalls.some((u) => u.kind === 'message'));
    assert.equal(b.datapath.sessionCounters(1)?.receivedFrames, 1);
  });

  test('the ring path crosses a transit node, which sees no frame', async (t) => {
    const [a, b] = await pair(t);
    const r = await make(t, id(2));
    ring(a, r, b);
    const sent = frame(mac(1), mac(0), 1000);
    a.inject(sent);
    await until('frame over the ring', () => has(b.frames, sent));
    const back = frame(mac(0), mac(1), 90);
    b.inject(back);
    await until('frame back', () => has(a.frames, back));
    assert.equal(r.datapath.counters().relayed, 2);
    assert.deepEqual([r.frames, r.upcalls], [[], []]);
    assert.equal(b.datapath.sessionCounters(9)?.receivedFrames, 1);
    const payload = [a, b].map(({ datapath }) => {
      const { sentPayloadBytes = 0, receivedPayloadBytes = 0 } = datapath.sessionCounters(9) ?? {};
      return [sentPayloadBytes, receivedPayloadBytes];
    });
    assert.deepEqual(payload, [
      [1000, 90],
      [90, 1000],
    ]);
    const hop = r.datapath.sessionCounters(2);
    assert.ok((hop?.receivedBytes ?? 0) > 1000, 'what is carried for others');
    assert.deepEqual([hop?.sentPayloadBytes, hop?.receivedPayloadBytes], [0, 0]);
  });

  test('a relay that leads back to where the envelope came from is not followed', async (t) => {
    const [a, b] = await pair(t);
    const r = await make(t, id(2));
    ring(a, r, b);
    r.datapath.setRelay(id(1), 2); // stale: it leads to A
    a.datapath.sendEnvelope(2, id(0), id(1), 5, Uint8Array.of(22, 1));
    await until('it comes up', () => r.upcalls.length === 1);
    assert.deepEqual([r.upcalls[0]?.kind, a.upcalls.length], ['envelope', 0]);
  });

  test('envelopes: no relay goes up, used-up ttl is counted, ours goes up', async (t) => {
    const [a, b] = await pair(t);
    const r = await make(t, id(2));
    ring(a, r, b);
    const bytes = Uint8Array.of(22, 1, 2);
    a.datapath.sendEnvelope(2, id(0), id(1), 5, bytes);
    await until('envelope at its end', () => b.upcalls.length === 1);
    assert.deepEqual(b.upcalls[0], {
      kind: 'envelope',
      session: 3,
      source: id(0),
      destination: id(1),
      ttl: 4,
      bytes,
    });
    a.datapath.sendEnvelope(2, id(0), id(1), 1, bytes);
    await until('ttl', () => r.datapath.counters().ttlExpired === 1);
    r.datapath.removeRelay(id(1));
    a.datapath.sendEnvelope(2, id(0), id(1), 5, bytes);
    await until('no relay', () => r.upcalls.length === 1);
    assert.equal(r.upcalls[0]?.kind, 'envelope');
  });

  test('a new session replaces the old without a lost frame', async (t) => {
    const [a, b] = await pair(t);
    const link = join(a, b, 1);
    stations(link, 1);
    const [keysA, keysB] = keyPair('chacha20-poly1305', 77);
    const common = { session: 2, maxFrameBytes: 1400 };
    const pathA: Path = { kind: 'udp', socket: link.socketA, to: link.toB };
    const pathB: Path = { kind: 'udp', socket: link.socketB, to: link.toA };
    b.datapath.addSession({
      ...common,
      peer: id(0),
      keys: keysB,
      path: pathB,
      sockets: [link.socketB],
    });
    a.datapath.addSession({
      ...common,
      peer: id(1),
      keys: keysA,
      path: pathA,
      sockets: [link.socketA],
    });
    a.datapath.replaceSession(1, 2);
    const sent = frame(mac(1), mac(0), 200);
    a.inject(sent);
    await until('frame over the new one', () => has(b.frames, sent));
    assert.equal(b.upcalls.length, 0, 'a station may come by any association with its node');
    a.datapath.sendFrame(1, 'control', { bytes: Uint8Array.of(1), offload: null });
    await until('the old one still opens', () => b.upcalls.length === 1);
    a.datapath.removeSession(1);
    assert.equal(a.datapath.sessionCounters(1), null);
    assert.notEqual(a.datapath.stationIdleMs(mac(1)), null);
    a.datapath.removeSession(2);
    assert.equal(a.datapath.stationIdleMs(mac(1)), null);
  });

  test('wrong use is refused: taken number, short key, unknown session', async (t) => {
    const [a, b] = await pair(t);
    join(a, b, 1);
    const [keys] = keyPair();
    const options = {
      peer: id(1),
      path: { kind: 'none' },
      sockets: [],
      maxFrameBytes: 1400,
    } as const;
    const { datapath } = a;
    assert.throws(() => datapath.addSession({ ...options, session: 1, keys }), isCode('internal'));
    const short = { ...keys, sendKey: new Uint8Array(3) };
    assert.throws(
      () => datapath.addSession({ ...options, session: 4, keys: short }),
      isCode('internal'),
    );
    const station = { kind: 'session', session: 5 } as const;
    assert.throws(() => datapath.setStation(mac(2), station), isCode('internal'));
    assert.equal(datapath.sessionCounters(4), null);
    datapath.close();
    datapath.close();
  });
}

/**
 * Turns session 1 of `a` so that its records come up whole at the node returned: in envelopes that
 * it has no relay for.
 */
async function wiretap(t: T, make: MakeNode, a: Node): Promise<Node> {
  const spy = await make(t, id(2));
  join(a, spy, 2);
  a.datapath.setPath(1, { kind: 'ring', via: 2, ttl: 3 }, [], 1400);
  return spy;
}

const envelopes = (node: Node): Uint8Array[] =>
  node.upcalls.flatMap((u) => (u.kind === 'envelope' ? [u.bytes] : []));

/** a – r – b: session 2 a–r, session 3 r–b, session 9 a–b over the ring. */
function ring(a: Node, r: Node, b: Node): void {
  join(a, r, 2);
  join(r, b, 3);
  const [keysA, keysB] = keyPair('aes-128-gcm', 144);
  const common = { session: 9, sockets: [], maxFrameBytes: 1400 };
  const ttl = 7;
  a.datapath.addSession({
    ...common,
    peer: b.id,
    keys: keysA,
    path: { kind: 'ring', via: 2, ttl },
  });
  b.datapath.addSession({
    ...common,
    peer: a.id,
    keys: keysB,
    path: { kind: 'ring', via: 3, ttl },
  });
  r.datapath.setRelay(a.id, 2);
  r.datapath.setRelay(b.id, 3);
  stations(
    { a, b, socketA: 0, socketB: 0, toA: { address: '', port: 0 }, toB: { address: '', port: 0 } },
    9,
  );
}
