/**
 * The switch's pure parts: learning table, storm budget, "too big" answers.
 */
import { strict as assert, fail } from 'node:assert';
import { Mac, macBytes, NodeId } from '../../../base/ids.ts';
import {
  decodeResolution,
  ipTextOf,
} from '../../../tincan-bridge/fabric/core/address-resolution.ts';
import { Bindings, bindingMs, maxBindings } from '../../../tincan-bridge/fabric/core/bindings.ts';
import { fullBudget, spend } from '../../../tincan-bridge/fabric/core/budget.ts';
import {
  ageingMs,
  isGroup,
  MacTable,
  maxStations,
  maxStationsOfNode,
  type Place,
} from '../../../tincan-bridge/fabric/core/mac-table.ts';
import { tooBigAnswer } from '../../../tincan-bridge/fabric/core/too-big.ts';
import { portsOfFdb } from '../../../tincan-bridge/network/host-stations.ts';
import { suite } from '../../support/harness.ts';

const test = suite('fabric');
const local: Place = { kind: 'local' };
const node = (n: number): Place => ({
  kind: 'node',
  node: NodeId.parse(n.toString(16).padStart(32, '0')),
});
const mac = (n: number): Mac =>
  Mac.parse(`02:00:${n.toString(16).padStart(8, '0').match(/../g)?.join(':')}`);

test('a station is learnt, known, and followed when it moves between nodes', () => {
  const table = new MacTable();
  assert.deepEqual(table.learn(mac(1), node(1), 0), { kind: 'learnt', moved: false });
  assert.deepEqual(table.learn(mac(1), node(1), 1), { kind: 'known' });
  assert.deepEqual(table.learn(mac(1), node(2), 2), { kind: 'learnt', moved: true });
  assert.deepEqual(table.find(mac(1)), node(2));
  assert.deepEqual(table.forgetNode(NodeId.parse('1'.padStart(32, '0'))), []);
});

test('what the host side uses cannot be claimed by a node, until it is forgotten', () => {
  const table = new MacTable();
  table.learn(mac(1), local, 0);
  assert.deepEqual(table.learn(mac(1), node(1), 1), { kind: 'spoofed' });
  assert.deepEqual(table.find(mac(1)), local);
  assert.deepEqual(
    table.age(ageingMs, () => null),
    [mac(1)],
  );
  assert.deepEqual(table.learn(mac(1), node(1), ageingMs), { kind: 'learnt', moved: false });
  assert.deepEqual(table.learn(mac(1), local, ageingMs), { kind: 'learnt', moved: true });
});

test('a station that the host side does not have any more may be learnt elsewhere', () => {
  const table = new MacTable();
  table.learn(mac(1), local, 0);
  table.learn(mac(2), local, 0);
  table.learn(mac(3), node(1), 0);
  assert.deepEqual(
    table.releaseLocal((m) => m !== mac(2)),
    [mac(1)],
  );
  assert.deepEqual(table.learn(mac(1), node(1), 1), { kind: 'learnt', moved: false });
  assert.deepEqual(table.learn(mac(2), node(1), 1), { kind: 'spoofed' });
});

test('a node may say of its own stations alone that they are gone', () => {
  const table = new MacTable();
  const [one, two] = [1, 2].map((n) => NodeId.parse(`${n}`.padStart(32, '0')));
  assert.ok(one && two);
  table.learn(mac(1), node(1), 0);
  table.learn(mac(2), local, 0);
  assert.equal(table.gone(mac(1), two), false);
  assert.equal(table.gone(mac(2), one), false);
  assert.equal(table.gone(mac(1), one), true);
  assert.equal(table.find(mac(1)), null);
  assert.equal(table.size, 1);
});

test('a bridge’s table of stations is read as the kernel writes it', () => {
  const entry = (last: number, port: number): number[] => {
    const bytes = new Array<number>(16).fill(0);
    bytes.splice(0, 7, 2, 0, 0, 0, 0, last, port & 255);
    bytes[12] = port >> 8;
    return bytes;
  };
  const read = portsOfFdb(Uint8Array.from([...entry(1, 3), ...entry(2, 0x102), 1, 2, 3]));
  assert.deepEqual(
    [...read],
    [
      [mac(1), 3],
      [mac(2), 0x102],
    ],
  );
});

