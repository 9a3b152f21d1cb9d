/**
 * Virtual time and seeded randomness for simulations: a heap of events, run in the order of their
 * times (those of one time in the order in which they were set). Owns the clock; knows no node.
 */
import type { Clock } from '../../base/clock.ts';
import { NodeId } from '../../base/ids.ts';

/** mulberry32: small, seedable, good enough for draws and jitter; never for secrets. */
export function seeded(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = a;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

export const random32 = (random: () => number): number => Math.floor(random() * 4_294_967_296);

/** Ids as they are in life: uniform on the ring. */
export const randomId = (random: () => number): NodeId =>
  NodeId.parse(
    Array.from({ length: 4 }, () => random32(random).toString(16).padStart(8, '0')).join(''),
  );

interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

export class VirtualTime {
  #nowMs = 0;
  #order = 0;
  readonly #heap: Event[] = [];

  get nowMs(): number {
    return this.#nowMs;
  }

  get pending(): number {
    return this.#heap.length;
  }

  at(atMs: number, run: () => void): void {
    const heap = this.#heap;
    const event = { atMs: Math.max(atMs, this.#nowMs), order: this.#order, run };
    this.#order += 1;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const up = (at - 1) >> 1;
      const parent = heap[up];
      if (parent === undefined || !before(event, parent)) break;
      heap[at] = parent;
      at = up;
    }
    heap[at] = event;
  }

  after(delayMs: number, run: () => void): void {
    this.at(this.#nowMs + delayMs, run);
  }

  /** For shells; its wall clock is some day of 2026. */
  clock(): Clock {
    return {
      now: () => this.#nowMs,
      wallNow: () => 1_780_000_000_000 + this.#nowMs,
      after: (ms, signal, call) =>
        this.after(ms, () => {
          if (!signal.aborted) call();
        }),
      timer: (ms, call) => {
        let over = false;
        this.after(ms, () => {
          if (!over) call();
        });
        return () => {
          over = true;
        };
      },
    };
  }

  /** Runs all that is due up to then. */
  runUntil(atMs: number): void {
    for (let next = this.#heap[0]; next !== undefined && next.atMs <= atMs; next = this.#heap[0]) {
      this.#pop();
      this.#nowMs = next.atMs;
      next.run();
    }
    this.#nowMs = Math.max(this.#nowMs, atMs);
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      const a = heap[left];
      const b = heap[left + 1];
      if (a === undefined) break;
      const [child, index] = b !== undefined && before(b, a) ? [b, left + 1] : [a, left];
      if (!before(child, last)) break;
      heap[at] = child;
      at = index;
    }
    heap[at] = last;
  }
}

const before = (a: Event, b: Event): boolean =>
  a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
