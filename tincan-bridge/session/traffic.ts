/**
 * Round trip time and rates of one session, smoothed for the operator, and what its frames say of it:
 * since when none has crossed, whether they flow. Owns the averages.
 */
import type { SessionCounters } from '../datapath/datapath.ts';
import { lateMs, restMs, tickMs } from './core/timers.ts';

/** Weight of a new measurement (RFC 6298 uses the same for the round trip time). */
const weight = 1 / 8;

/** Bytes of frames, each way. */
export interface Payload {
  readonly sent: number;
  readonly received: number;
}

/**
 * `used`: frames flow, or one waits for its answer; `calm`: an exchange is over, or only the peer has
 * sent; `unused`: none has crossed for `restMs`.
 */
export type Use = 'used' | 'calm' | 'unused';

interface Sample {
  readonly atMs: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

export class Traffic {
  #rttMs: number | null = null;
  #last: Sample | null = null;
  #sent = 0;
  #received = 0;
  #payload: { readonly bytes: number; readonly atMs: number };
  #frames = { sent: 0, received: 0, grewMs: Number.NEGATIVE_INFINITY, flow: false, wait: false };

  constructor(nowMs: number) {
    this.#payload = { bytes: 0, atMs: nowMs };
  }

  get rttMs(): number | null {
    return this.#rttMs === null ? null : Math.round(this.#rttMs * 100) / 100;
  }
  get sentBitsPerSecond(): number {
    return Math.round(this.#sent);
  }
  get receivedBitsPerSecond(): number {
    return Math.round(this.#received);
  }

  /** Since the total of the frames has grown, or since the session was made. */
  payloadAgoMs(payloadBytes: number, nowMs: number): number {
    if (payloadBytes !== this.#payload.bytes) this.#payload = { bytes: payloadBytes, atMs: nowMs };
    return nowMs - this.#payload.atMs;
  }

  /** Asked each time that the session looks at itself. */
  useOf({ sent, received }: Payload, nowMs: number): Use {
    const last = this.#frames;
    const [out, back] = [sent > last.sent, received > last.received];
    if (out || back) {
      const flow = nowMs - last.grewMs <= restMs + tickMs;
      this.#frames = { sent, received, grewMs: nowMs, flow, wait: out && !back };
    }
    const { grewMs, flow, wait } = this.#frames;
    const agoMs = nowMs - grewMs;
    if (wait && agoMs < lateMs) return 'used';
    if (agoMs >= restMs) return 'unused';
    return flow ? 'used' : 'calm';
  }

  measured(rttMs: number): void {
    this.#rttMs = this.#rttMs === null ? rttMs : this.#rttMs + weight * (rttMs - this.#rttMs);
  }

  /** Rates since the sample before; a new association starts anew. */
  sample({ sentBytes, receivedBytes }: SessionCounters, atMs: number): void {
    const last = this.#last;
    this.#last = { atMs, sentBytes, receivedBytes };
    if (last === null || sentBytes < last.sentBytes || atMs <= last.atMs) return;
    const bits = 8_000 / (atMs - last.atMs);
    this.#sent = (sentBytes - last.sentBytes) * bits;
    this.#received = Math.max(0, receivedBytes - last.receivedBytes) * bits;
  }
}
