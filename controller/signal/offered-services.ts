/**
 * The STUN and TURN servers that the XMPP server offers (XEP-0215): asks at login, before they
 * expire and when told of a change. Owns the asking; publishes only what differs from before.
 */
import type { Clock } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { type ExternalServices, readServices, servicesQuery } from './core/external-services.ts';
import { StanzaError } from './pending-requests.ts';
import type { XmppStream } from './xmpp/contract.ts';

export class OfferedServices {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #timeoutMs: number;
  readonly #publish: (services: ExternalServices) => void;
  #last = '';
  /** Ends the wait for the next question when one is asked earlier. */
  #waiting = new AbortController();

  constructor(
    clock: Clock,
    log: Logger,
    timeoutMs: number,
    publish: (services: ExternalServices) => void,
  ) {
    this.#clock = clock;
    this.#log = log;
    this.#timeoutMs = timeoutMs;
    this.#publish = publish;
  }

  /** Asks now and from then on, until the session is over. A server without the XEP is fine. */
  discover(stream: XmppStream, session: AbortSignal): void {
    this.#waiting.abort();
    const waiting = new AbortController();
    this.#waiting = waiting;
    const until = AbortSignal.any([waiting.signal, session]);
    const again = (ms: number): void =>
      this.#clock.after(ms, until, () => this.discover(stream, session));
    stream.request(servicesQuery(stream.address.domain), this.#timeoutMs).then(
      (answer) => {
        if (until.aborted) return;
        const services = readServices(answer, this.#clock.wallNow());
        this.#offer(services);
        again(services.refreshInMs);
      },
      (error: unknown) => {
        if (until.aborted) return;
        this.#log.debug('no external services', { error: messageOf(error) });
        if (!(error instanceof StanzaError)) again(this.#timeoutMs);
      },
    );
  }

  #offer(services: ExternalServices): void {
    const { stun, turn } = services;
    const key = JSON.stringify([stun, turn.map((t) => [t, t.password.reveal()])]);
    if (key === this.#last || (this.#last === '' && stun.length + turn.length === 0)) return;
    this.#last = key;
    this.#publish(services);
  }
}
