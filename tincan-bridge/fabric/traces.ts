/**
 * Traces on their way to a node, over the hops that a frame would take (`core/trace.ts`). Owns how they
 * are begun, passed on and ended; the way is the router's choice.
 */
import type { NodeId } from '../../base/ids.ts';
import { encodeTrace, passTrace, type Trace } from './core/trace.ts';
import type { RingDeps } from './ring.ts';

export interface TracesDeps extends Pick<RingDeps, 'self' | 'transit' | 'onTraced'> {
  /** The neighbour has not brought too many. */
  readonly mayBring: (from: NodeId) => boolean;
  /** Next hop to the node, not back to whom it came from. */
  readonly next: (target: NodeId, from: NodeId | null) => NodeId | null;
  readonly send: (to: NodeId, bytes: Uint8Array) => void;
}

export class Traces {
  readonly counts = { tracesRefused: 0 };
  readonly #deps: TracesDeps;

  constructor(deps: TracesDeps) {
    this.#deps = deps;
  }

  start(target: NodeId, number: bigint, ttl: number): void {
    this.#send({ origin: this.#deps.self, target, number, ttl, hops: [] }, null);
  }

  /** A trace came over the session of a neighbour. */
  heard(from: NodeId, trace: Trace): void {
    const { self, transit } = this.#deps;
    if (!this.#deps.mayBring(from)) {
      this.counts.tracesRefused += 1;
      return;
    }
    if (trace.target === self) {
      this.#deps.onTraced({ ...trace, hops: [...trace.hops, self] });
      return;
    }
    const passed = transit ? passTrace(trace, self) : null;
    if (passed === null) this.counts.tracesRefused += 1;
    else this.#send(passed, from);
  }

  #send(trace: Trace, ingress: NodeId | null): void {
    const via = this.#deps.next(trace.target, ingress);
    if (via !== null) this.#deps.send(via, encodeTrace(trace));
  }
}
