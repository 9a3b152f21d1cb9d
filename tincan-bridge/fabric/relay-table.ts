/**
 * The relay entries of the datapath: destination → next hop, so that envelopes in transit never come up
 * again. Owns their number and their end; which hop it is, the fabric says.
 */
import type { NodeId } from '../../base/ids.ts';
import type { Datapath, SessionNumber } from '../datapath/datapath.ts';

/** The oldest gives way. */
const maxRelays = 8_192;

export class RelayTable {
  readonly #datapath: Pick<Datapath, 'setRelay' | 'removeRelay'>;
  readonly #hops = new Map<NodeId, NodeId>();

  constructor(datapath: Pick<Datapath, 'setRelay' | 'removeRelay'>) {
    this.#datapath = datapath;
  }

  get size(): number {
    return this.#hops.size;
  }

  /** An entry that stands is left, whoever the envelope came from. */
  set(destination: NodeId, via: NodeId, session: SessionNumber): void {
    if (this.#hops.has(destination)) return;
    this.#datapath.setRelay(destination, session);
    this.#hops.set(destination, via);
    const [oldest] = this.#hops.keys();
    if (this.#hops.size > maxRelays && oldest !== undefined) this.#remove(oldest);
  }

  /** Ends those that do not hold any more. */
  keep(holds: (destination: NodeId, via: NodeId) => boolean): void {
    for (const [destination, via] of this.#hops) {
      if (!holds(destination, via)) this.#remove(destination);
    }
  }

  #remove(destination: NodeId): void {
    this.#hops.delete(destination);
    this.#datapath.removeRelay(destination);
  }
}