test('a station that the tables still see does not age', () => {
  const table = new MacTable();
  table.learn(mac(1), node(1), 0);
  table.learn(mac(2), node(1), 0);
  const idle = (m: Mac): number | null => (m === mac(1) ? 1_000 : ageingMs + 5);
  assert.deepEqual(table.age(ageingMs + 5, idle), [mac(2)]);
});

test('a session that ends takes its stations along, and makes room', () => {
  const table = new MacTable();
  for (let n = 0; n < maxStationsOfNode; n += 1) table.learn(mac(n), node(1), 0);
  assert.deepEqual(table.learn(mac(999_999), node(1), 0), { kind: 'full' });
  assert.equal(table.learn(mac(999_999), node(2), 0).kind, 'learnt');
  assert.equal(table.forgetNode(NodeId.parse('1'.padStart(32, '0'))).length, maxStationsOfNode);
  assert.equal(table.size, 1);
  assert.equal(table.learn(mac(5), node(1), 0).kind, 'learnt');
});

test('the table never holds more than its bound', () => {
  const table = new MacTable();
  for (let n = 0; n < maxStations + 100; n += 1) table.learn(mac(n), node(n % 16), 0);
  assert.equal(table.size, maxStations);
});

test('group addresses are told from others', () => {
  assert.deepEqual(
    ['ff:ff:ff:ff:ff:ff', '33:33:00:00:00:01', '01:00:5e:00:00:01', '02:00:00:00:00:01'].map((m) =>
      isGroup(Mac.parse(m)),
    ),
    [true, true, true, false],
  );
});

test('a budget allows its burst, then its rate', () => {
  let budget = fullBudget({ perSecond: 10, burst: 3 }, 0);
  const take = (nowMs: number): boolean => {
    const spent = spend(budget, nowMs);
    budget = spent.budget;
    return spent.allowed;
  };
  assert.deepEqual([take(0), take(0), take(0), take(0)], [true, true, true, false]);
  assert.deepEqual([take(50), take(100), take(101)], [false, true, false]);
  assert.equal(take(10), false, 'a clock that goes back gives nothing');
});

const [alice, bob] = [mac(0xa), mac(0xb)];
const ipv4 = (payload: number, over: Record<number, number> = {}): Uint8Array => {
  const frame = new Uint8Array(14 + 20 + payload);
  frame.set(macBytes(bob), 0);
  frame.set(macBytes(alice), 6);
  frame.set([8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2], 12);
  for (const [at, value] of Object.entries(over)) frame[Number(at)] = value;
  return frame;
};

/** RFC 1071: a block with its checksum in place sums to 0xffff. */
function sums(bytes: Uint8Array, start = 0): number {
  let total = start;
  for (let i = 0; i < bytes.length; i += 2) total += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}

test('an IPv4 packet that is too large is answered with "fragmentation needed" and the MTU', () => {
  const frame = ipv4(1_480);
  const answer = tooBigAnswer(frame, 1_420);
  assert.ok(answer !== null);
  assert.deepEqual([...answer.subarray(0, 12)], [...macBytes(alice), ...macBytes(bob)]);
  const packet = answer.subarray(14);
  assert.deepEqual([...packet.subarray(12, 20)], [10, 0, 0, 2, 10, 0, 0, 1]);
  assert.deepEqual([packet[20], packet[21]], [3, 4]);
  assert.equal(((packet[26] ?? 0) << 8) | (packet[27] ?? 0), 1_420);
  assert.equal(sums(packet.subarray(0, 20)), 0xffff);
  assert.equal(sums(packet.subarray(20)), 0xffff);
  assert.deepEqual(packet.subarray(28, 48), frame.subarray(14, 34));
  assert.ok(packet.length <= 576);
});

test('an IPv6 packet that is too large is answered with "packet too big"', () => {
  const frame = new Uint8Array(14 + 1_500);
  frame.set([...macBytes(bob), ...macBytes(alice), 0x86, 0xdd, 0x60, 0, 0, 0, 5, 0xb4, 17, 64]);
  frame[14 + 8] = 0xfd;
  frame[14 + 23] = 1;
  frame[14 + 24] = 0xfd;
  frame[14 + 39] = 2;
  const packet = tooBigAnswer(frame, 1_400)?.subarray(14);
  assert.ok(packet !== undefined);
  assert.deepEqual([packet[6], packet[40], packet[39]], [58, 2, 1]);
  assert.equal(new DataView(packet.buffer, packet.byteOffset).getUint32(44), 1_400);
  assert.ok(packet.length <= 1_280);
  const pseudo = sums(packet.subarray(8, 40), packet.length - 40 + 58);
  assert.equal(sums(packet.subarray(40), pseudo), 0xffff);
});

