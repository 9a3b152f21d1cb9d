/**
 * Server-reflexive candidates by STUN (RFC 8489), asked of all servers at once from the sockets that
 * ICE uses. Owns the questions and their repeats. werift's own asking is switched off: it knows one
 * server, only IPv4, falls back to a public one, and holds gathering up when the server is silent.
 */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { Clock } from '../../base/clock.ts';
import type { Endpoint } from '../datapath/datapath.ts';
import type { IceServers } from '../protocol/schema.ts';
import type { OwnTransport } from './own-transport.ts';
import { classes, Message, methods, parseMessage } from './werift.ts';

/** A question is sent at these times; a fifth would come too late to be of use. Milliseconds. */
const askAtMs = [0, 250, 750, 1_750];
const giveUpMs = 3_000;
const lookupMs = 2_000;
/** Addresses of servers that are asked from one socket. */
const maxServers = 6;

export interface StunTarget extends Endpoint {
  readonly family: 4 | 6;
}

/** The servers' addresses; what does not resolve in time is left out. */
export async function resolveStun(servers: IceServers['stun']): Promise<readonly StunTarget[]> {
  const found = await Promise.all(servers.map(({ host, port }) => resolveOne(host, port)));
  return found.flat().slice(0, maxServers);
}

async function resolveOne(host: string, port: number): Promise<readonly StunTarget[]> {
  const family = isIP(host);
  if (family !== 0) return [{ address: host, port, family: family === 4 ? 4 : 6 }];
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never[]>((resolve) => {
    timer = setTimeout(() => resolve([]), lookupMs);
  });
  // A name that does not resolve is an absent server: reported by the missing candidate.
  const asked = lookup(host, { all: true }).catch(() => []);
  const addresses = await Promise.race([asked, late]);
  clearTimeout(timer);
  const pick = (wanted: 4 | 6): StunTarget[] =>
    addresses
      .filter((a) => a.family === wanted)
      .slice(0, 1)
      .map((a) => ({ address: a.address, port, family: wanted }));
  return [...pick(4), ...pick(6)];
}

/** Asks the targets from one socket; `found` is called once for each distinct address. */
export class ReflexiveQuery {
  readonly #transport: OwnTransport;
  readonly #pending = new Map<string, { readonly target: StunTarget; readonly message: Message }>();
  readonly #seen = new Set<string>();
  readonly #found: (mapped: Endpoint, server: StunTarget) => void;

  constructor(
    transport: OwnTransport,
    targets: readonly StunTarget[],
    found: (mapped: Endpoint, server: StunTarget) => void,
  ) {
    this.#transport = transport;
    this.#found = found;
    for (const target of targets) {
      if (target.family !== transport.addressFamily) continue;
      const message = new Message(methods.BINDING, classes.REQUEST);
      this.#pending.set(message.transactionIdHex, { target, message });
    }
  }

  /** Asks until each target has answered or the last time has passed. Ends early when aborted. */
  run(clock: Clock, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (this.#pending.size === 0 || signal.aborted) {
        resolve();
        return;
      }
      signal.addEventListener('abort', () => resolve(), { once: true });
      for (const ms of askAtMs) clock.after(ms, signal, () => this.#ask());
      clock.after(giveUpMs, signal, () => this.#pending.clear());
      const poll = (): void => {
        if (this.#pending.size === 0) resolve();
        else clock.after(50, signal, poll);
      };
      poll();
    });
  }

  /** True when the datagram was an answer to one of our questions, from the one who was asked. */
  answer(from: Endpoint, bytes: Buffer): boolean {
    if (this.#pending.size === 0) return false;
    const id = bytes.subarray(8, 20).toString('hex');
    const asked = this.#pending.get(id);
    if (asked === undefined) return false;
    if (asked.target.address !== from.address || asked.target.port !== from.port) return true;
    this.#pending.delete(id);
    const mapped: unknown = parseMessage(bytes)?.getAttributeValue('XOR-MAPPED-ADDRESS');
    if (!Array.isArray(mapped)) return true;
    const [address, port]: unknown[] = mapped;
    if (typeof address !== 'string' || typeof port !== 'number') return true;
    const key = `${address} ${port}`;
    if (!this.#seen.has(key)) {
      this.#seen.add(key);
      this.#found({ address, port }, asked.target);
    }
    return true;
  }

  #ask(): void {
    for (const { target, message } of this.#pending.values()) {
      this.#transport.sendTo(target, message.bytes);
    }
  }
}
