/**
 * The operator's ping of one peer: a question in the session, and over the ring a trace beside it that
 * collects the nodes between. Owns what is asked and until when; each is answered once.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import type { NodeId } from '../../base/ids.ts';
import type { PathSummary } from './associations.ts';

/** An answer without its trace is told after this: the trace was lost. */
const traceMs = 500;
/** At once, of one peer. */
const maxAsked = 8;

export interface Pinged {
  readonly rttMs: number | null;
  readonly path: PathSummary;
  readonly hops: readonly NodeId[];
}

export interface OverlayPingDeps {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly peer: NodeId;
  readonly path: () => PathSummary;
  /** Sends the question, and the trace where it needs one; false: the session is not up yet. */
  readonly ask: (nonce: bigint, traced: boolean) => boolean;
}

interface Asked {
  sentMs: number | null;
  rttMs: number | null;
  hops: readonly NodeId[] | null;
  readonly end: () => void;
  readonly over: AbortSignal;
}

export class OverlayPings {
  readonly #deps: OverlayPingDeps;
  readonly #asked = new Map<bigint, Asked>();

  constructor(deps: OverlayPingDeps) {
    this.#deps = deps;
  }

  ping(timeoutMs: number): Promise<Pinged> {
    const { clock, signal, path } = this.#deps;
    const nonce = randomBytes(8).readBigUInt64BE();
    const over = new AbortController();
    return new Promise((resolve) => {
      if (this.#asked.size >= maxAsked || signal.aborted) {
        resolve({ rttMs: null, path: path(), hops: [] });
        return;
      }
      const end = (): void => {
        this.#asked.delete(nonce);
        over.abort();
        const hops = asked.rttMs === null ? [] : (asked.hops ?? [this.#deps.peer]);
        resolve({ rttMs: asked.rttMs, path: path(), hops });
      };
      const asked: Asked = { sentMs: null, rttMs: null, hops: null, end, over: over.signal };
      this.#asked.set(nonce, asked);
      signal.addEventListener('abort', end, { signal: over.signal });
      clock.after(timeoutMs, over.signal, end);
      this.#ask(nonce, asked);
    });
  }

  /** The session is up. */
  flush(): void {
    for (const [nonce, asked] of this.#asked) if (asked.sentMs === null) this.#ask(nonce, asked);
  }

  /** False: none of ours. */
  answered(nonce: bigint): boolean {
    const asked = this.#asked.get(nonce);
    if (asked?.sentMs == null) return false;
    asked.rttMs ??= this.#deps.clock.now() - asked.sentMs;
    this.#look(asked);
    return true;
  }

  traced(nonce: bigint, hops: readonly NodeId[]): void {
    const asked = this.#asked.get(nonce);
    if (asked === undefined) return;
    asked.hops ??= hops;
    this.#look(asked);
  }

  #ask(nonce: bigint, asked: Asked): void {
    const traced = this.#deps.path().kind === 'ring';
    if (!this.#deps.ask(nonce, traced)) return;
    asked.sentMs = this.#deps.clock.now();
    if (!traced) asked.hops = [this.#deps.peer];
  }

  #look(asked: Asked): void {
    if (asked.rttMs === null) return;
    if (asked.hops !== null) asked.end();
    else this.#deps.clock.after(traceMs, asked.over, asked.end);
  }
}
