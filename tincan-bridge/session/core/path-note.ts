/**
 * Why a path is not a better one, from what an attempt measured, and the one thing to change. Owns
 * the words and which finding comes first. Pure.
 */
import type { DirectKind } from './path.ts';

/** What an attempt has measured so far. */
export interface Diagnosis {
  /** STUN servers that were asked, and answers that came. */
  readonly stunServers: number;
  readonly stunAnswers: number;
  /** TURN servers that are known, how one of them is reached, and what is wrong with others. */
  readonly relayServers: number;
  readonly relay: 'udp' | 'tcp' | 'tls' | null;
  readonly relayProblems: readonly string[];
  /** A NAT gives each destination another port: nobody can be told which (RFC 4787 section 4.1). */
  readonly ownSymmetric: boolean;
  readonly peerSymmetric: boolean;
  /** Candidates of the peer, and whether STUN or TURN gave it some. */
  readonly peerCandidates: number;
  readonly peerReflexive: boolean;
  readonly peerRelay: boolean;
}

const symmetricRemedy = 'set it to endpoint-independent mapping ("full cone"), or forward a port';

/** Why a direct path was not found. */
function whyNotDirect(found: Diagnosis): string {
  if (found.stunServers === 0) return 'no STUN server is known: name one in LinkManager.Stun';
  if (found.stunAnswers === 0) {
    return found.relay === 'tcp' || found.relay === 'tls'
      ? `UDP does not get through, the relay is reached over ${found.relay.toUpperCase()}: allow outgoing UDP`
      : 'no STUN server answered: check LinkManager.Stun, and that outgoing UDP is allowed';
  }
  if (found.ownSymmetric) {
    return `the NAT of this site maps per destination (symmetric): ${symmetricRemedy}`;
  }
  if (found.peerSymmetric) {
    return `the peer's NAT maps per destination (symmetric): there, ${symmetricRemedy}`;
  }
  if (!found.peerReflexive && found.peerCandidates > 0) {
    return 'the peer got no answer from a STUN server: allow outgoing UDP there';
  }
  return 'a firewall or NAT lets no packet between the two sites through: allow UDP, or forward a port';
}

/** Why there is no relay either. */
function whyNoRelay(found: Diagnosis): string | null {
  const [problem] = found.relayProblems;
  if (found.relay !== null || found.peerRelay) return null;
  if (found.relayServers === 0) {
    return 'no relay configured (no TURN server is known): name one in LinkManager.Turn';
  }
  return problem === undefined ? 'no relay answered' : problem;
}

/** For a session that is up; null when there is no better path. */
export function pathNote(kind: DirectKind, found: Diagnosis): string | null {
  return kind === 'turn' ? `relayed: ${whyNotDirect(found)}` : null;
}

/** For a peer that cannot be reached: what was found out, or null when nothing was. */
export function unreachableNote(found: Diagnosis): string | null {
  if (found.peerCandidates === 0) return null; // it has not described itself: not a matter of paths
  const relay = whyNoRelay(found);
  return relay === null ? whyNotDirect(found) : `${whyNotDirect(found)}; ${relay}`;
}

/** For a session over the ring; `cause`: why the last attempt found no path. */
export const ringNote = (wanted: boolean, cause: string | null): string =>
  wanted
    ? `over the ring: ${cause ?? 'a path of its own is sought'}`
    : 'over the ring: no link is wanted';

/** What went wrong, and of a peer that cannot be reached why its last attempt found no path. */
export const explained = (lastError: string | null, cause: string | null): string | null =>
  lastError === null || cause === null ? lastError : `${lastError}: ${cause}`;
