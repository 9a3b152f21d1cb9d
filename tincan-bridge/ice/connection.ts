/**
 * A werift connection as one attempt needs it: our sockets, our credentials, no servers of its own, and
 * every request proved before it is answered. Owns what werift has to be talked out of.
 */

import type { Clock } from '../../base/clock.ts';
import { EvioError } from '../../base/errors.ts';
import { CheckGate } from './check-gate.ts';
import { type TransportOwner, transportKey } from './own-transport.ts';
import { type CandidatePair, Connection, type StunProtocol } from './werift.ts';

export interface ConnectionOptions {
  readonly controlling: boolean;
  /** Whose sockets and credentials they are. */
  readonly owner: TransportOwner;
  readonly clock: Clock;
  readonly mayPair: (pair: CandidatePair) => boolean;
}

export function createConnection(options: ConnectionOptions): Connection {
  const { controlling, owner, mayPair } = options;
  const connection = new Connection(controlling, {
    useIpv4: false,
    useIpv6: false,
    interfaceAddresses: transportKey(owner),
    filterCandidatePair: mayPair,
  });
  // Without this it asks a public server (pitfall 3); ours are asked by ReflexiveQuery.
  delete connection.stunServer;
  guardRequests(connection, options);
  connection.localUsername = owner.ufrag;
  connection.localPassword = owner.password;
  return connection;
}

/** Every protocol, of sockets and relays, gets its requests through one gate. */
function guardRequests(connection: Connection, { owner, clock }: ConnectionOptions): void {
  const gate = new CheckGate({
    ufrag: owner.ufrag,
    password: owner.password,
    clock,
    remotes: () => connection.remoteCandidates,
    refused: () => owner.router.refuseCheck(),
  });
  const ensure: unknown = Reflect.get(connection, 'ensureProtocol');
  if (typeof ensure !== 'function') throw new EvioError('internal', 'werift has no protocols');
  Reflect.set(connection, 'ensureProtocol', (protocol: StunProtocol) => {
    Reflect.apply(ensure, connection, [protocol]);
    gate.guard(protocol.onRequestReceived);
  });
}

/** werift keeps the id of every check that ever came in; a session lives for months. */
export function forgetTransactions(connection: Connection): void {
  for (const pair of connection.candidatePairs) {
    const ids: unknown = Reflect.get(pair, 'requestTransactionIds');
    if (ids instanceof Set) ids.clear();
  }
}
