/**
 * Two and more topology machines against each other: no two plans fight over a link, opens from both
 * sides give one link, caps hold, whatever is delayed or lost.
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { LinkMessage } from '../../controller/peer-messages.ts';
import { suite } from '../support/harness.ts';
import {
  capOf,
  ringIsComplete,
  Simulation,
  type SimulationOptions,
} from '../support/simulation.ts';

const test = suite('ring topology');

const seed = fc.integer({ min: 1, max: 2 ** 31 });

/** Both see the link alike: wanted and up, or neither. */
function agreed(simulation: Simulation): string[] {
  const wrong: string[] = [];
  for (const node of simulation.running()) {
    for (const peer of node.wanted) {
      const other = simulation.find(peer);
      if (!other.wanted.has(node.id)) wrong.push(`${node.index} wants ${other.index} alone`);
      if (!node.up.has(peer)) wrong.push(`${node.index}–${other.index} is not up`);
    }
    for (const peer of node.up) if (!node.wanted.has(peer)) wrong.push(`${node.index}: unwanted`);
  }
  return wrong;
}

test('a thousand opens from both sides at once give exactly one link each', () => {
  for (let n = 1; n <= 1_000; n += 1) {
    const simulation = new Simulation({ nodes: 2, seed: n, startMs: n % 3 === 0 ? 0 : n % 200 });
    simulation.startAll();
    simulation.run(10_000);
    const [a, b] = simulation.nodes;
    assert.ok(a !== undefined && b !== undefined);
    assert.deepEqual([...a.up], [b.id], `seed ${n}`);
    assert.deepEqual([...b.up], [a.id], `seed ${n}`);
    assert.equal(simulation.linksMade, 1, `seed ${n}`);
    assert.equal(a.wishes + b.wishes, 2, `seed ${n}: one wish of each`);
    assert.deepEqual(agreed(simulation), []);
  }
}, 60_000);

test('opens from both sides, with losses: one link in the end, and silence', () => {
  fc.assert(
    fc.property(seed, fc.double({ min: 0, max: 0.4, noNaN: true }), (s, loss) => {
      const simulation = new Simulation({ nodes: 2, seed: s, loss });
      simulation.startAll();
      simulation.run(300_000);
      const before = simulation.node(0).messages + simulation.node(1).messages;
      assert.deepEqual(agreed(simulation), []);
      assert.equal(simulation.node(0).up.size, 1);
      simulation.run(300_000);
      assert.equal(simulation.node(0).messages + simulation.node(1).messages, before);
    }),
    { numRuns: 200 },
  );
}, 60_000);

const noEdges: number[] = [];
type ConfigOf = NonNullable<SimulationOptions['config']>;

const config: fc.Arbitrary<ConfigOf> = fc
  .array(
    fc.record({
      minSuccessors: fc.integer({ min: 1, max: 3 }),
      maxLongDistance: fc.option(fc.integer({ min: 0, max: 5 })),
      incomingCap: fc.option(fc.integer({ min: 0, max: 4 })),
      edges: fc.oneof(
        { weight: 3, arbitrary: fc.constant(noEdges) },
        fc.array(fc.nat(13), { maxLength: 3 }),
      ),
      manual: fc.oneof({ weight: 5, arbitrary: fc.constant(false) }, fc.boolean()),
      role: fc.oneof(
        { weight: 5, arbitrary: fc.constant<'switch' | 'leaf'>('switch') },
        fc.constantFrom<'switch' | 'leaf'>('switch', 'leaf'),
      ),
      maxConcurrent: fc.integer({ min: 1, max: 6 }),
    }),
    { minLength: 1, maxLength: 12 },
  )
  .map((list) => (index, ids) => {
    const { edges, ...rest } = list[index % list.length] ?? { edges: noEdges };
    return { ...rest, staticEdges: ids.filter((_, at) => at !== index && edges.includes(at)) };
  });

/**
 * Was drawn by chance: a node with three successors and a predecessor with one, that so has no link
 * to it. It drew that one for a long distance, and gave it up as too close once it was granted.
 */
const drawnTooClose: ConfigOf = (index) =>
  [
    { minSuccessors: 3, maxLongDistance: 4, maxConcurrent: 1 },
    { minSuccessors: 1, manual: true, maxConcurrent: 1 },
    { minSuccessors: 1, maxLongDistance: 1, maxConcurrent: 2 },
    { minSuccessors: 3, maxLongDistance: 4, maxConcurrent: 6 },
  ][index % 4] ?? {};

