/**
 * Nodes with real ring fabrics over a given graph, in virtual time: links carry with a delay and
 * never lose. For properties of routing and flooding alone; no topology, no sessions.
 */
import type { NodeId } from '../../base/ids.ts';
import { type Effects, RingFabric } from '../../tincan-bridge/fabric/core/ring-fabric.ts';
import { random32, randomId, seeded, VirtualTime } from './virtual-time.ts';

export type Edge = readonly [number, number];

export interface Delivery {
  readonly node: number;
  readonly broadcast: number;
  readonly hops: number;
}

/** Broadcasts whose numbers differ by a multiple of it are the same frame, said again. */
export const alike = 1_000;

export class FabricGraph {
  readonly time = new VirtualTime();
  readonly ids: readonly NodeId[];
  readonly fabrics: readonly RingFabric<number>[];
  readonly deliveries: Delivery[] = [];
  /** Envelopes that reached their destination, by `source>destination`. */
  readonly arrived = new Set<string>();
  /** Nodes that send on no broadcast of others. */
  swallows: ReadonlySet<number> = new Set();
  /** Most hops that one envelope went. */
  longestMs = 0;
  hops = 0;
  controls = 0;
  readonly #random: () => number;
  readonly #indexes: ReadonlyMap<NodeId, number>;

  constructor(count: number, edges: readonly Edge[], seed: number, leaves: ReadonlySet<number>) {
    this.#random = seeded(seed);
    const random = this.#random;
    const ids = new Set<NodeId>();
    while (ids.size < count) ids.add(randomId(random));
    this.ids = [...ids].sort();
    this.#indexes = new Map(this.ids.map((id, index) => [id, index]));
    this.fabrics = this.ids.map(
      (self, index) =>
        new RingFabric<number>(
          { self, transit: !leaves.has(index), random32: () => random32(random) },
          (broadcast) => broadcast % alike,
        ),
    );
    const leafIds = new Set([...leaves].map((index) => this.id(index)));
    for (const fabric of this.fabrics) fabric.setMembers(this.ids, leafIds);
    for (const [a, b] of edges) this.connect(a, b);
  }

  id(index: number): NodeId {
    const id = this.ids[index];
    if (id === undefined) throw new Error(`no node ${index}`);
    return id;
  }

  fabric(index: number): RingFabric<number> {
    const fabric = this.fabrics[index];
    if (fabric === undefined) throw new Error(`no node ${index}`);
    return fabric;
  }

  connect(a: number, b: number): void {
    this.#carryOut(a, this.fabric(a).linkUp(this.id(b), this.time.nowMs));
    this.#carryOut(b, this.fabric(b).linkUp(this.id(a), this.time.nowMs));
  }

  cut(a: number, b: number): void {
    this.fabric(a).linkDown(this.id(b), this.time.nowMs);
    this.fabric(b).linkDown(this.id(a), this.time.nowMs);
  }

  /** Virtual time passes; every fabric is ticked each 100 ms. */
  run(ms: number): void {
    const end = this.time.nowMs + ms;
    while (this.time.nowMs < end) {
      this.time.runUntil(Math.min(end, this.time.nowMs + 100));
      this.fabrics.forEach((fabric, index) => {
        this.#carryOut(index, fabric.tick(this.time.nowMs));
      });
    }
  }

  broadcast(from: number, broadcast: number): void {
    this.#carryOut(from, this.fabric(from).broadcast(broadcast, this.time.nowMs));
  }

  send(from: number, to: number): void {
    const destination = this.id(to);
    const ttl = this.fabric(from).router.ttlTo(destination, this.time.nowMs);
    this.#envelope(from, { source: this.id(from), destination, ttl }, null, 0);
  }

  #envelope(
    at: number,
    envelope: { readonly source: NodeId; readonly destination: NodeId; readonly ttl: number },
    ingress: NodeId | null,
    hops: number,
  ): void {
    this.hops = Math.max(this.hops, hops);
    if (envelope.destination === this.id(at)) {
      this.arrived.add(`${envelope.source}>${envelope.destination}`);
      return;
    }
    const { via, ttl, effects } = this.fabric(at).envelope(envelope, ingress, this.time.nowMs);
    this.#carryOut(at, effects);
    if (via === null) return;
    this.#cross(at, via, (to) => this.#envelope(to, { ...envelope, ttl }, this.id(at), hops + 1));
  }

  #cross(from: number, to: NodeId, arrive: (at: number) => void): void {
    const index = this.#indexes.get(to);
    if (index === undefined) throw new Error(`${to} is no node`);
    this.time.after(1 + 4 * this.#random(), () => {
      if (this.fabric(index).near.has(this.id(from))) arrive(index);
    });
  }

  #carryOut(at: number, effects: Effects<number>): void {
    const from = this.id(at);
    for (const effect of effects) {
      if (effect.kind === 'control') {
        this.controls += 1;
        this.#cross(at, effect.to, (to) =>
          this.#carryOut(to, this.fabric(to).control(from, effect.control, this.time.nowMs)),
        );
      } else if (effect.kind === 'flood') {
        if (this.swallows.has(at) && effect.flood.header.origin !== from) continue;
        this.#cross(at, effect.to, (to) =>
          this.#carryOut(to, this.fabric(to).flood(from, effect.flood, this.time.nowMs)),
        );
      } else if (effect.kind === 'deliver') {
        const { payload, header } = effect.flood;
        this.deliveries.push({ node: at, broadcast: payload, hops: header.hops });
      }
    }
  }
}

/** A static ring as a plan of everybody would make it: successors and harmonic long links. */
export function symphonyEdges(count: number, successors: number, seed: number): readonly Edge[] {
  const random = seeded(seed);
  const edges = new Map<string, Edge>();
  const add = (a: number, b: number): void => {
    if (a !== b) edges.set(`${Math.min(a, b)}-${Math.max(a, b)}`, [a, b]);
  };
  const long = count > 2 * successors ? Math.floor(Math.log2(count)) : 0;
  for (let a = 0; a < count; a += 1) {
    for (let s = 1; s <= successors; s += 1) add(a, (a + s) % count);
    for (let l = 0; l < long; l += 1) add(a, (a + Math.floor(count ** random())) % count);
  }
  return [...edges.values()];
}

/** Cuts the share at random, but for those that hold the graph together. */
export function cutEdges(
  count: number,
  edges: readonly Edge[],
  share: number,
  seed: number,
): readonly Edge[] {
  const random = seeded(seed);
  const order = edges.map((edge) => ({ edge, key: random() })).sort((a, b) => a.key - b.key);
  let left = order.map(({ edge }) => edge);
  let toCut = Math.round(edges.length * share);
  for (const { edge } of order) {
    if (toCut === 0) break;
    const without = left.filter((each) => each !== edge);
    if (!isConnected(count, without)) continue;
    left = without;
    toCut -= 1;
  }
  return left;
}

export function isConnected(count: number, edges: readonly Edge[]): boolean {
  const root = Array.from({ length: count }, (_, index) => index);
  const find = (a: number): number => {
    let at = a;
    while (root[at] !== at) at = root[at] ?? at;
    root[a] = at;
    return at;
  };
  let parts = count;
  for (const [a, b] of edges) {
    const ra = find(a);
    const rb = find(b);
    if (ra === rb) continue;
    root[ra] = rb;
    parts -= 1;
  }
  return parts <= 1;
}
