/**
 * Many nodes with the very decision code of topology and fabric, one virtual clock, one seed: what
 * signalling, links and in-band payloads do in between is a model of delays and losses. Owns that
 * model; decides nothing that a node decides.
 */
import type { NodeId } from '../../base/ids.ts';
import type { LinkMessage } from '../../controller/peer-messages.ts';
import { incomingCap, incomingLongDistance } from '../../controller/topology/core/admission.ts';
import { defaultTopology, type TopologyConfig } from '../../controller/topology/core/config.ts';
import {
  initialTopology,
  type TopologyEffect,
  type TopologyInput,
  type TopologyState,
} from '../../controller/topology/core/state.ts';
import { nextTopology } from '../../controller/topology/core/topology.ts';
import { type Effects, RingFabric } from '../../tincan-bridge/fabric/core/ring-fabric.ts';
import { random32, randomId, seeded, VirtualTime } from './virtual-time.ts';

export interface SimulationOptions {
  readonly nodes: number;
  readonly seed: number;
  /** Share of messages and in-band payloads that are lost. */
  readonly loss?: number;
  /** Share of pairs between which no direct link ever comes up. */
  readonly blocked?: number;
  /** Nodes start within this; 0: all at once. */
  readonly startMs?: number;
  readonly config?: (index: number, ids: readonly NodeId[]) => Partial<TopologyConfig>;
  readonly model?: Partial<typeof life>;
}

/** Delays of life, milliseconds: least, and what is added at random. */
export const life = {
  signal: { leastMs: 15, moreMs: 60 },
  inBand: { leastMs: 2, moreMs: 30 },
  setUp: { leastMs: 300, moreMs: 1_500 },
  /** A session that heard nothing ends (the far side crashed). */
  deadAfterMs: 25_000,
  /** A session that is no longer wanted goes on hearing for so long. */
  drainMs: 1_000,
};

export interface SimulatedNode {
  readonly id: NodeId;
  readonly index: number;
  state: TopologyState;
  fabric: RingFabric<number>;
  running: boolean;
  /** Grows with each start: what was set for an earlier life is void. */
  life: number;
  readonly wanted: Set<NodeId>;
  readonly up: Set<NodeId>;
  /** Sessions that are closing: heard until then. */
  readonly draining: Map<NodeId, number>;
  messages: number;
  payloads: number;
  wishes: number;
}

export class Simulation {
  readonly time = new VirtualTime();
  readonly nodes: readonly SimulatedNode[];
  readonly delivered: { readonly node: number; readonly broadcast: number }[] = [];
  readonly arrived = new Map<string, number>();
  /** Links that were ever set up, and how often each ended. */
  linksMade = 0;
  linksEnded = 0;
  maxIncoming = 0;
  /** Sees every message between controllers as it is sent. */
  onMessage: ((message: LinkMessage) => void) | null = null;
  readonly #options: SimulationOptions;
  readonly #random: () => number;
  readonly #byId: ReadonlyMap<NodeId, SimulatedNode>;
  readonly #blocked: (a: NodeId, b: NodeId) => boolean;
  readonly #model: typeof life;
  #partition: ((a: number, b: number) => boolean) | null = null;
  readonly #settingUp = new Set<string>();