/** One lists the other, which refuses; the answer made it ask again at once, for ever. */
const leavesWithAnEdge: ConfigOf = (index, ids) => ({
  role: 'leaf',
  staticEdges: index === 1 ? ids.slice(0, 1) : [],
});

/** Where everybody refuses the first that ask, the right ones come after backoffs of a minute each. */
const settledMs = 600_000;

/** What is refused is asked for again, but seldom: backoff ends at a minute. */
const maxMessagesPerPeer = 20;

/** Links of all, and how often any node began to want one. */
const moved = (simulation: Simulation) => ({
  made: simulation.linksMade,
  ended: simulation.linksEnded,
  wishes: simulation.nodes.reduce((sum, { wishes }) => sum + wishes, 0),
});

test('whatever each is configured to want, the plans of all come to rest', () => {
  fc.assert(
    fc.property(seed, fc.integer({ min: 2, max: 14 }), config, (s, nodes, of) => {
      const simulation = new Simulation({ nodes, seed: s, config: of, startMs: 3_000 });
      simulation.startAll();
      simulation.run(settledMs);
      assert.deepEqual(agreed(simulation), []);
      const before = moved(simulation);
      const messages = simulation.nodes.map((node) => node.messages);
      simulation.run(240_000);
      assert.deepEqual(moved(simulation), before);
      for (const [index, node] of simulation.nodes.entries()) {
        const sent = node.messages - (messages[index] ?? 0);
        assert.ok(sent <= maxMessagesPerPeer * (nodes - 1), `${index} sent ${sent} in 4 minutes`);
      }
      assert.deepEqual(agreed(simulation), []);
    }),
    {
      numRuns: 150,
      examples: [
        [22, 14, drawnTooClose],
        [1, 2, leavesWithAnEdge],
      ],
    },
  );
}, 60_000);

test('no node ever has more incoming long-distance links than its cap', () => {
  fc.assert(
    fc.property(seed, fc.integer({ min: 0, max: 3 }), (s, incomingCap) => {
      const simulation = new Simulation({ nodes: 24, seed: s, config: () => ({ incomingCap }) });
      simulation.startAll();
      simulation.run(90_000);
      assert.ok(simulation.maxIncoming <= incomingCap, `${simulation.maxIncoming}`);
      assert.ok(ringIsComplete(simulation));
      for (const node of simulation.nodes) assert.equal(capOf(node), incomingCap);
    }),
    { numRuns: 40 },
  );
}, 60_000);

interface Move {
  readonly node: number;
  readonly announced: boolean;
  readonly waitMs: number;
}

/** A link that stood was given up by the peer just when this node began to ask for it itself. */
const givenUpWhileAsked: Move[] = [
  [5, 3_459],
  [1, 4_364],
  [0, 7_187],
  [6, 5_213],
  [0, 4_444],
  [7, 3_792],
  [1, 453],
  [2, 0],
  [4, 0],
].map(([node = 0, waitMs = 0]) => ({ node, announced: node === 6 || node === 7, waitMs }));

test('starts, stops and crashes in any order: once it is calm, the ring is complete', () => {
  const move = fc.record({ node: fc.nat(11), announced: fc.boolean(), waitMs: fc.nat(8_000) });
  fc.assert(
    fc.property(
      seed,
      fc.array(move, { maxLength: 25 }),
      fc.constantFrom(0, 0.1),
      (s, moves, loss) => {
        const simulation = new Simulation({ nodes: 12, seed: s, loss });
        simulation.startAll();
        for (const { node: index, announced, waitMs } of moves) {
          const node = simulation.node(index);
          if (node.running) simulation.stop(node, announced);
          else simulation.start(node);
          simulation.run(waitMs);
        }
        for (const node of simulation.nodes) simulation.start(node);
        simulation.run(180_000);
        assert.ok(ringIsComplete(simulation));
        assert.deepEqual(agreed(simulation), []);
      },
    ),
    { numRuns: 150, examples: [[1_585_376_572, givenUpWhileAsked, 0.1]] },
  );
}, 60_000);

test('every message that a machine says passes its schema', () => {
  const said: LinkMessage[] = [];
  const simulation = new Simulation({ nodes: 10, seed: 4, loss: 0.2 });
  simulation.onMessage = (message) => said.push(message);
  simulation.startAll();
  simulation.run(60_000);
  simulation.stop(simulation.node(3), true);
  simulation.run(60_000);
  assert.ok(new Set(said.map(({ kind }) => kind)).size === 3);
  for (const message of said) assert.deepEqual(LinkMessage.parse(message), message);
});
