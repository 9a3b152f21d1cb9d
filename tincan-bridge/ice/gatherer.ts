/**
 * What one attempt asks of servers: how each socket is seen from outside (STUN), and a relay (TURN). Owns
 * the questions that wait for an answer; host candidates are werift's own.
 */
import { setImmediate } from 'node:timers/promises';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { Endpoint } from '../datapath/datapath.ts';
import { hostAddresses } from './addresses.ts';
import type { IceOptions } from './agent.ts';
import { allocateRelay } from './allocate.ts';
import { formatReflexive } from './candidates.ts';
import type { Findings } from './findings.ts';
import type { OwnTransport, TransportOwner } from './own-transport.ts';
import { ReflexiveQuery, resolveStun } from './reflexive.ts';
import { adoptRelay, type Relays } from './relays.ts';
import { StreamTransport } from './stream-transport.ts';
import type { Candidate, CandidatePair, Connection } from './werift.ts';

export interface GathererDeps {
  readonly connection: Connection;
  readonly owner: TransportOwner;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly options: IceOptions;
  readonly findings: Findings;
  readonly relays: Relays;
  /** Sockets so far. */
  readonly transports: readonly OwnTransport[];
  readonly onReflexive: (candidate: string) => void;
  readonly onRelay: (candidate: Candidate) => void;
  readonly onRelayLost: (protocol: CandidatePair['protocol']) => void;
}

export class Gatherer {
  readonly #deps: GathererDeps;
  readonly #queries = new Map<OwnTransport, ReflexiveQuery>();

  constructor(deps: GathererDeps) {
    this.#deps = deps;
  }

  /** A STUN answer came. False: none of these questions'. */
  answered(transport: OwnTransport, from: Endpoint, bytes: Buffer): boolean {
    return this.#queries.get(transport)?.answer(from, bytes) === true;
  }

  async reflexive(): Promise<void> {
    const { connection, transports, clock, signal, findings, options, onReflexive } = this.#deps;
    const targets = await resolveStun(options.servers.stun);
    await setImmediate(); // host candidates are there after one turn
    if (targets.length === 0 || signal.aborted) return;
    const bases = connection.localCandidates.filter((c) => c.type === 'host');
    await Promise.all(
      bases.map((base) => {
        const transport = transports.find(
          (t) => t.port === base.port && (t.addressFamily === 6) === base.host.includes(':'),
        );
        if (transport === undefined) return Promise.resolve();
        const own = { address: base.host, port: base.port };
        const query = new ReflexiveQuery(transport, targets, (mapped, server) => {
          findings.answered(transport, mapped);
          if (mapped.address === own.address && mapped.port === own.port) return;
          onReflexive(formatReflexive(mapped, own, server.address));
        });
        this.#queries.set(transport, query);
        return query.run(clock, signal);
      }),
    );
  }

  /** One relay, if there is none already: werift's own asking knows one server and no CA. */
  async relay(): Promise<void> {
    const { owner, connection, clock, log, signal, findings, relays, options } = this.#deps;
    const { directOnly, servers } = options;
    if (directOnly || servers.turn.length === 0) return;
    const hosts = hostAddresses(options.ignoredInterfaces, options.loopback);
    const protocol = await allocateRelay({
      owner,
      clock,
      servers: servers.turn,
      families: new Set(hosts.map((host) => (host.includes(':') ? 6 : 4))),
      signal,
      onProblem: (problem) => {
        log.info('relay cannot be used', { reason: problem });
        findings.relayProblems.push(problem);
      },
    });
    if (protocol === null) return;
    const { turn } = protocol;
    relays.watch(protocol);
    findings.relay = 'udp';
    if (turn.transport instanceof StreamTransport) {
      findings.relay = turn.transport.type;
      turn.transport.onLost = () => this.#deps.onRelayLost(protocol);
    }
    this.#deps.onRelay(adoptRelay(connection, protocol));
  }
}
