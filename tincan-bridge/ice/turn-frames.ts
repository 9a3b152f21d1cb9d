/**
 * Cuts what a TURN server sends over TCP or TLS into STUN messages and ChannelData (RFC 8656 section
 * 12.5). Owns the bytes of one unfinished frame, at most; a stream that cannot be cut is an error for
 * good: werift's own cutting would keep every byte that comes after.
 */
import { EvioError } from '../../base/errors.ts';

const stunHeaderBytes = 20;
const channelHeaderBytes = 4;
/** First bytes: STUN's are smaller, channels go from 0x4000 to 0x4fff (RFC 8656 section 12). */
const firstChannel = 0x40;
const lastChannel = 0x4f;
const magicCookie = 0x2112_a442;
/** Both lengths are of 16 bits. */
export const maxTurnFrameBytes = stunHeaderBytes + 0xffff;

export class TurnFrames {
  #rest: Buffer = Buffer.alloc(0);

  get unfinishedBytes(): number {
    return this.#rest.length;
  }

  /** The frames that are whole now, padding included. Throws where no frame can begin. */
  push(bytes: Buffer): Buffer[] {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    const frames: Buffer[] = [];
    let at = 0;
    for (;;) {
      const length = frameBytes(all, at);
      if (length === null || at + length > all.length) break;
      frames.push(all.subarray(at, at + length));
      at += length;
    }
    // A copy: what is kept for long should not hold a whole read in memory.
    this.#rest = Buffer.from(all.subarray(at));
    return frames;
  }
}

/** How long the frame is that begins there; null when too little of it has come to say. */
function frameBytes(bytes: Buffer, at: number): number | null {
  const left = bytes.length - at;
  if (left === 0) return null;
  const first = bytes.readUInt8(at);
  if (first > lastChannel) throw malformed(`a frame begins with ${first}`);
  if (left < 4) return null;
  const length = bytes.readUInt16BE(at + 2);
  // Over a stream ChannelData is padded to four bytes, which its length does not count.
  if (first >= firstChannel) return channelHeaderBytes + ((length + 3) & ~3);
  if (length % 4 !== 0) throw malformed(`a STUN message of ${length} bytes`);
  if (left < 8) return null;
  if (bytes.readUInt32BE(at + 4) !== magicCookie)
    throw malformed('a STUN message without its cookie');
  return stunHeaderBytes + length;
}

const malformed = (what: string): EvioError =>
  new EvioError('request.invalid', `the TURN server's stream is no TURN: ${what}`);
