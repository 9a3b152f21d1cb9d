/**
 * Who this node has links to, and whom those have links to: the one-hop look-ahead. Owns both lists
 * and when the own one is told to the neighbours; chooses no way (`route.ts` does).
 */
import type { NodeId } from '../../../base/ids.ts';
import { distance, lowerBound } from '../../../base/ring.ts';
import { type Advertisement, maxAdvertised } from './ring-control.ts';

/** A change is told after this long: changes come in runs. */
const advertiseMs = 200;
/** And once more, as control payloads may be lost. */
const repeatMs = 2_000;
/** And now and then without a change. */
export const refreshMs = 60_000;

/** A neighbour that swallows carries nothing for this long, doubling each time. */
const distrustMs = 60_000;
const distrustMaxMs = 3_600_000;

interface Neighbour {
  readonly transit: boolean;
  readonly neighbours: readonly NodeId[];
}

/** An id in sight: itself a neighbour, or a neighbour of some. */
export interface Sighting {
  readonly id: NodeId;
  /** Neighbours that lead to it; the id itself when it is one. */
  readonly vias: readonly NodeId[];
}

export class Neighbourhood {
  readonly self: NodeId;
  /** Whether this node carries others' frames; a leaf does not. */
  readonly transit: boolean;
  readonly #neighbours = new Map<NodeId, Neighbour>();
  #leaves: ReadonlySet<NodeId> = new Set();
  /** Neighbours that were seen to swallow others' frames, and until when they carry none of ours. */
  readonly #distrusted = new Map<NodeId, { readonly untilMs: number; readonly forMs: number }>();
  readonly #forgiven = new Map<NodeId, number>();
  #sorted: readonly NodeId[] | null = null;
  #horizon: { ids: readonly NodeId[]; vias: ReadonlyMap<NodeId, readonly NodeId[]> } | null = null;
  #version = 0;
  /** Times at which the own list is told, soonest first. */
  #due: readonly number[] = [];

  constructor(self: NodeId, transit: boolean) {
    this.self = self;
    this.transit = transit;
  }

  /** Grows when any way may have changed: what was derived from here is stale. */
  get version(): number {
    return this.#version;
  }

  get size(): number {
    return this.#neighbours.size;
  }

  has(id: NodeId): boolean {
    return this.#neighbours.has(id);
  }

  /** Members that said they are leaves: nobody's way leads over them. */
  setLeaves(leaves: ReadonlySet<NodeId>): void {
    this.#leaves = leaves;
    this.#changed();
  }

  isLeaf(id: NodeId): boolean {
    return this.#leaves.has(id) || this.#neighbours.get(id)?.transit === false;
  }

