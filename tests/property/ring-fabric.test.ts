/**
 * Routing and flooding over graphs that are connected but miss whatever they may: everybody reaches
 * everybody, broadcasts arrive once, nothing goes on for ever.
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { alike, cutEdges, type Edge, FabricGraph, symphonyEdges } from '../support/fabric-graph.ts';
import { suite } from '../support/harness.ts';
import { seeded } from '../support/virtual-time.ts';

const test = suite('ring fabric');

/** A random tree over `count` nodes and some more edges: connected, else anything. */
function treePlus(count: number, more: number, seed: number, line: boolean): readonly Edge[] {
  const random = seeded(seed);
  const order = Array.from({ length: count }, (_, index) => ({ index, key: random() }))
    .sort((a, b) => a.key - b.key)
    .map(({ index }) => index);
  const edges = new Map<string, Edge>();
  const add = (a: number, b: number): void => {
    if (a !== b) edges.set(`${Math.min(a, b)}-${Math.max(a, b)}`, [a, b]);
  };
  for (let n = 1; n < count; n += 1) {
    add(order[n] ?? 0, order[line ? n - 1 : Math.floor(random() * n)] ?? 0);
  }
  for (let n = 0; n < more; n += 1) {
    add(Math.floor(random() * count), Math.floor(random() * count));
  }
  return [...edges.values()];
}

const graph = fc.record({
  count: fc.integer({ min: 2, max: 48 }),
  more: fc.integer({ min: 0, max: 30 }),
  line: fc.boolean(),
  seed: fc.integer({ min: 1, max: 2 ** 31 }),
});

/** As a transport would: again after a while, a few times. */
function reaches(net: FabricGraph, from: number, to: number, tries: number): boolean {
  const key = `${net.id(from)}>${net.id(to)}`;
  net.arrived.delete(key);
  for (let n = 0; n < tries && !net.arrived.has(key); n += 1) {
    net.send(from, to);
    net.run(n === 0 ? 500 : 2_000);
  }
  return net.arrived.has(key);
}

test('whenever the graph is connected, every pair exchanges frames, and ttl bounds each', () => {
  fc.assert(
    fc.property(graph, ({ count, more, line, seed }) => {
      const net = new FabricGraph(count, treePlus(count, more, seed, line), seed, new Set());
      net.run(2_500);
      const random = seeded(seed);
      for (let n = 0; n < 12; n += 1) {
        const from = Math.floor(random() * count);
        const to = Math.floor(random() * count);
        if (from === to) continue;
        assert.ok(reaches(net, from, to, 8), `${from} to ${to}`);
        assert.ok(reaches(net, to, from, 8), `${to} back to ${from}`);
      }
      assert.ok(net.hops <= 255, `${net.hops} hops`);
    }),
    { numRuns: 200 },
  );
}, 60_000);

test('a way longer than the first ttl is found too', () => {
  const count = 150;
  const net = new FabricGraph(count, treePlus(count, 0, 5, true), 5, new Set());
  net.run(2_500);
  const degree = (index: number): number => net.fabric(index).near.size;
  const ends = [...Array(count).keys()].filter((index) => degree(index) === 1);
  assert.equal(ends.length, 2);
  const [from = 0, to = 0] = ends;
  assert.ok(reaches(net, from, to, 10));
  assert.ok(reaches(net, to, from, 10));
}, 20_000);

test('links that come and go: once it is calm, every pair exchanges frames again', () => {
  fc.assert(
    fc.property(graph, fc.array(fc.nat(1_000), { maxLength: 40 }), (shape, toggles) => {
      const { count, more, seed } = shape;
      const base = treePlus(count, 0, seed, false);
      const extra = treePlus(count, more, seed + 1, false);
      const net = new FabricGraph(count, base, seed, new Set());
      net.run(1_000);
      const random = seeded(seed);
      const isBase = (a: number, b: number): boolean =>
        base.some(([x, y]) => (x === a && y === b) || (x === b && y === a));
      for (const at of toggles) {
        const [a, b] = extra[at % extra.length] ?? [0, 0];
        if (isBase(a, b)) continue;
        if (net.fabric(a).near.has(net.id(b))) net.cut(a, b);
        else net.connect(a, b);
        net.send(Math.floor(random() * count), Math.floor(random() * count));
        net.run(at % 3 === 0 ? 300 : 20);
      }
      net.run(2_500);
      for (let n = 0; n < 8; n += 1) {
        const from = Math.floor(random() * count);
        const to = (from + 1 + Math.floor(random() * (count - 1))) % count;
        assert.ok(reaches(net, from, to, 20), `${from} to ${to}`);
      }
    }),
    { numRuns: 150 },
  );
}, 60_000);