test('no answer to errors, groups, later fragments, or what is not IP', () => {
  assert.equal(tooBigAnswer(ipv4(1_480, { 23: 1, 34: 3 }), 1_420), null, 'an ICMP error');
  assert.notEqual(tooBigAnswer(ipv4(1_480, { 23: 1, 34: 8 }), 1_420), null, 'an echo request');
  assert.equal(tooBigAnswer(ipv4(1_480, { 30: 224 }), 1_420), null, 'a multicast group');
  assert.equal(tooBigAnswer(ipv4(1_480, { 0: 0xff }), 1_420), null, 'a broadcast frame');
  assert.equal(tooBigAnswer(ipv4(1_480, { 21: 1 }), 1_420), null, 'a later fragment');
  assert.equal(tooBigAnswer(ipv4(1_480, { 13: 6 }), 1_420), null, 'ARP');
  assert.equal(tooBigAnswer(new Uint8Array(3), 1_420), null);
});

test('the tag of a VLAN stays, and is counted', () => {
  const plain = ipv4(1_480);
  const tagged = new Uint8Array(plain.length + 4);
  tagged.set(plain.subarray(0, 12));
  tagged.set([0x81, 0, 0, 7], 12);
  tagged.set(plain.subarray(12), 16);
  const answer = tooBigAnswer(tagged, 1_420);
  assert.deepEqual([...(answer?.subarray(12, 18) ?? [])], [0x81, 0, 0, 7, 8, 0]);
  assert.equal(((answer?.[18 + 26] ?? 0) << 8) | (answer?.[18 + 27] ?? 0), 1_416);
});

const all = [255, 255, 255, 255, 255, 255];

/** An ARP frame; `change`: bytes of the frame that are others. */
function arp(
  operation: 1 | 2,
  [sender, target]: readonly [number, number],
  change: Readonly<Record<number, number>> = {},
): Uint8Array {
  const frame = new Uint8Array(60);
  frame.set(operation === 1 ? all : macBytes(bob));
  frame.set([...macBytes(alice), 8, 6, 0, 1, 8, 0, 6, 4, 0, operation, ...macBytes(alice)], 6);
  frame.set([10, 0, 0, sender], 28);
  frame.set([10, 0, 0, target], 38);
  for (const [at, byte] of Object.entries(change)) frame[Number(at)] = byte;
  return frame;
}

/** Neighbour discovery of alice, fd00::1. */
function discovery(type: 135 | 136, change: Readonly<Record<number, number>> = {}): Uint8Array {
  const frame = new Uint8Array(14 + 40 + 32);
  frame.set([
    0x33,
    0x33,
    0xff,
    0,
    0,
    2,
    ...macBytes(alice),
    0x86,
    0xdd,
    0x60,
    0,
    0,
    0,
    0,
    32,
    58,
    255,
  ]);
  frame.set([0xfd], 22);
  frame.set([1], 37);
  frame.set([type], 54);
  frame.set([0xfd], 62);
  frame.set([type === 135 ? 2 : 1], 77);
  frame.set([type === 135 ? 1 : 2, 1, ...macBytes(alice)], 78);
  for (const [at, byte] of Object.entries(change)) frame[Number(at)] = byte;
  return frame;
}

const ip6 = (last: number): string => `fd${'0'.repeat(29)}${last}`;

