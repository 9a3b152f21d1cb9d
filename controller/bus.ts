/**
 * The event bus: one queue over RxJS, so that all events have one order; a port per module, through
 * which only the owner of an event can publish it; a tap for logs, `evio watch` and tests.
 */
// The parts by themselves: all of RxJS takes 9 MiB and 25 ms of each controller.
import { observeOn } from 'rxjs/internal/operators/observeOn';
import { Subject } from 'rxjs/internal/Subject';
import { queueScheduler } from 'rxjs/internal/scheduler/queue';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { BusEvent, EventName, Events, OwnedBy, Owner } from './events.ts';

/** What a module gets of the bus. */
export interface Port<O extends Owner> {
  /** Queues an event; handlers run after the current handler has returned. */
  publish<N extends OwnedBy<O>>(name: N, event: Events[N]): void;
  /**
   * Calls `handler` for each event of that name until the signal aborts. A handler must return
   * fast and never await; one that throws is reported and stays subscribed.
   */
  on<N extends EventName>(name: N, signal: AbortSignal, handler: (event: Events[N]) => void): void;
}

/** A handler over this long is reported, milliseconds: it delays every module. */
const slowHandlerMs = 50;

interface Queued {
  readonly name: EventName;
  readonly event: Events[EventName];
}

export class Bus {
  readonly #input = new Subject<Queued>();
  readonly #handlers = new Map<EventName, Set<(event: never) => void>>();
  readonly #taps = new Set<(event: BusEvent) => void>();
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
    this.#input.pipe(observeOn(queueScheduler)).subscribe((queued) => this.#deliver(queued));
  }

  port<O extends Owner>(_owner: O): Port<O> {
    return {
      publish: (name, event) => this.#input.next({ name, event }),
      on: (name, signal, handler) => this.#on(name, signal, handler),
    };
  }

  /** Sees every event after it was queued and before its handlers run. */
  tap(signal: AbortSignal, see: (event: BusEvent) => void): void {
    if (signal.aborted) return;
    this.#taps.add(see);
    signal.addEventListener('abort', () => this.#taps.delete(see), { once: true });
  }

  #on<N extends EventName>(
    name: N,
    signal: AbortSignal,
    handler: (event: Events[N]) => void,
  ): void {
    if (signal.aborted) return;
    const handlers = this.#handlers.get(name) ?? new Set();
    this.#handlers.set(name, handlers);
    handlers.add(handler);
    signal.addEventListener('abort', () => handlers.delete(handler), { once: true });
  }

  #deliver(queued: Queued): void {
    for (const see of this.#taps) this.#guard(queued.name, () => see(queued as BusEvent));
    for (const handler of [...(this.#handlers.get(queued.name) ?? [])]) {
      this.#guard(queued.name, () => handler(queued.event as never));
    }
  }

  #guard(event: EventName, run: () => void): void {
    const started = performance.now();
    try {
      run();
    } catch (error) {
      this.#log.error('event handler threw', { event, error: messageOf(error) });
    }
    const durationMs = Math.round(performance.now() - started);
    if (durationMs > slowHandlerMs) this.#log.warn('slow event handler', { event, durationMs });
  }
}
