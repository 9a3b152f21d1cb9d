/**
 * JSON lines for a reader who may be slow: beyond a bound lines are dropped and counted, and the
 * count is told as soon as there is room. Owns the bound; never blocks the writer.
 */
import type { Writable } from 'node:stream';
import type { WatchLine } from './schema.ts';

/** Waiting for one reader at most, bytes: some thousand events. */
export const maxWaitingBytes = 1_048_576;

export class LineWriter {
  readonly #out: Writable;
  #dropped = 0;

  constructor(out: Writable) {
    this.#out = out;
    out.on('drain', () => this.#tellDropped());
  }

  write(value: unknown): void {
    if (this.#out.writableLength > maxWaitingBytes) {
      this.#dropped += 1;
      return;
    }
    this.#tellDropped();
    this.#out.write(`${toJson(value)}\n`);
  }

  #tellDropped(): void {
    if (this.#dropped === 0) return;
    const line: WatchLine = { kind: 'dropped', count: this.#dropped };
    this.#dropped = 0;
    this.#out.write(`${toJson(line)}\n`);
  }
}

/** JSON without credentials: those of ICE travel in messages as plain texts, by these names, also sealed. */
export const toJson = (value: unknown): string =>
  JSON.stringify(value, (key, inner: unknown) =>
    /^(password|ufrag|key|secret|envelope)$/i.test(key) && inner !== null ? '***' : inner,
  );
