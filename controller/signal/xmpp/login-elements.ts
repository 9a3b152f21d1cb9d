/**
 * The server's elements during login, which are waited for one after the other. Owns their order and how
 * many may wait.
 */
import type { Stanza } from '../core/stanza.ts';

/** Elements that wait during login: the server speaks when asked. */
const maxLoginElements = 32;

export class LoginElements {
  #elements: Stanza[] = [];
  #wake: (() => void) | null = null;

  /** False: there are too many. */
  add(stanza: Stanza): boolean {
    if (this.#elements.length >= maxLoginElements) return false;
    this.#elements.push(stanza);
    this.wake();
    return true;
  }

  clear(): void {
    this.#elements = [];
  }

  /** Whoever waits looks again whether the stream has failed. */
  wake(): void {
    this.#wake?.();
  }

  /** The next one; throws what `failure` says when the stream is over. */
  async next(failure: () => Error | null): Promise<Stanza> {
    for (;;) {
      const error = failure();
      if (error !== null) throw error;
      const first = this.#elements.shift();
      if (first !== undefined) return first;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
