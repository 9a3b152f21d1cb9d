/**
 * The pair that ICE has chosen, in the datapath's words: where records go, and what kind of path it is.
 * Owns the translation; decides nothing.
 */

import type { Endpoint, Path } from '../datapath/datapath.ts';
import type { PathFacts } from '../session/core/path.ts';
import { addressKind } from './addresses.ts';
import type { SelectedPath } from './agent.ts';
import type { ParsedCandidate } from './candidates.ts';
import { OwnTransport } from './own-transport.ts';
import type { Relays } from './relays.ts';
import { type CandidatePair, StunOverTurnProtocol, StunProtocol } from './werift.ts';

/** `known`: the peer's candidate there, if it has told of it; `seenAs`: how the peer saw our address. */
export async function describePath(
  pair: CandidatePair,
  known: ParsedCandidate | null,
  seenAs: string | undefined,
  relays: Relays,
): Promise<SelectedPath> {
  const [address, port] = pair.remoteAddr;
  const { protocol } = pair;
  const relay = protocol instanceof StunOverTurnProtocol;
  const own = pair.localCandidate;
  const facts: PathFacts = {
    local: relay ? 'relay' : 'host',
    remote: known?.type ?? 'prflx',
    remotePrivate: addressKind(address) !== 'global',
    translated: !relay && seenAs !== undefined && seenAs !== own.host,
    family: address.includes(':') ? 6 : 4,
  };
  const path = relay
    ? await relays.path(protocol, { address, port })
    : directPath(protocol, { address, port });
  const text = (host: string, number: number): string =>
    host.includes(':') ? `[${host}]:${number}` : `${host}:${number}`;
  return { path, facts, local: text(own.host, own.port), remote: text(address, port) };
}

function directPath(protocol: CandidatePair['protocol'], to: Endpoint): Path {
  const transport: unknown = protocol instanceof StunProtocol ? protocol.transport : null;
  return transport instanceof OwnTransport
    ? { kind: 'udp', socket: transport.socket, to }
    : { kind: 'none' };
}
