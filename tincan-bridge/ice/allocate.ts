/**
 * One allocation at one of several TURN servers: they are tried one after the other in short steps,
 * UDP first, and the first that allocates is taken. Owns the order and the losers' end; what an
 * allocation is used for is the caller's.
 */
import { isIP } from 'node:net';
import type { Clock } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import { withDeadline } from '../../base/lifecycle.ts';
import type { IceServers } from '../protocol/schema.ts';
import { OwnTransport, type TransportOwner } from './own-transport.ts';
import { resolveStun } from './reflexive.ts';
import { StreamTransport } from './stream-transport.ts';
import { classes, Message, methods, StunOverTurnProtocol, TurnProtocol } from './werift.ts';

/** The next server is asked as well after this: one is there within half a second at most. */
const stepMs = 200;
/**
 * Before a transport that costs more: datagrams in a stream wait for each other, so a server over UDP
 * gets the time of two long round trips.
 */
const worseMs = 1_000;
/** An allocation takes two round trips; a silent server is not waited for longer. */
const allocateMs = 4_000;
const lifetimeS = 600;
/** The server may be the reason why we end: it is not waited for longer. */
const giveBackMs = 500;

type TurnServer = IceServers['turn'][number];

/** Servers in the order in which they are tried: by what they cost, then as they are listed. */
export function relayOrder(servers: readonly TurnServer[]): readonly TurnServer[] {
  const of = (transport: TurnServer['transport']): TurnServer[] =>
    servers.filter((server) => server.transport === transport);
  const isListed = ({ host, port }: TurnServer): boolean =>
    servers.some((s) => s.transport !== 'udp' && s.host === host && s.port === port);
  // A server for UDP listens on TCP too, as a rule: the last hope where no UDP leaves the site.
  const implied = of('udp')
    .filter((server) => !isListed(server))
    .map((server): TurnServer => ({ ...server, transport: 'tcp' }));
  return [...of('udp'), ...of('tcp'), ...of('tls'), ...implied];
}

export interface AllocateOptions {
  readonly owner: TransportOwner;
  readonly clock: Clock;
  readonly servers: readonly TurnServer[];
  /** Families of addresses that this host has. */
  readonly families: ReadonlySet<4 | 6>;
  /** Aborts: whatever is under way is given up. */
  readonly signal: AbortSignal;
  /** A server that could not be used, and why. */
  readonly onProblem: (problem: string) => void;
}

/** Null when none allocates, or the signal aborts. */
export async function allocateRelay(
  options: AllocateOptions,
): Promise<StunOverTurnProtocol | null> {
  const { clock, signal } = options;
  const over = new AbortController();
  const found = Promise.withResolvers<StunOverTurnProtocol | null>();
  const queue = [...relayOrder(options.servers)];
  let running = 0;
  const next = (): void => {
    const server = queue.shift();
    if (server === undefined || over.signal.aborted) {
      if (running === 0) found.resolve(null);
      return;
    }
    running += 1;
    allocateAt(server, options).then(
      (protocol) => {
        running -= 1;
        if (over.signal.aborted) void giveBack(protocol).finally(() => protocol.close());
        else found.resolve(protocol);
        over.abort();
      },
      (error: unknown) => {
        running -= 1;
        options.onProblem(messageOf(error));
        next();
      },
    );
    const [after = server] = queue;
    const waitMs = after.transport === server.transport ? stepMs : worseMs;
    clock.after(waitMs, over.signal, next);
  };
  const end = (): void => {
    over.abort();
    found.resolve(null);
  };
  signal.addEventListener('abort', end, { once: true, signal: over.signal });
  if (signal.aborted) end();
  else next();
  return found.promise;
}

/** Ends an allocation at once: werift lets them run out, and a server's quota counts them. */
export async function giveBack({ turn }: StunOverTurnProtocol): Promise<void> {
  const request = new Message(methods.REFRESH, classes.REQUEST).setAttribute('LIFETIME', 0);
  const asked = turn.requestWithRetry(request, turn.server);
  await withDeadline(asked, giveBackMs, 'giving back').catch(() => {}); // then it runs out
}

async function allocateAt(
  server: TurnServer,
  { owner, clock, families, signal }: AllocateOptions,
): Promise<StunOverTurnProtocol> {
  const { host, port, transport, user, password, ca = null } = server;
  const where = `TURN server ${host}:${port} over ${transport}`;
  const targets = await resolveStun([{ host, port }]);
  const target = targets.find(({ family }) => families.has(family));
  if (target === undefined) {
    const what = targets.length === 0 && isIP(host) === 0 ? 'does not resolve' : 'no address';
    throw new Error(`${where}: ${what} that this host can reach`);
  }
  const { address, family } = target;
  const carrier =
    transport === 'udp'
      ? new OwnTransport(owner, family)
      : await StreamTransport.open({ transport, host, address, port, ca }, clock, signal);
  const turn = new TurnProtocol([address, port], user, password, lifetimeS, carrier);
  try {
    await withDeadline(turn.connectionMade(), allocateMs, 'an answer');
    return new StunOverTurnProtocol(turn);
  } catch (error) {
    await turn.close();
    throw new Error(`${where}: ${reasonOf(error)}`, { cause: error });
  }
}

/** werift's error of a refusal carries the answer; its text names only the transaction. */
function reasonOf(error: unknown): string {
  const response: unknown =
    typeof error === 'object' && error !== null ? Reflect.get(error, 'response') : null;
  const code: unknown =
    response instanceof Message ? response.getAttributeValue('ERROR-CODE') : null;
  if (Array.isArray(code)) return `refused: ${code.join(' ')}`;
  return `no answer (${messageOf(error)})`;
}