  constructor(options: SimulationOptions) {
    this.#options = options;
    this.#model = { ...life, ...options.model };
    this.#random = seeded(options.seed);
    const ids = new Set<NodeId>();
    while (ids.size < options.nodes) ids.add(randomId(this.#random));
    const sorted = [...ids].sort();
    this.nodes = sorted.map((id, index) => this.#newNode(id, index, sorted));
    this.#byId = new Map(this.nodes.map((node) => [node.id, node]));
    const share = options.blocked ?? 0;
    this.#blocked = (a, b) => share > 0 && pairShare(a, b) < share;
  }

  node(index: number): SimulatedNode {
    const node = this.nodes[index];
    if (node === undefined) throw new Error(`no node ${index}`);
    return node;
  }

  find(id: NodeId): SimulatedNode {
    const node = this.#byId.get(id);
    if (node === undefined) throw new Error(`${id} is no node`);
    return node;
  }

  /** Whether a direct link between the two can come up at all. */
  canLink(a: SimulatedNode, b: SimulatedNode): boolean {
    return !this.#blocked(a.id, b.id);
  }

  running(): readonly SimulatedNode[] {
    return this.nodes.filter((node) => node.running);
  }

  /** All start, and hear of each other as one login after the other would tell them. */
  startAll(): void {
    const spread = this.#options.startMs ?? 0;
    if (spread === 0) {
      for (const node of this.nodes) node.running = true;
      const all = this.nodes.map(({ id }) => id);
      for (const node of this.nodes) {
        this.#later(node, this.#delay('signal'), () => this.#see(node, all));
      }
      return;
    }
    for (const node of this.nodes) this.time.after(this.#random() * spread, () => this.start(node));
  }

  start(node: SimulatedNode): void {
    if (node.running) return;
    node.running = true;
    const others = this.running().filter((other) => other !== node);
    this.#later(node, this.#delay('signal'), () =>
      this.#see(
        node,
        others.map(({ id }) => id),
      ),
    );
    for (const other of others) {
      this.#later(other, this.#delay('signal'), () => this.#see(other, [node.id]));
    }
  }

  /** `announced`: it says goodbye; else it is just gone, and the server notices after a while. */
  stop(node: SimulatedNode, announced: boolean): void {
    if (!node.running) return;
    if (announced) this.input(node, { kind: 'leave' });
    node.running = false;
    node.life += 1;
    for (const peer of node.up) {
      const other = this.find(peer);
      const delay = announced ? this.#delay('inBand') : this.#model.deadAfterMs;
      this.#later(other, delay, () => {
        if (!node.up.has(other.id)) this.#down(other, node.id);
      });
    }
    for (const other of this.running()) {
      const delay = announced ? this.#delay('signal') : 5_000 + this.#delay('signal');
      this.#later(other, delay, () => {
        if (node.running) return; // its new presence replaced the old one
        this.input(other, { kind: 'peer-lost', peer: node.id, reason: 'left' });
        this.#members(other);
      });
    }
    const fresh = this.#newNode(node.id, node.index, this.#sortedIds());
    node.state = fresh.state;
    node.fabric = fresh.fabric;
    node.wanted.clear();
    node.up.clear();
    node.draining.clear();
  }

  /** Links between the two sides end, and come up no more until it is healed. */
  partition(separates: ((a: number, b: number) => boolean) | null): void {
    this.#partition = separates;
    if (separates === null) return;
    for (const node of this.nodes) {
      for (const peer of [...node.up]) {
        if (separates(node.index, this.find(peer).index)) this.#down(node, peer);
      }
    }
  }

  run(ms: number): void {
    this.time.runUntil(this.time.nowMs + ms);
  }

  input(node: SimulatedNode, input: TopologyInput): void {
    const { state, effects } = nextTopology(node.state, input, this.time.nowMs, this.#random);
    node.state = state;
    for (const effect of effects) this.#carryOut(node, effect);
  }

  broadcast(node: SimulatedNode, broadcast: number): void {
    this.#fabricEffects(node, node.fabric.broadcast(broadcast, this.time.nowMs));
  }

  /** One envelope along the ring now, without delays or losses: its hops, or null. */
  walk(from: SimulatedNode, to: SimulatedNode): number | null {
    let at = from;
    let ingress: NodeId | null = null;
    for (let hops = 0; hops <= 64; hops += 1) {
      if (at === to) return hops;
      const via: NodeId | null = at.fabric.router.next(to.id, ingress, this.time.nowMs);
      if (via === null) return null;
      ingress = at.id;
      at = this.find(via);
    }
    return null;
  }

  /** An envelope with everything that belongs to it; arrival shows in `arrived`. */
  send(from: SimulatedNode, to: SimulatedNode): void {
    const ttl = from.fabric.router.ttlTo(to.id, this.time.nowMs);
    this.#envelope(from, { source: from.id, destination: to.id, ttl }, null, 0);
  }

  #envelope(
    node: SimulatedNode,
    envelope: { readonly source: NodeId; readonly destination: NodeId; readonly ttl: number },
    ingress: NodeId | null,
    hops: number,
  ): void {
    if (envelope.destination === node.id) {
      this.arrived.set(`${envelope.source}>${node.id}`, hops);
      return;
    }
    const { via, ttl, effects } = node.fabric.envelope(envelope, ingress, this.time.nowMs);
    this.#fabricEffects(node, effects);
    if (via === null) return;
    this.#cross(node, via, (to) => this.#envelope(to, { ...envelope, ttl }, node.id, hops + 1));
  }

  #newNode(id: NodeId, index: number, ids: readonly NodeId[]): SimulatedNode {
    const config = { ...defaultTopology, ...this.#options.config?.(index, ids) };
    return {
      id,
      index,
      state: initialTopology(id, config),
      fabric: new RingFabric({
        self: id,
        transit: config.role === 'switch',
        random32: () => random32(this.#random),
      }),
      running: false,
      life: 0,
      wanted: new Set(),
      up: new Set(),
      draining: new Map(),
      messages: 0,
      payloads: 0,
      wishes: 0,
    };
  }

  #sortedIds(): readonly NodeId[] {
    return this.nodes.map(({ id }) => id);
  }

  #see(node: SimulatedNode, peers: readonly NodeId[]): void {
    const there = peers.filter((id) => this.find(id).running);
    const leaves = there.filter((id) => this.find(id).state.config.role === 'leaf');
    this.input(node, { kind: 'peers-seen', peers: there, leaves });
    this.#members(node);
  }

  /** What the controller tells the tunnel process: who is there, and who is a leaf. */
  #members(node: SimulatedNode): void {
    node.fabric.setMembers(node.state.ring, node.state.leaves);
  }

  #carryOut(node: SimulatedNode, effect: TopologyEffect): void {
    switch (effect.kind) {
      case 'want':
        node.wanted.add(effect.peer);
        node.wishes += 1;
        this.#setUp(node, this.find(effect.peer));
        return;
      case 'unwant':
        node.wanted.delete(effect.peer);
        this.#close(node, effect.peer);
        return;
      case 'send':
        this.#signal(node, this.find(effect.to), effect.message);
        return;
      case 'wake':
        this.#wake(node, effect.atMs);
    }
  }

  #wake(node: SimulatedNode, atMs: number): void {
    const { life: lived } = node;
    this.time.at(atMs, () => {
      const due = node.running && node.life === lived && node.state.wakeMs === atMs;
      if (due) this.input(node, { kind: 'tick' });
    });
  }

  #signal(from: SimulatedNode, to: SimulatedNode, message: LinkMessage): void {
    from.messages += 1;
    this.onMessage?.(message);
    if (this.#isLost()) return;
    this.#later(to, this.#delay('signal'), () => {
      this.input(to, { kind: 'message', from: from.id, message });
      this.maxIncoming = Math.max(this.maxIncoming, incomingLongDistance(to.state, null));
    });
  }

  /** Both want it: after a while it is up, if the network lets it. */
  #setUp(a: SimulatedNode, b: SimulatedNode): void {
    const key = a.id < b.id ? `${a.id}${b.id}` : `${b.id}${a.id}`;
    if (!b.wanted.has(a.id) || !a.wanted.has(b.id) || this.#settingUp.has(key)) return;
    if (a.up.has(b.id) && b.up.has(a.id)) return;
    this.#settingUp.add(key);
    const lives = [a.life, b.life];
    this.time.after(this.#delay('setUp'), () => {
      this.#settingUp.delete(key);
      const same = a.life === lives[0] && b.life === lives[1] && a.running && b.running;
      const wanted = a.wanted.has(b.id) && b.wanted.has(a.id);
      if (!wanted || !same) {
        if (a.running && b.running) this.#setUp(a, b);
        return;
      }
      const stands = a.up.has(b.id) && b.up.has(a.id);
      if (stands || this.#blocked(a.id, b.id)) return;
      if (this.#partition?.(a.index, b.index) === true) {
        this.time.after(1_000, () => this.#setUp(a, b));
        return;
      }
      this.linksMade += 1;
      this.#up(a, b.id);
      this.#up(b, a.id);
    });
  }

  #up(node: SimulatedNode, peer: NodeId): void {
    if (node.up.has(peer)) this.#down(node, peer); // the far side was started anew
    node.up.add(peer);
    this.#fabricEffects(node, node.fabric.linkUp(peer, this.time.nowMs));
    this.#fabricTimer(node);
    this.input(node, { kind: 'link-up', peer });
  }

  #down(node: SimulatedNode, peer: NodeId): void {
    if (!node.up.delete(peer)) return;
    this.linksEnded += 1;
    node.fabric.linkDown(peer, this.time.nowMs);
    this.#fabricTimer(node);
    this.input(node, { kind: 'link-down', peer });
    // A session tries again by itself while it is wanted.
    if (node.wanted.has(peer)) this.#setUp(node, this.find(peer));
  }

  /** One side wants it no more: it sends nothing over it, hears on for a while, then says bye. */
  #close(node: SimulatedNode, peer: NodeId): void {
    if (!node.up.delete(peer)) return;
    node.draining.set(peer, this.time.nowMs + this.#model.drainMs);
    this.linksEnded += 1;
    node.fabric.linkDown(peer, this.time.nowMs);
    this.#fabricTimer(node);
    const other = this.find(peer);
    this.#later(other, this.#model.drainMs + this.#delay('inBand'), () => {
      if (!node.up.has(other.id)) this.#down(other, node.id);
    });
  }

  readonly #timers = new Map<SimulatedNode, number>();

  #fabricTimer(node: SimulatedNode): void {
    const due = node.fabric.dueMs(this.time.nowMs);
    if (due === null) return;
    const set = this.#timers.get(node);
    if (set !== undefined && set <= due && set > this.time.nowMs) return;
    const atMs = Math.max(due, this.time.nowMs + 1);
    this.#timers.set(node, atMs);
    const { fabric } = node;
    this.time.at(atMs, () => {
      if (this.#timers.get(node) === atMs) this.#timers.delete(node);
      if (!node.running || node.fabric !== fabric) return;
      this.#fabricEffects(node, fabric.tick(this.time.nowMs));
      this.#fabricTimer(node);
    });
  }

  #fabricEffects(node: SimulatedNode, effects: Effects<number>): void {
    if (effects.length === 0) return;
    for (const effect of effects) {
      switch (effect.kind) {
        case 'control':
          this.#cross(node, effect.to, (to) =>
            this.#fabricEffects(to, to.fabric.control(node.id, effect.control, this.time.nowMs)),
          );
          break;
        case 'flood':
          this.#cross(node, effect.to, (to) =>
            this.#fabricEffects(to, to.fabric.flood(node.id, effect.flood, this.time.nowMs)),
          );
          break;
        case 'deliver':
          this.delivered.push({ node: node.index, broadcast: effect.flood.payload });
          break;
        case 'way':
        case 'dead-end':
          break;
      }
    }
    this.#fabricTimer(node);
  }

  /** Over the session of two neighbours. */
  #cross(from: SimulatedNode, peer: NodeId, arrive: (to: SimulatedNode) => void): void {
    from.payloads += 1;
    if (this.#isLost()) return;
    const to = this.find(peer);
    this.#later(to, this.#delay('inBand'), () => {
      const open = to.up.has(from.id) || (to.draining.get(from.id) ?? 0) > this.time.nowMs;
      if (open) arrive(to);
    });
  }

  #later(node: SimulatedNode, delayMs: number, run: () => void): void {
    const { life: lived } = node;
    this.time.after(delayMs, () => {
      if (node.running && node.life === lived) run();
    });
  }

  #isLost(): boolean {
    const loss = this.#options.loss ?? 0;
    return loss > 0 && this.#random() < loss;
  }

  #delay(kind: 'signal' | 'inBand' | 'setUp'): number {
    const { leastMs, moreMs } = this.#model[kind];
    return leastMs + moreMs * this.#random();
  }
}

/** A number in [0, 1) that belongs to a pair. */
function pairShare(a: NodeId, b: NodeId): number {
  const [low, high] = a < b ? [a, b] : [b, a];
  const mixed = Number.parseInt(low.slice(0, 8), 16) ^ Number.parseInt(high.slice(-8), 16);
  return (mixed >>> 0) / 4_294_967_296;
}

export const capOf = (node: SimulatedNode): number => incomingCap(node.state);

/** Every running node is linked with the right successors, both ways, where it can be at all. */
export function ringIsComplete(simulation: Simulation): boolean {
  const there = simulation.running().filter(({ state }) => state.config.role === 'switch');
  return there.every((node, index) => {
    for (
      let step = 1;
      step <= Math.min(node.state.config.minSuccessors, there.length - 1);
      step += 1
    ) {
      const next = there[(index + step) % there.length];
      if (next === undefined || !simulation.canLink(node, next)) continue;
      if (!node.up.has(next.id) || !next.up.has(node.id)) return false;
    }
    return true;
  });
}
