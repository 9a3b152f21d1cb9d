/**
 * What lets a STUN request through to werift, which believes any that reaches it: it takes over the
 * role that it names, answers, and keeps its sender as a candidate for ever. Owns the proof by our
 * credentials, the rate and the bound on unknown senders; on sockets and through relays alike.
 */

import type { Clock } from '../../base/clock.ts';
import { EvioError } from '../../base/errors.ts';
import { type Budget, fullBudget, spend } from '../fabric/core/budget.ts';
import { parseMessage } from './werift.ts';

/** Of one attempt: 32 candidates on 8 addresses are checked in the first second, then consent only. */
const checkBudget = { perSecond: 100, burst: 400 } as const;
/** Addresses that a peer may check from: as many as it may name, and as many behind its NATs. */
export const maxCheckedFrom = 64;

export interface CheckGateOptions {
  readonly ufrag: string;
  readonly password: string;
  readonly clock: Clock;
  /** The addresses that werift keeps as the peer's. */
  readonly remotes: () => readonly { readonly host: string; readonly port: number }[];
  /** Told of each request that is refused. */
  readonly refused: () => void;
}

export class CheckGate {
  readonly #options: CheckGateOptions;
  readonly #senders = new Set<string>();
  #budget: Budget;

  constructor(options: CheckGateOptions) {
    this.#options = options;
    this.#budget = fullBudget(checkBudget, options.clock.now());
  }

  /** Puts itself before the listeners of a protocol's requests: (message, sender, bytes). */
  guard(event: object): void {
    const execute: unknown = Reflect.get(event, 'execute');
    if (typeof execute !== 'function') throw new EvioError('internal', 'werift has no requests');
    const guarded = (...given: unknown[]): void => {
      const [, from, bytes] = given;
      if (this.passes(from, bytes)) Reflect.apply(execute, event, given);
      else this.#options.refused();
    };
    Reflect.set(event, 'execute', guarded);
  }

  passes(from: unknown, bytes: unknown): boolean {
    if (!Array.isArray(from) || !Buffer.isBuffer(bytes)) return false;
    const { budget, allowed } = spend(this.#budget, this.#options.clock.now());
    this.#budget = budget;
    return allowed && this.#isAuthentic(bytes) && this.#hasRoom(from);
  }

  /** A request for us (RFC 8445 section 7.3): our ufrag first, sealed with our password. */
  #isAuthentic(bytes: Buffer): boolean {
    const { ufrag, password } = this.#options;
    const message = parseMessage(bytes, Buffer.from(password, 'utf8'));
    const user: unknown = message?.getAttributeValue('USERNAME');
    return typeof user === 'string' && user.startsWith(`${ufrag}:`);
  }

  #hasRoom([host, port]: readonly unknown[]): boolean {
    const key = `${host} ${port}`;
    if (this.#senders.has(key)) return true;
    const remotes = this.#options.remotes();
    const known = remotes.some((r) => r.host === host && r.port === port);
    if (!known && Math.max(remotes.length, this.#senders.size) >= maxCheckedFrom) return false;
    if (this.#senders.size < 2 * maxCheckedFrom) this.#senders.add(key);
    return true;
  }
}
