/**
 * Messages of the two controllers over one session: sends until the peer has it, hands up what came.
 * Owns the repetition and its times; `core/message-parts.ts` cuts and joins.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import { type Budget, fullBudget, spend } from '../fabric/core/budget.ts';
import { type Control, encodeControl } from './core/control.ts';
import { cutMessage, MessageParts } from './core/message-parts.ts';

/** Tried again after this, growing by half: a few round trips of a long way. */
const repeatMs = 300;
/** Given up after this; the controller's own call has a later deadline. */
const giveUpMs = 8_000;
/** Messages to one peer that wait for its answer. */
const maxWaiting = 16;
/** Parts of messages that a peer may bring: some long ones at once, and then a steady trickle. */
const partBudget = { perSecond: 200, burst: 1_000 } as const;

export interface MessageBoxDeps {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Something waits for the session. */
  readonly need: () => void;
  /** Sends a control payload over the session if it is up. */
  readonly send: (payload: Uint8Array) => boolean;
  readonly onMessage: (body: string) => void;
}

interface Waiting {
  readonly parts: readonly Uint8Array[];
  readonly end: (sent: boolean) => void;
}

export class MessageBox {
  readonly #deps: MessageBoxDeps;
  readonly #waiting = new Map<bigint, Waiting>();
  readonly #parts = new MessageParts();
  #budget: Budget;
  refused = 0;

  constructor(deps: MessageBoxDeps) {
    this.#deps = deps;
    this.#budget = fullBudget(partBudget, deps.clock.now());
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** True when the peer has it; false when it has not said so in time. */
  send(body: string): Promise<boolean> {
    const parts = cutMessage(body);
    if (parts === null || this.#waiting.size >= maxWaiting) return Promise.resolve(false);
    const { clock, signal } = this.#deps;
    const nonce = randomBytes(8).readBigUInt64BE();
    const over = new AbortController();
    const either = AbortSignal.any([over.signal, signal]);
    return new Promise((resolve) => {
      const end = (sent: boolean): void => {
        this.#waiting.delete(nonce);
        over.abort();
        resolve(sent);
      };
      this.#waiting.set(nonce, { parts, end });
      signal.addEventListener('abort', () => end(false), { signal: over.signal });
      clock.after(giveUpMs, either, () => end(false));
      const again = (waitMs: number): void => {
        this.#deps.need();
        this.#say(nonce, parts);
        clock.after(waitMs, either, () => again(waitMs * 1.5));
      };
      again(repeatMs);
    });
  }

  /** The session is up: what waits need not wait longer. */
  flush(): void {
    for (const [nonce, { parts }] of this.#waiting) this.#say(nonce, parts);
  }

  heard(control: Control & { readonly kind: 'message' | 'received' }): void {
    if (control.kind === 'received') {
      this.#waiting.get(control.nonce)?.end(true);
      return;
    }
    const { budget, allowed } = spend(this.#budget, this.#deps.clock.now());
    this.#budget = budget;
    const joined = allowed ? this.#parts.add(control) : null;
    if (joined === null || joined.kind === 'refused') this.refused += 1;
    else if (joined.kind === 'done') {
      if (joined.body !== null) this.#deps.onMessage(joined.body);
      this.#deps.send(encodeControl({ kind: 'received', nonce: control.nonce }));
    }
  }

  #say(nonce: bigint, parts: readonly Uint8Array[]): void {
    const count = parts.length;
    parts.every((part, index) =>
      this.#deps.send(encodeControl({ kind: 'message', nonce, index, count, part })),
    );
  }
}