/** How many times each broadcast reached each node. */
function tally(net: FabricGraph, count: number, broadcasts: readonly number[]): string[] {
  const wrong: string[] = [];
  for (const [broadcast, origin] of broadcasts.entries()) {
    const got = new Map<number, number>();
    for (const { node, broadcast: which } of net.deliveries) {
      if (which === broadcast) got.set(node, (got.get(node) ?? 0) + 1);
    }
    for (let node = 0; node < count; node += 1) {
      const times = got.get(node) ?? 0;
      if (times !== (node === origin ? 0 : 1)) wrong.push(`${broadcast}: node ${node} ${times}×`);
    }
  }
  return wrong;
}

test('with a fifth of the edges cut, every node gets every broadcast exactly once', () => {
  for (const count of [3, 4, 5, 6, 8, 12, 20, 33, 50, 100, 200, 300]) {
    for (const seed of count > 100 ? [1] : [1, 2, 3]) {
      const edges = cutEdges(count, symphonyEdges(count, 2, seed), 0.2, seed + 100);
      const net = new FabricGraph(count, edges, seed, new Set());
      net.run(2_500);
      const origins = [0, 1, 2].map((n) => Math.floor((n * count) / 3));
      origins.forEach((origin, broadcast) => {
        net.broadcast(origin, broadcast);
        net.run(50);
      });
      net.run(8_000);
      assert.deepEqual(tally(net, count, origins), [], `${count} nodes, seed ${seed}`);
    }
  }
}, 90_000);

test('over any connected graph too, with leaves that carry nothing', () => {
  fc.assert(
    fc.property(graph, fc.boolean(), ({ count, more, seed, line }, withLeaves) => {
      const edges = treePlus(count, more, seed, line);
      const degree = (index: number): number =>
        edges.filter(([a, b]) => a === index || b === index).length;
      const ends = [...Array(count).keys()].filter((index) => degree(index) === 1);
      const leaves = new Set(withLeaves && count > 2 ? ends : []);
      const net = new FabricGraph(count, edges, seed, leaves);
      net.run(2_500);
      const origins = [0, count - 1, Math.floor(count / 2)];
      origins.forEach((origin, broadcast) => {
        net.broadcast(origin, broadcast);
      });
      net.run(60_000);
      const counts = net.fabrics.map((f) => ({ ...f.flooder.counts, ...f.router.counts }));
      assert.deepEqual(tally(net, count, origins), [], JSON.stringify({ edges, counts }));
    }),
    { numRuns: 200 },
  );
}, 60_000);

test('a broadcast that is said again arrives once each time, and goes past who swallows', () => {
  for (const count of [4, 5, 8, 20, 60]) {
    for (const seed of [1, 2, 3, 4]) {
      const edges = symphonyEdges(count, 2, seed);
      const net = new FabricGraph(count, edges, seed, new Set());
      net.run(2_500);
      const again = (times: number, from: number): void => {
        for (let n = 0; n < times; n += 1) {
          net.broadcast(0, (from + n) * alike);
          net.run(1_000);
        }
      };
      again(6, 0);
      const origins = Array.from({ length: 6 }, () => 0);
      const numbered = net.deliveries.map((each) => ({
        ...each,
        broadcast: each.broadcast / alike,
      }));
      net.deliveries.splice(0, Number.POSITIVE_INFINITY, ...numbered);
      assert.deepEqual(tally(net, count, origins), [], `${count} nodes, seed ${seed}`);
      net.deliveries.length = 0;
      const bad = 1 + (seed % (count - 1));
      net.swallows = new Set([bad]);
      again(20, 6);
      const reached = new Set(net.deliveries.map(({ node }) => node));
      assert.equal(reached.size, count - 1, `${count} nodes, seed ${seed}: all but the origin`);
    }
  }
}, 60_000);
