/**
 * What one attempt finds out about NATs, servers and the peer on its way, for telling people why a
 * path is not a better one. Owns the comparison of mappings; influences nothing.
 */
import type { Endpoint } from '../datapath/datapath.ts';
import type { IceServers } from '../protocol/schema.ts';
import type { Diagnosis } from '../session/core/path-note.ts';
import type { ParsedCandidate } from './candidates.ts';
import type { OwnTransport } from './own-transport.ts';

export class Findings {
  /** How the relay is reached, once there is one. */
  relay: Diagnosis['relay'] = null;
  readonly relayProblems: string[] = [];
  /** What STUN servers saw each socket as. */
  readonly #mapped = new Map<OwnTransport, Endpoint[]>();
  #stunAnswers = 0;
  #ownSymmetric = false;

  /** A STUN server's answer. */
  answered(transport: OwnTransport, mapped: Endpoint): void {
    this.#stunAnswers += 1;
    this.seenAs(transport, mapped);
    this.#mapped.set(transport, [...(this.#mapped.get(transport) ?? []), mapped]);
  }

  /** One socket that is seen with two ports of one address: its NAT maps per destination. */
  seenAs(transport: OwnTransport, mapped: Endpoint): void {
    const known = this.#mapped.get(transport) ?? [];
    if (known.some((m) => m.address === mapped.address && m.port !== mapped.port)) {
      this.#ownSymmetric = true;
    }
  }

  /** `seen`: addresses from which the peer's checks came without being candidates of it. */
  diagnosis(
    servers: IceServers,
    remote: readonly ParsedCandidate[],
    seen: readonly Endpoint[],
  ): Diagnosis {
    const mapped = remote.filter(({ type }) => type === 'srflx');
    const isOtherPort = ({ address, port }: Endpoint): boolean =>
      mapped.some((c) => c.address === address) &&
      !remote.some((c) => c.address === address && c.port === port);
    return {
      stunServers: servers.stun.length,
      stunAnswers: this.#stunAnswers,
      relayServers: servers.turn.length,
      relay: this.relay,
      relayProblems: this.relayProblems,
      ownSymmetric: this.#ownSymmetric,
      peerSymmetric: seen.some(isOtherPort),
      peerCandidates: remote.length,
      peerReflexive: mapped.length > 0,
      peerRelay: remote.some(({ type }) => type === 'relay'),
    };
  }
}
