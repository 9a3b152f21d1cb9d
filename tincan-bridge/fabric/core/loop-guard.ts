/**
 * Whether the host side of this node is joined with another member's outside the overlay (a cable
 * between two bridges). Owns the probes that find it out, the rule which of the two TAPs is closed, and
 * when it opens again; time and randomness are arguments.
 *
 *   A (smaller id)                           C
 *     probe ──TAP A──▶ bridges ──TAP C──▶ hears A's nonce
 *     ◀───────── in the session: heard(nonce) ─────────
 *     ────────── in the session: confirmed(nonce) ────▶  closes its TAP; its stations are A's now
 *
 * The nonce is asked back, so that a station behind C cannot close C's TAP by making probes up. Who
 * hears its own probe closes too: its own side is a loop. What is not heard any more for `holdMs` is over.
 */
import type { NodeId } from '../../../base/ids.ts';
import { remember } from '../../../base/remember.ts';
import type { LoopFrame } from './loop-frame.ts';

/** A cable is found within this; a frame for the own host side costs it next to nothing. */
export const probeMs = 1_000;
/** Three probes in a row may get lost in the storm that they are to end. */
export const holdMs = 3_500;
/** Probes that an answer or a moved station causes: at most so often. */
const spacingMs = 100;
/** Nonces of ours that may still come back. */
const maxNonces = 32;
/** Members at once whose host side is ours. */
const maxJoined = 64;

export type LoopEffect =
  | { readonly kind: 'probe'; readonly frame: LoopFrame }
  | { readonly kind: 'send'; readonly to: NodeId; readonly frame: LoopFrame }
  /** The host side has changed: what was learnt of it is wrong. */
  | { readonly kind: 'forget' }
  | { readonly kind: 'joined'; readonly node: NodeId; readonly closed: boolean }
  | { readonly kind: 'parted'; readonly node: NodeId; readonly closed: boolean };

export class LoopGuard {
  readonly #self: NodeId;
  readonly #random64: () => bigint;
  readonly #nonces: bigint[] = [];
  readonly #asked = new Map<bigint, NodeId>();
  readonly #joined = new Map<NodeId, number>();
  #probedMs = Number.NEGATIVE_INFINITY;
  #forgetMs: number | null = null;

  constructor(self: NodeId, random64: () => bigint) {
    this.#self = self;
    this.#random64 = random64;
  }

  /** Members whose host side is ours as well; this node itself: its own side is a loop. */
  get joined(): readonly NodeId[] {
    return [...this.#joined.keys()];
  }

  /** No frame goes in or out at the TAP. */
  get isClosed(): boolean {
    for (const node of this.#joined.keys()) if (node <= this.#self) return true; // asked for each frame
    return false;
  }

  /** Once in `probeMs`. */
  tick(nowMs: number): readonly LoopEffect[] {
    const effects: LoopEffect[] = [];
    for (const [node, untilMs] of this.#joined) {
      if (untilMs > nowMs) continue;
      this.#joined.delete(node);
      effects.push({ kind: 'forget' }, { kind: 'parted', node, closed: this.isClosed });
    }
    // Once more: what was on its way when the loop was found has taught wrong things after it.
    if (this.#forgetMs !== null && this.#forgetMs <= nowMs) {
      this.#forgetMs = null;
      effects.push({ kind: 'forget' });
    }
    return [...effects, ...this.#probe(nowMs)];
  }

  /** A station of a member appeared on the host side: moved, or the first sign of a loop. */
  suspect(nowMs: number): readonly LoopEffect[] {
    return nowMs - this.#probedMs < spacingMs ? [] : this.#probe(nowMs);
  }

  /** A probe came in at the TAP. */
  heardProbe({ node, nonce }: LoopFrame, nowMs: number): readonly LoopEffect[] {
    if (node === this.#self) return this.#nonces.includes(nonce) ? this.#join(node, nowMs) : [];
    if (node > this.#self) return this.suspect(nowMs); // it is the one that closes: it must hear us
    remember(this.#asked, nonce, node, maxNonces);
    return [{ kind: 'send', to: node, frame: { kind: 'heard', node, nonce } }];
  }

  /** An answer came in a session with `from`. */
  heardAnswer(from: NodeId, { kind, nonce }: LoopFrame, nowMs: number): readonly LoopEffect[] {
    if (kind === 'heard' && this.#nonces.includes(nonce) && from > this.#self) {
      const frame: LoopFrame = { kind: 'confirmed', node: this.#self, nonce };
      return [{ kind: 'send', to: from, frame }, ...this.#join(from, nowMs)];
    }
    if (kind === 'confirmed' && this.#asked.get(nonce) === from) {
      this.#asked.delete(nonce);
      return this.#join(from, nowMs);
    }
    return [];
  }

  #join(node: NodeId, nowMs: number): readonly LoopEffect[] {
    const known = this.#joined.has(node);
    if (!known && this.#joined.size >= maxJoined) return [];
    this.#joined.set(node, nowMs + holdMs);
    if (known) return [];
    this.#forgetMs = nowMs + probeMs;
    return [{ kind: 'forget' }, { kind: 'joined', node, closed: this.isClosed }];
  }

  #probe(nowMs: number): readonly LoopEffect[] {
    this.#probedMs = nowMs;
    const nonce = this.#random64();
    this.#nonces.push(nonce);
    if (this.#nonces.length > maxNonces) this.#nonces.shift();
    return [{ kind: 'probe', frame: { kind: 'probe', node: this.#self, nonce } }];
  }
}