  /** Gets its own frames, and those for others go past it: a leaf, or one that swallowed some. */
  spreadsNothing(id: NodeId): boolean {
    return this.isLeaf(id) || (this.isDistrusted(id) && this.#hasTrusted());
  }

  isDistrusted(id: NodeId): boolean {
    return this.#distrusted.has(id);
  }

  /** With nobody else to carry, one that swallows some may carry the rest. */
  #hasTrusted(): boolean {
    for (const id of this.#neighbours.keys()) {
      if (!this.#distrusted.has(id) && !this.isLeaf(id)) return true;
    }
    return false;
  }

  /** What went over the neighbour was lost, and came through over another one. */
  distrust(id: NodeId, nowMs: number): void {
    if (!this.#neighbours.has(id)) return;
    const before = this.#distrusted.get(id)?.forMs ?? this.#forgiven.get(id) ?? 0;
    const forMs = Math.min(distrustMaxMs, Math.max(distrustMs, 2 * before));
    this.#distrusted.set(id, { untilMs: nowMs + forMs, forMs });
    this.#changed();
  }

  /** Those whose time is over carry again; the next time it is longer. */
  forgive(nowMs: number): void {
    for (const [id, { untilMs, forMs }] of this.#distrusted) {
      if (untilMs > nowMs) continue;
      this.#distrusted.delete(id);
      this.#forgiven.set(id, forMs);
      this.#changed();
    }
  }

  forgivesMs(): number | null {
    let at: number | null = null;
    for (const { untilMs } of this.#distrusted.values()) at = Math.min(at ?? untilMs, untilMs);
    return at;
  }

  get distrusted(): number {
    return this.#distrusted.size;
  }

  /** A neighbour that others' frames may go over; until it says otherwise, everybody may. */
  carries(id: NodeId): boolean {
    return this.#neighbours.has(id) && !this.isLeaf(id);
  }

  /** Whom a neighbour has links to, as it told; for the operator. */
  neighboursOf(id: NodeId): readonly NodeId[] {
    return this.#neighbours.get(id)?.neighbours ?? [];
  }

  /** A link is up, on a path of its own. */
  up(id: NodeId, nowMs: number): void {
    if (id === this.self || this.#neighbours.has(id)) return;
    this.#neighbours.set(id, { transit: true, neighbours: [] });
    this.#changed();
    this.#due = [nowMs + advertiseMs, nowMs + repeatMs];
  }

  down(id: NodeId, nowMs: number): void {
    if (!this.#neighbours.delete(id)) return;
    this.#distrusted.delete(id);
    this.#forgiven.delete(id);
    this.#changed();
    this.#due = [nowMs + advertiseMs, nowMs + repeatMs];
  }

  /** False: from somebody who is no neighbour. */
  hear(from: NodeId, { transit, neighbours }: Advertisement): boolean {
    const before = this.#neighbours.get(from);
    if (before === undefined) return false;
    const list = neighbours.slice(0, maxAdvertised).filter((id) => id !== this.self);
    const same =
      before.transit === transit &&
      before.neighbours.length === list.length &&
      before.neighbours.every((id, index) => id === list[index]);
    if (same) return true;
    this.#neighbours.set(from, { transit, neighbours: list });
    this.#changed();
    return true;
  }

  /** All neighbours, sorted. */
  sorted(): readonly NodeId[] {
    this.#sorted ??= [...this.#neighbours.keys()].sort();
    return this.#sorted;
  }

  /** When `advertise` has something to say; null: with no neighbour, never. */
  dueMs(): number | null {
    return this.#neighbours.size === 0 ? null : (this.#due[0] ?? null);
  }

  /** The own list, for every neighbour, if it is time; the next time is set. */
  advertise(nowMs: number): Advertisement | null {
    const due = this.dueMs();
    if (due === null || due > nowMs) return null;
    const later = this.#due.filter((atMs) => atMs > nowMs);
    this.#due = later.length > 0 ? later : [nowMs + refreshMs];
    return { kind: 'neighbours', transit: this.transit, neighbours: this.#advertised() };
  }

  /** Neighbours that are the node itself, or have said that they have a link to it and carry. */
  leadingTo(id: NodeId): readonly NodeId[] {
    const vias = this.#seen().vias.get(id) ?? [];
    return vias.filter((via) => via === id || this.carries(via));
  }

  /** Ids in sight, the nearest to `target` first, either way round. Walks only as far as it is asked. */
  *towards(target: NodeId): Generator<Sighting> {
    const { ids, vias } = this.#seen();
    const count = ids.length;
    let right = lowerBound(ids, target);
    let left = right - 1;
    for (let n = 0; n < count; n += 1) {
      const after = ids[right % count];
      const before = ids[(left + count) % count];
      if (after === undefined || before === undefined) return;
      const takeAfter = distance(after, target) <= distance(before, target);
      const id = takeAfter ? after : before;
      if (takeAfter) right += 1;
      else left -= 1;
      yield { id, vias: vias.get(id) ?? [] };
    }
  }

  /** With too many to name, evenly spread ones. */
  #advertised(): readonly NodeId[] {
    const all = this.sorted();
    const step = Math.max(1, all.length / maxAdvertised);
    return all.filter((_, index) => Math.floor(index / step) !== Math.floor((index - 1) / step));
  }

  #changed(): void {
    this.#version += 1;
    this.#sorted = null;
    this.#horizon = null;
  }

  #seen(): { ids: readonly NodeId[]; vias: ReadonlyMap<NodeId, readonly NodeId[]> } {
    if (this.#horizon !== null) return this.#horizon;
    const vias = new Map<NodeId, NodeId[]>();
    for (const id of this.#neighbours.keys()) vias.set(id, [id]);
    for (const [via, { transit, neighbours }] of this.#neighbours) {
      if (!transit) continue;
      for (const id of neighbours) {
        const known = vias.get(id);
        if (known === undefined) vias.set(id, [via]);
        else if (!known.includes(via)) known.push(via);
      }
    }
    this.#horizon = { ids: [...vias.keys()].sort(), vias };
    return this.#horizon;
  }
}
