/**
 * Requests (iq) that wait for their answer. Owns ids, deadlines and the bound; sends nothing.
 */
import { randomBytes } from 'node:crypto';
import { EvioError } from '../../base/errors.ts';
import { attributeOf, childOf, clientNamespace, conditionOf, type Stanza } from './core/stanza.ts';

/** Requests that wait at the same time. */
const maxPending = 64;

interface Pending {
  readonly resolve: (iq: Stanza) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

/** An error answer to a request. */
export class StanzaError extends Error {
  readonly condition: string;
  constructor(condition: string) {
    super(`the server answered ${condition}`);
    this.condition = condition;
  }
}

export class PendingRequests {
  readonly #pending = new Map<string, Pending>();
  /** Random, so that nobody can answer a request that he has not seen. */
  readonly #prefix = randomBytes(9).toString('base64url');
  #last = 0;

  /** Sends the request with an id of its own; resolves with the result, rejects on anything else. */
  ask(request: Stanza, timeoutMs: number, send: (iq: Stanza) => void): Promise<Stanza> {
    if (this.#pending.size >= maxPending) {
      return Promise.reject(new EvioError('internal', `${maxPending} requests wait already`));
    }
    this.#last += 1;
    const id = `${this.#prefix}-${this.#last}`;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new EvioError('request.timeout', `no answer of the server within ${timeoutMs} ms`));
      }, timeoutMs);
      this.#pending.set(id, { resolve, reject, timer });
      send({ ...request, attributes: new Map([...request.attributes, ['id', id]]) });
    });
  }

  /** Settles the request that this answers; one that nobody waits for is dropped. */
  answer(iq: Stanza): void {
    const id = attributeOf(iq, 'id') ?? '';
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    clearTimeout(pending.timer);
    this.#pending.delete(id);
    if (attributeOf(iq, 'type') === 'result') pending.resolve(iq);
    else pending.reject(new StanzaError(conditionOf(childOf(iq, 'error', clientNamespace) ?? iq)));
  }

  /** Rejects all. */
  fail(error: Error): void {
    for (const { timer, reject } of this.#pending.values()) {
      clearTimeout(timer);
      reject(error);
    }
    this.#pending.clear();
  }
}
