/**
 * One run of the simulator and what is measured in it: convergence, trouble (churn, partition),
 * healing, steady state, hops. Owns the figures; prints nothing.
 */
import {
  capOf,
  life,
  ringIsComplete,
  type SimulatedNode,
  Simulation,
} from '../support/simulation.ts';
import { seeded } from '../support/virtual-time.ts';

export interface RunOptions {
  readonly nodes: number;
  readonly seed: number;
  readonly loss: number;
  readonly blocked: number;
  /** A node is started anew each so many seconds, for a minute; 0: none. */
  readonly churn: number;
  /** The overlay falls apart into halves for so many seconds; 0: never. */
  readonly partition: number;
}

export interface Figures {
  readonly nodes: number;
  readonly seed: number;
  /** From the start until every node is linked with its successors; null: not within two minutes. */
  readonly convergedMs: number | null;
  readonly hops: {
    readonly mean: number;
    readonly p50: number;
    readonly p99: number;
    readonly max: number;
  };
  readonly links: { readonly mean: number; readonly max: number };
  readonly incomingLongDistance: { readonly max: number; readonly cap: number };
  readonly messagesPerNodePerSecond: number;
  /** Of the pairs that were tried (all, up to 100 nodes). */
  readonly unreachablePairs: number;
}

export interface Run {
  readonly figures: Figures;
  readonly simulation: Simulation;
  /** From the end of the trouble until the ring was complete again. */
  readonly healedMs: number | null;
  /** Hops of the pairs that were tried, sorted. */
  readonly hops: readonly number[];
}

const limitMs = 120_000;
const maxPairs = 20_000;

export function measure(options: RunOptions): Run {
  const { nodes, seed, loss, blocked } = options;
  const simulation = new Simulation({ nodes, seed, loss, blocked });
  simulation.startAll();
  const convergedMs = untilComplete(simulation);
  const troubled = makeTrouble(simulation, options);
  const healedMs = troubled ? untilComplete(simulation) : null;
  // The long-distance links are drawn by now, and what changed has been told.
  simulation.run(60_000);
  const before = sent(simulation);
  const windowSeconds = 60;
  simulation.run(windowSeconds * 1_000);
  const messages = sent(simulation) - before;
  const degrees = simulation.running().map(({ up }) => up.size);
  const { hops, unreachable } = tryPairs(simulation, seed);
  const mean = (values: readonly number[]): number =>
    values.length === 0 ? 0 : round(values.reduce((a, b) => a + b, 0) / values.length);
  const at = (share: number): number => hops[Math.floor((hops.length - 1) * share)] ?? 0;
  const figures: Figures = {
    nodes,
    seed,
    convergedMs,
    hops: { mean: mean(hops), p50: at(0.5), p99: at(0.99), max: at(1) },
    links: { mean: mean(degrees), max: Math.max(0, ...degrees) },
    incomingLongDistance: {
      max: simulation.maxIncoming,
      cap: Math.max(0, ...simulation.running().map(capOf)),
    },
    messagesPerNodePerSecond: round(messages / windowSeconds / nodes),
    unreachablePairs: unreachable,
  };
  return { figures, simulation, healedMs, hops };
}

/** How long from now until the ring is complete, or null. */
export function untilComplete(simulation: Simulation): number | null {
  const startMs = simulation.time.nowMs;
  while (simulation.time.nowMs - startMs < limitMs) {
    if (ringIsComplete(simulation)) return simulation.time.nowMs - startMs;
    simulation.run(250);
  }
  return null;
}

function makeTrouble(simulation: Simulation, { churn, partition, seed }: RunOptions): boolean {
  if (churn > 0) {
    const random = seeded(seed + 1);
    for (let second = 0; second < 60; second += churn) {
      const running = simulation.running();
      const victim = running[Math.floor(random() * running.length)];
      if (victim !== undefined) {
        simulation.stop(victim, random() < 0.5);
        simulation.time.after(3_000, () => simulation.start(victim));
      }
      simulation.run(churn * 1_000);
    }
    simulation.run(5_000);
  }
  if (partition > 0) {
    // Interleaved halves: every ring link between neighbours of different halves ends.
    simulation.partition((a, b) => a % 2 !== b % 2);
    simulation.run(partition * 1_000);
    simulation.partition(null);
  }
  return churn > 0 || partition > 0;
}

const sent = (simulation: Simulation): number =>
  simulation.nodes.reduce((sum, { messages, payloads }) => sum + messages + payloads, 0);

/** All pairs, or as many at random: as the tables would carry them, else with searches and time. */
function tryPairs(
  simulation: Simulation,
  seed: number,
): { readonly hops: readonly number[]; readonly unreachable: number } {
  const nodes = simulation.running();
  const hops: number[] = [];
  let missed: (readonly [SimulatedNode, SimulatedNode])[] = [];
  for (const [from, to] of pairs(nodes, seed)) {
    const count = simulation.walk(from, to);
    if (count === null) missed.push([from, to]);
    else hops.push(count);
  }
  for (let tries = 0; tries < 12 && missed.length > 0; tries += 1) {
    for (const [from, to] of missed) simulation.send(from, to);
    simulation.run(life.inBand.moreMs * 100);
    missed = missed.filter(([from, to]) => {
      const count = simulation.arrived.get(`${from.id}>${to.id}`);
      if (count !== undefined) hops.push(count);
      return count === undefined;
    });
  }
  return { hops: hops.sort((a, b) => a - b), unreachable: missed.length };
}

function* pairs(
  nodes: readonly SimulatedNode[],
  seed: number,
): Generator<readonly [SimulatedNode, SimulatedNode]> {
  if (nodes.length <= 100) {
    for (const from of nodes) for (const to of nodes) if (from !== to) yield [from, to];
    return;
  }
  const random = seeded(seed + 2);
  for (let n = 0; n < maxPairs; n += 1) {
    const from = nodes[Math.floor(random() * nodes.length)];
    const to = nodes[Math.floor(random() * nodes.length)];
    if (from !== undefined && to !== undefined && from !== to) yield [from, to];
  }
}

const round = (value: number): number => Math.round(value * 1_000) / 1_000;
