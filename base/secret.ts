/**
 * A text that must not be printed. Owns the hiding; never stores or fetches.
 */

/** Prints as `***` in logs, JSON and inspection; `reveal()` is the one way to the text. */
export class Secret {
  readonly #text: string;
  constructor(text: string) {
    this.#text = text;
  }
  reveal(): string {
    return this.#text;
  }
  toString(): string {
    return '***';
  }
  toJSON(): string {
    return '***';
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '***';
  }
}
