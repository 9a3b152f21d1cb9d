/**
 * Framing of the bridge protocol: u32 big-endian length, then that many bytes of JSON. Owns encoding
 * and the incremental decoder; knows no message. A bad frame throws and the channel must end.
 */
import { EvioError } from '../../base/errors.ts';
import { maxFrameBytes } from './schema.ts';

const headerBytes = 4;
const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

/** One message as a frame. Throws `request.invalid` when it is too long. */
export function encodeFrame(message: unknown): Uint8Array {
  const body = encoder.encode(JSON.stringify(message));
  if (body.length > maxFrameBytes) {
    throw new EvioError(
      'request.invalid',
      `frame of ${body.length} bytes is above ${maxFrameBytes}`,
    );
  }
  const frame = new Uint8Array(headerBytes + body.length);
  new DataView(frame.buffer).setUint32(0, body.length);
  frame.set(body, headerBytes);
  return frame;
}

/** Cuts a byte stream into messages; holds at most one unfinished frame. */
export class FrameDecoder {
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;

  /** Messages that are complete now, in order. Throws `request.invalid`; it is useless after that. */
  push(chunk: Uint8Array): unknown[] {
    this.#pending.push(chunk);
    this.#pendingBytes += chunk.length;
    const messages: unknown[] = [];
    for (;;) {
      const length = this.#nextLength();
      if (length === null || this.#pendingBytes < headerBytes + length) return messages;
      const frame = this.#take(headerBytes + length);
      messages.push(parseBody(frame.subarray(headerBytes)));
    }
  }

  /** Bytes of an unfinished frame: not 0 at end-of-file means that it was cut off. */
  get unfinishedBytes(): number {
    return this.#pendingBytes;
  }

  #nextLength(): number | null {
    if (this.#pendingBytes < headerBytes) return null;
    if ((this.#pending[0]?.length ?? 0) < headerBytes) this.#join();
    const head = this.#pending[0];
    if (head === undefined) return null;
    const length = new DataView(head.buffer, head.byteOffset, head.byteLength).getUint32(0);
    if (length === 0 || length > maxFrameBytes) {
      throw new EvioError('request.invalid', `frame length ${length} is not 1 to ${maxFrameBytes}`);
    }
    return length;
  }

  #take(bytes: number): Uint8Array {
    if ((this.#pending[0]?.length ?? 0) < bytes) this.#join();
    const head = this.#pending[0] ?? new Uint8Array(0);
    const rest = head.subarray(bytes);
    if (rest.length > 0) this.#pending[0] = rest;
    else this.#pending.shift();
    this.#pendingBytes -= bytes;
    return head.subarray(0, bytes);
  }

  /** One copy per frame at most: chunks are joined only when a header or a whole frame is there. */
  #join(): void {
    const joined = new Uint8Array(this.#pendingBytes);
    let at = 0;
    for (const chunk of this.#pending) {
      joined.set(chunk, at);
      at += chunk.length;
    }
    this.#pending = [joined];
  }
}

function parseBody(body: Uint8Array): unknown {
  try {
    return JSON.parse(decoder.decode(body));
  } catch (error) {
    throw new EvioError('request.invalid', 'frame is not JSON in UTF-8', { cause: error });
  }
}