test('questions for addresses are read, and who says what of itself', () => {
  const says = { ip: '0a000001', mac: alice };
  const asks = { ip: '0a000002', asker: '0a000001' };
  assert.deepEqual(decodeResolution(arp(1, [1, 2])), { asks, says });
  assert.deepEqual(decodeResolution(arp(2, [1, 2])), { asks: null, says });
  assert.deepEqual(decodeResolution(arp(1, [1, 1])), { asks: null, says }, 'an announcement');
  assert.deepEqual(
    decodeResolution(arp(1, [0, 2], { 28: 0, 29: 0, 30: 0 })),
    { asks: null, says: null },
    'a probe for one’s own address',
  );
  const forAnother = { asks: null, says: null };
  assert.deepEqual(decodeResolution(arp(2, [1, 2], { 22: 6 })), forAnother);
  assert.equal(decodeResolution(arp(1, [1, 2], { 15: 6 })), null, 'not Ethernet');
  assert.equal(decodeResolution(arp(1, [1, 2], { 21: 3 })), null, 'reverse ARP');
  assert.equal(decodeResolution(arp(1, [1, 2]).subarray(0, 41)), null);

  assert.deepEqual(decodeResolution(discovery(135)), {
    asks: { ip: ip6(2), asker: ip6(1) },
    says: { ip: ip6(1), mac: alice },
  });
  assert.deepEqual(decodeResolution(discovery(136)), {
    asks: null,
    says: { ip: ip6(1), mac: alice },
  });
  const probe = discovery(135, { 22: 0, 37: 0 });
  assert.deepEqual(decodeResolution(probe), { asks: null, says: null }, 'duplicate detection');
  assert.equal(decodeResolution(discovery(135, { 21: 64 })), null, 'it came from elsewhere');
  assert.equal(decodeResolution(discovery(135, { 54: 133 })), null, 'a router is sought');
});

test('an address that is known is asked of its station alone, and of all when that does not answer', () => {
  const bindings = new Bindings();
  const question = decodeResolution(arp(1, [2, 1]));
  const answer = decodeResolution(arp(2, [1, 2]));
  assert.ok(question !== null && answer !== null);
  const asked = (atMs: number) => bindings.askedBy(bob, question.asks ?? fail(), atMs)?.station;
  assert.equal(asked(0), undefined, 'nobody has said so yet');
  bindings.learn(answer, 10);
  assert.equal(asked(1_000), undefined, 'was asked just now');
  assert.equal(asked(20_000), alice);
  assert.equal(asked(21_000), undefined, 'did not answer');
  assert.equal(asked(10 + bindingMs), undefined, 'too long ago');
  bindings.isNew(bob);
  assert.equal(asked(40_000), undefined, 'nobody knows bob here');
  assert.equal(asked(60_000), alice);
  const statement = (mac: Mac) => ({ asks: null, says: { ip: '0a000001', mac } });
  bindings.learn(statement(bob), 1_000_000);
  assert.equal(asked(1_000_001), undefined, 'two say that they have it');
  assert.equal(asked(1_020_000), bob);
});

test('an address that a node announces is asked of it alone, unless another one announces it too', () => {
  const bindings = new Bindings();
  const [one, other] = [1, 2].map((n) => NodeId.parse(`${n}`.padStart(32, '0')));
  assert.ok(one !== undefined && other !== undefined);
  const ip = ipTextOf('10.0.0.1');
  assert.equal(ip, '0a000001');
  const question = { ip, asker: '0a000002' };
  bindings.setHosts([
    { node: one, address: '10.0.0.1' },
    { node: other, address: 'fd77::2' },
    { node: other, address: 'no address' },
  ]);
  assert.equal(bindings.askedBy(bob, question, 0), null, 'nobody knows bob here');
  assert.deepEqual(bindings.askedBy(bob, question, 20_000), { station: null, node: one });
  assert.equal(bindings.askedBy(bob, question, 21_000), null, 'it did not answer');
  const inIpv6 = { ip: ipTextOf('fd77::2') ?? fail(), asker: ipTextOf('fd77::1') ?? fail() };
  assert.deepEqual(bindings.askedBy(bob, inIpv6, 22_000), { station: null, node: other });
  bindings.learn({ asks: null, says: { ip, mac: alice } }, 40_000);
  assert.deepEqual(bindings.askedBy(bob, question, 50_000), { station: alice, node: one });
  bindings.setHosts([
    { node: one, address: '10.0.0.1' },
    { node: other, address: '10.0.0.1' },
  ]);
  assert.deepEqual(bindings.askedBy(bob, question, 70_000), { station: alice, node: null });
  bindings.learn({ asks: null, says: { ip, mac: bob } }, 80_000);
  assert.equal(bindings.askedBy(bob, question, 85_000), null, 'two stations say that they have it');
});

test('of addresses only so many are remembered', () => {
  const bindings = new Bindings();
  for (let n = 0; n < maxBindings + 10; n += 1) {
    bindings.learn({ asks: null, says: { ip: `${n}`, mac: alice } }, n);
  }
  assert.equal(bindings.size, maxBindings);
});
