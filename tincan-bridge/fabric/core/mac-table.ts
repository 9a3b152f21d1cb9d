/**
 * Which station is behind whom: the learning table of the switch. Owns the rules of learning, moving,
 * claiming and ageing; writes nothing itself (`stations.ts` mirrors it into the datapath). Pure: time
 * and idle times are arguments.
 */
import type { Mac, NodeId } from '../../../base/ids.ts';

/** Stations that are kept: a peer that invents addresses fills its share, not the memory. */
export const maxStations = 16_384;
/** Stations that one node may have; beyond, the rest of its frames pass without being learnt. */
export const maxStationsOfNode = 4_096;
/** A station that was not heard of for this long is forgotten (IEEE 802.1D section 7.9). */
export const ageingMs = 300_000;

/** Behind the TAP, or behind a node. */
export type Place = { readonly kind: 'local' } | { readonly kind: 'node'; readonly node: NodeId };

export type Learnt =
  /** New or moved: to be written into the tables. */
  | { readonly kind: 'learnt'; readonly moved: boolean }
  | { readonly kind: 'known' }
  /** A node claims an address that the host side owns. */
  | { readonly kind: 'spoofed' }
  /** No room: the frame passes, its source stays unknown. */
  | { readonly kind: 'full' };

interface Entry {
  place: Place;
  heardMs: number;
}

/** Whether the first byte of the address marks a group (IEEE 802 section 8.2); none may be a source. */
export const isGroup = (mac: Mac): boolean => (Number.parseInt(mac.slice(0, 2), 16) & 1) === 1;

export class MacTable {
  readonly #entries = new Map<Mac, Entry>();
  readonly #perNode = new Map<NodeId, number>();

  get size(): number {
    return this.#entries.size;
  }

  find(mac: Mac): Place | null {
    return this.#entries.get(mac)?.place ?? null;
  }

  /** A frame with this source came from `place`. */
  learn(mac: Mac, place: Place, nowMs: number): Learnt {
    const entry = this.#entries.get(mac);
    if (entry === undefined) {
      if (!this.#hasRoom(place)) return { kind: 'full' };
      this.#entries.set(mac, { place, heardMs: nowMs });
      this.#count(place, 1);
      return { kind: 'learnt', moved: false };
    }
    if (samePlace(entry.place, place)) {
      entry.heardMs = nowMs;
      return { kind: 'known' };
    }
    if (entry.place.kind === 'local') return { kind: 'spoofed' };
    this.#count(entry.place, -1);
    this.#count(place, 1);
    this.#entries.set(mac, { place, heardMs: nowMs });
    return { kind: 'learnt', moved: true };
  }

  /** Whether the station was behind the node, which says that it is not any more. */
  gone(mac: Mac, node: NodeId): boolean {
    const place = this.find(mac);
    if (place?.kind !== 'node' || place.node !== node) return false;
    this.#forget((_, of) => of === mac);
    return true;
  }

  /** Stations of the host side that `left` says so of; forgotten, so that another place may have them. */
  releaseLocal(left: (mac: Mac) => boolean): readonly Mac[] {
    return this.#forget(({ place }, mac) => place.kind === 'local' && left(mac));
  }

  clear(): readonly Mac[] {
    return this.#forget(() => true);
  }

  /** The stations behind a node. */
  ofNode(node: NodeId): readonly Mac[] {
    const isThere = ({ place }: Entry): boolean => place.kind === 'node' && place.node === node;
    return [...this.#entries].filter(([, entry]) => isThere(entry)).map(([mac]) => mac);
  }

  /** The stations that were behind a node whose session ended; forgotten. */
  forgetNode(node: NodeId): readonly Mac[] {
    return this.#forget(({ place }) => place.kind === 'node' && place.node === node);
  }

  /**
   * Forgets what is idle. `idleMs` asks the tables, which see the frames that never come up; null
   * when they do not know the address.
   */
  age(nowMs: number, idleMs: (mac: Mac) => number | null): readonly Mac[] {
    for (const [mac, entry] of this.#entries) {
      if (nowMs - entry.heardMs < ageingMs) continue;
      const idle = idleMs(mac);
      if (idle !== null) entry.heardMs = Math.max(entry.heardMs, nowMs - idle);
    }
    return this.#forget(({ heardMs }) => nowMs - heardMs >= ageingMs);
  }

  /** For the operator, at most `limit`. */
  list(limit: number): ReadonlyArray<{ readonly mac: Mac; readonly place: Place }> {
    const found: Array<{ readonly mac: Mac; readonly place: Place }> = [];
    for (const [mac, { place }] of this.#entries) {
      if (found.length >= limit) break;
      found.push({ mac, place });
    }
    return found;
  }

  #hasRoom(place: Place): boolean {
    if (this.#entries.size >= maxStations) return false;
    return place.kind === 'local' || (this.#perNode.get(place.node) ?? 0) < maxStationsOfNode;
  }

  #count(place: Place, by: number): void {
    if (place.kind === 'local') return;
    const count = (this.#perNode.get(place.node) ?? 0) + by;
    if (count <= 0) this.#perNode.delete(place.node);
    else this.#perNode.set(place.node, count);
  }

  #forget(gone: (entry: Entry, mac: Mac) => boolean): readonly Mac[] {
    const macs = [...this.#entries].filter(([mac, entry]) => gone(entry, mac)).map(([mac]) => mac);
    for (const mac of macs) {
      const entry = this.#entries.get(mac);
      if (entry !== undefined) this.#count(entry.place, -1);
      this.#entries.delete(mac);
    }
    return macs;
  }
}

const samePlace = (a: Place, b: Place): boolean =>
  a.kind === 'local' ? b.kind === 'local' : b.kind === 'node' && a.node === b.node;
