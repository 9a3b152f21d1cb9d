/**
 * Round trip time and rates of one session, smoothed for the operator, and since when no frame has
 * crossed. Owns the averages.
 */
import type { SessionCounters } from '../datapath/datapath.ts';

/** Weight of a new measurement (RFC 6298 uses the same for the round trip time). */
const weight = 1 / 8;

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
