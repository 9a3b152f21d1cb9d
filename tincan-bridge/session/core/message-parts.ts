/**
 * Messages of one controller to another, cut into control payloads and put together again. Owns the
 * bounds of what a peer can make us keep; sends nothing. A message is repeated as a whole until the
 * peer says that it is there, so a part may come twice, in any order, or again when all is done.
 */
import { maxMessageChars } from '../../protocol/schema.ts';

/** Of text in one part; with all headers it fits the narrowest path there is. */
export const partBytes = 1_000;
const maxParts = 64;
/** Unfinished ones of one peer; the oldest gives way. */
const maxPartial = 4;
/** Finished ones that are recognised when they are repeated. */
const maxDone = 256;

/** The parts of a text; null: too long, or nothing. */
export function cutMessage(body: string): readonly Uint8Array[] | null {
  const bytes = new TextEncoder().encode(body);
  const count = Math.ceil(bytes.length / partBytes);
  if (body.length > maxMessageChars || count < 1 || count > maxParts) return null;
  return Array.from({ length: count }, (_, n) =>
    bytes.subarray(n * partBytes, (n + 1) * partBytes),
  );
}

interface Unfinished {
  readonly count: number;
  readonly parts: Map<number, Uint8Array>;
}

export interface Part {
  readonly nonce: bigint;
  readonly index: number;
  readonly count: number;
  readonly part: Uint8Array;
}

/** `done`: the peer is to be told; `body` only the first time. */
export type Joined =
  | { readonly kind: 'waits' }
  | { readonly kind: 'refused' }
  | { readonly kind: 'done'; readonly body: string | null };

export class MessageParts {
  readonly #partial = new Map<bigint, Unfinished>();
  readonly #done = new Set<bigint>();

  add({ nonce, index, count, part }: Part): Joined {
    if (this.#done.has(nonce)) return { kind: 'done', body: null };
    if (count > maxParts || index >= count || part.length > partBytes) return { kind: 'refused' };
    const known = this.#partial.get(nonce) ?? { count, parts: new Map() };
    if (known.count !== count) return { kind: 'refused' };
    known.parts.set(index, part);
    this.#partial.set(nonce, known);
    const [oldest] = this.#partial.keys();
    if (this.#partial.size > maxPartial && oldest !== undefined) this.#partial.delete(oldest);
    if (known.parts.size < count) return { kind: 'waits' };
    this.#partial.delete(nonce);
    const body = joined(known);
    if (body === null) return { kind: 'refused' };
    this.#done.add(nonce);
    const [first] = this.#done;
    if (this.#done.size > maxDone && first !== undefined) this.#done.delete(first);
    return { kind: 'done', body };
  }
}

/** Null: no text, or too much of it. */
function joined({ count, parts }: Unfinished): string | null {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  try {
    let body = '';
    for (let n = 0; n < count; n += 1) body += decoder.decode(parts.get(n), { stream: true });
    body += decoder.decode();
    return body.length >= 1 && body.length <= maxMessageChars ? body : null;
  } catch {
    return null; // not UTF-8: nonsense of an authenticated peer
  }
}
