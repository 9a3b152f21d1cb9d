/**
 * The candidates of the peer in one attempt, and their pairs. Owns how many are kept; which pair is used is
 * werift's choice.
 */

import type { Endpoint } from '../datapath/datapath.ts';
import { type CandidatePolicy, type ParsedCandidate, parseCandidate } from './candidates.ts';
import { Candidate, CandidatePairState, type Connection } from './werift.ts';

/** Remote candidates that are kept. */
const maxRemote = 32;

interface Remote {
  readonly parsed: ParsedCandidate;
  readonly candidate: Candidate;
}

export class PeerCandidates {
  readonly #connection: Connection;
  readonly #policy: CandidatePolicy;
  readonly #directOnly: boolean;
  readonly #all = new Map<string, Remote>();

  constructor(connection: Connection, policy: CandidatePolicy, directOnly: boolean) {
    this.#connection = connection;
    this.#policy = policy;
    this.#directOnly = directOnly;
  }

  get parsed(): readonly ParsedCandidate[] {
    return [...this.#all.values()].map(({ parsed }) => parsed);
  }

  find({ address, port }: Endpoint): ParsedCandidate | null {
    return this.#all.get(`${address} ${port}`)?.parsed ?? null;
  }

  /** Known ones are skipped, bad ones refused. `pairing`: checks of new ones begin. */
  add(candidates: readonly string[], pairing: boolean): void {
    for (const text of candidates) {
      const parsed = parseCandidate(text, this.#policy);
      if (parsed === null || this.#all.size >= maxRemote) continue;
      if (this.#directOnly && parsed.type === 'relay') continue;
      const key = `${parsed.address} ${parsed.port}`;
      if (this.#all.has(key)) continue;
      const { foundation, priority, address, port, type } = parsed;
      const candidate = new Candidate(foundation, 1, 'udp', priority, address, port, type);
      this.#all.set(key, { parsed, candidate });
      if (pairing) this.#connection.addRemoteCandidate(candidate).catch(() => {});
    }
  }

  /**
   * Pairs all remote candidates with relays that came later, and starts failed checks again. Adding
   * a candidate twice is how werift makes the pairs that are missing; the copy is taken out again.
   */
  pairAgain(measuring: boolean): void {
    const { remoteCandidates } = this.#connection;
    for (const { candidate } of this.#all.values()) {
      this.#connection.addRemoteCandidate(candidate).catch(() => {});
      const copy = remoteCandidates.lastIndexOf(candidate);
      if (copy > remoteCandidates.indexOf(candidate)) remoteCandidates.splice(copy, 1);
    }
    for (const pair of this.#connection.candidatePairs) {
      const { state } = pair;
      const isOver = state === CandidatePairState.FAILED;
      // Once a pair is selected nobody else starts those that are new.
      const isStuck = measuring && state === CandidatePairState.FROZEN;
      if (isOver || isStuck) pair.handle = this.#connection.checkStart(pair);
    }
  }
}
