/**
 * The small parts of the fabric's shell: frames that wait, online nodes, relay entries, traces.
 */
import { strict as assert } from 'node:assert';
import { NodeId } from '../../../../base/ids.ts';
import {
  decodeTrace,
  encodeTrace,
  maxTraceHops,
  passTrace,
} from '../../../../tincan-bridge/fabric/core/trace.ts';
import { OnlineNodes } from '../../../../tincan-bridge/fabric/online-nodes.ts';
import { RelayTable } from '../../../../tincan-bridge/fabric/relay-table.ts';
import { WaitingFrames } from '../../../../tincan-bridge/fabric/waiting-frames.ts';
import { suite } from '../../../support/harness.ts';

const test = suite('fabric shell');
const id = (n: number): NodeId => NodeId.parse(n.toString(16).padStart(32, '0'));
const frame = (bytes: number) => ({ bytes: new Uint8Array(bytes), offload: null });

test('frames wait in order, and not for ever', () => {
  const waiting = new WaitingFrames();
  for (const bytes of [60, 61, 62]) assert.ok(waiting.add(id(1), frame(bytes), 0));
  assert.ok(waiting.add(id(2), frame(70), 4_000));
  assert.deepEqual(waiting.expire(4_999), { frames: 0, nodes: [] });
  assert.deepEqual(waiting.expire(5_000), { frames: 3, nodes: [id(1)] });
  assert.deepEqual(
    waiting.take(id(2)).map(({ bytes }) => bytes.length),
    [70],
  );
  assert.equal(waiting.size, 0);
});

test('a question waits once, for the node that is asked', () => {
  const waiting = new WaitingFrames();
  assert.ok(waiting.add(id(1), frame(42), 0, 'a>b'));
  assert.ok(waiting.add(id(1), frame(43), 1_000, 'a>b'));
  assert.ok(waiting.add(id(1), frame(44), 1_000, 'a>c'));
  assert.equal(waiting.asked('a>b'), id(1));
  assert.equal(waiting.asked('b>a'), null);
  assert.deepEqual(
    waiting.take(id(1)).map(({ bytes }) => bytes.length),
    [42, 44],
  );
  assert.equal(waiting.asked('a>b'), null);
});

test('of one node and of all together only so much waits', () => {
  const waiting = new WaitingFrames();
  const ofOne = Array.from({ length: 70 }, () => waiting.add(id(1), frame(60), 0));
  assert.equal(ofOne.filter(Boolean).length, 64);
  let bytes = 0;
  for (let node = 2; node < 200; node += 1) {
    for (let n = 0; n < 5; n += 1) if (waiting.add(id(node), frame(65_000), 0)) bytes += 65_000;
  }
  assert.ok(bytes > 3_500_000 && bytes <= 4_194_304, `${bytes}`);
});

test('new keys take a node over, and the MTU counts on a passing size only when it has settled', () => {
  const online = new OnlineNodes();
  assert.equal(online.used(3, id(1), 1_400, true), undefined);
  assert.equal(online.used(3, id(1), 1_300, false), 3);
  assert.deepEqual(online.settledBytes(), [1_400]);
  assert.equal(online.used(4, id(1), 1_200, false), 3);
  assert.deepEqual(online.sessionWith(id(1)), { number: 4, maxFrameBytes: 1_200 });
  assert.deepEqual(online.settledBytes(), [1_400]);
  assert.equal(online.nodeOf(3), undefined);
  // The old association ends: nobody's current one.
  assert.equal(online.removed(3), null);
  assert.equal(online.removed(4), id(1));
  assert.equal(online.sessionWith(id(1)), null);
});

test('a relay entry stands until it does not hold, and there is an end to their number', () => {
  const table = new Map<NodeId, number>();
  const relays = new RelayTable({
    setRelay: (destination, session) => void table.set(destination, session),
    removeRelay: (destination) => void table.delete(destination),
  });
  relays.set(id(1), id(7), 3);
  relays.set(id(1), id(8), 4);
  assert.deepEqual([...table], [[id(1), 3]]);
  relays.keep((_, via) => via === id(8));
  assert.equal(table.size, 0);
  for (let n = 0; n < 9_000; n += 1) relays.set(id(n), id(7), 3);
  assert.equal(table.size, 8_192);
  assert.equal(relays.size, table.size);
});

test('a trace collects who sends it on, and ends in a loop, of old age, or when it is full', () => {
  const trace = { origin: id(1), target: id(9), number: 5n, ttl: 3, hops: [] };
  const once = passTrace(trace, id(2));
  assert.deepEqual(once, { ...trace, ttl: 2, hops: [id(2)] });
  assert.equal(once === null ? null : passTrace(once, id(2)), null);
  assert.equal(passTrace({ ...trace, ttl: 1 }, id(2)), null);
  const hops = Array.from({ length: maxTraceHops }, (_, n) => id(100 + n));
  assert.equal(passTrace({ ...trace, hops }, id(2)), null);
  const encoded = encodeTrace({ ...trace, hops });
  assert.ok(encoded.length <= 1_043);
  assert.deepEqual(decodeTrace(encoded), { ...trace, hops });
  for (let length = 0; length < encoded.length; length += 1) {
    assert.equal(decodeTrace(encoded.subarray(0, length)), null);
  }
});
