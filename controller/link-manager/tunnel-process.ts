/**
 * The tunnel process of an overlay, kept running: spawned, opened, asked for signs of life, replaced
 * when it ends. Owns the process and its supervision (decided by `core/supervision.ts`); what it is
 * told of peers is OverlayLinks'.
 */
import { type Clock, every } from '../../base/clock.ts';
import { messageOf, toEvioError } from '../../base/errors.ts';
import type { OverlayId } from '../../base/ids.ts';
import { withDeadline } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import type { NotificationMessage } from '../../tincan-bridge/client.ts';
import type { Method, Params, Result } from '../../tincan-bridge/protocol/schema.ts';
import type { Port } from '../bus.ts';
import type { Problem } from '../events.ts';
import { type BridgeProcess, spawnBridge } from './bridge-process.ts';
import { type Sight, silenceMs } from './core/patience.ts';
import {
  nextSupervision,
  type SupervisionEffect,
  type SupervisionInput,
  type SupervisionState,
} from './core/supervision.ts';
import {
  callTimeoutMs,
  closeTimeoutMs,
  hungMs,
  lookPeriodMs,
  startTimeoutMs,
  watchedCallMs,
} from './core/timers.ts';

export interface TunnelProcessDeps {
  readonly port: Port<'links'>;
  readonly log: Logger;
  readonly clock: Clock;
  readonly random: () => number;
  readonly overlay: OverlayId;
  /** What it is opened with, as of now; null: nothing to open it on. */
  readonly openParams: () => Params<'open'> | null;
  /** A process serves: it knows nothing yet. */
  readonly onOpened: () => void;
  readonly onNotification: (message: NotificationMessage) => void;
  /** It ended; all that it carried has ended with it. */
  readonly onDown: () => void;
}

/** How the tunnel process of an overlay stands, for the operator. */
export interface ProcessSnapshot {
  readonly state: 'starting' | 'up' | 'down';
  readonly pid: number | null;
  readonly restarts: number;
  readonly problem: Problem | null;
}

export class TunnelProcess {
  readonly #deps: TunnelProcessDeps;
  readonly #log: Logger;
  readonly #over = new AbortController();
  #state: SupervisionState = { kind: 'idle' };
  #process: BridgeProcess | null = null;
  #restarts = 0;
  #problem: Problem | null = null;
  /** Since when something is expected of the process, and how often it was found too late. */
  #expecting: { readonly from: Sight; late: number } | null = null;

  constructor(deps: TunnelProcessDeps) {
    this.#deps = deps;
    this.#log = deps.log;
    every(deps.clock, lookPeriodMs, this.#over.signal, () => this.#look());
  }

  get serves(): boolean {
    return this.#state.kind === 'up' && this.#process !== null;
  }

  /** There is a device to open it on. Idempotent. */
  start(): void {
    this.#input({ kind: 'device-ready' });
  }

  /** Null while the process does not serve. */
  call<M extends Method>(
    method: M,
    params: Params<M>,
    timeoutMs: number,
  ): Promise<Result<M>> | null {
    if (this.#state.kind !== 'up' || this.#process === null) return null;
    return this.#process.client.call(method, params, timeoutMs);
  }

  /** A call without a result; before the process serves it is left out: `onOpened` repeats all. */
  tell<M extends Method>(method: M, params: Params<M>): void {
    this.call(method, params, callTimeoutMs)?.catch((error: unknown) => {
      this.#log.warn('tunnel process refused a call', { method, error: messageOf(error) });
    });
  }

  /** The result, or null when there is none: the process does not serve, or not in time. */
  async ask<M extends Method>(method: M, params: Params<M>): Promise<Result<M> | null> {
    try {
      return (await this.call(method, params, callTimeoutMs)) ?? null;
    } catch (error) {
      this.#log.warn('no answer from the tunnel process', { method, error: messageOf(error) });
      return null;
    }
  }

  snapshot(): ProcessSnapshot {
    const up = this.#state.kind === 'up';
    const starting = this.#state.kind === 'starting' || this.#state.kind === 'idle';
    return {
      state: up ? 'up' : starting ? 'starting' : 'down',
      pid: this.#process?.pid ?? null,
      restarts: this.#restarts,
      problem: this.#problem,
    };
  }

  /** Ends all sessions in order, then the process. */
  async stop(): Promise<void> {
    this.#over.abort();
    const serving = this.#state.kind === 'up';
    this.#input({ kind: 'stop' });
    const current = this.#process;
    if (current === null) return;
    try {
      if (serving) await current.client.call('close', {}, closeTimeoutMs);
      current.client.close();
      await withDeadline(current.ended, closeTimeoutMs, 'end of the tunnel process');
    } catch (error) {
      this.#log.warn('tunnel process did not close in order', { error: messageOf(error) });
      current.kill();
      await current.ended;
    }
  }

  #input(input: SupervisionInput): void {
    const next = nextSupervision(this.#state, input);
    this.#state = next.state;
    for (const effect of next.effects) this.#carryOut(effect);
  }

  #carryOut(effect: SupervisionEffect): void {
    const { clock, port, overlay, onDown } = this.#deps;
    switch (effect.kind) {
      case 'spawn':
        this.#spawn();
        return;
      case 'kill':
        this.#log.warn('tunnel process does not answer and is replaced', {
          state: this.#state.kind,
        });
        this.#process?.kill();
        return;
      case 'announce-up':
        this.#problem = null;
        port.publish('links.overlayUp', { overlay, pid: this.#process?.pid ?? 0 });
        return;
      case 'announce-down': {
        this.#restarts += 1;
        this.#problem ??= { code: 'bridge.failed', message: effect.reason };
        const { retryInMs } = effect;
        this.#log.error('tunnel process ended', { reason: effect.reason, delayMs: retryInMs });
        onDown();
        port.publish('links.overlayDown', { overlay, problem: this.#problem, retryInMs });
        return;
      }
      case 'start-timer':
        clock.after(effect.afterMs, this.#over.signal, () => this.#input({ kind: 'timer' }));
        return;
    }
  }

  #spawn(): void {
    const failed = (reason: string): void => {
      const { clock, random } = this.#deps;
      this.#input({ kind: 'failed', reason, nowMs: clock.now(), random: random() });
    };
    try {
      const child = spawnBridge(this.#log, (message) => {
        if (this.#process === child) this.#deps.onNotification(message);
      });
      this.#process = child;
      this.#expect(child);
      void child.ended.then((reason) => {
        if (this.#process !== child) return;
        this.#process = null;
        failed(reason);
      });
      void this.#open(child);
    } catch (error) {
      failed(messageOf(error));
    }
  }

  async #open(child: BridgeProcess): Promise<void> {
    try {
      await child.client.ready;
      const params = this.#deps.openParams();
      if (params === null) return;
      await child.client.call('open', params, watchedCallMs);
      this.#expecting = null;
      this.#input({ kind: 'opened', nowMs: this.#deps.clock.now() });
      this.#deps.onOpened();
    } catch (error) {
      const { code, message } = toEvioError(error);
      this.#problem = { code, message };
      this.#log.error('tunnel process could not serve', { code, error: message });
      child.kill(); // its end is reported and leads to the next try
    }
  }

  #expect(child: BridgeProcess): void {
    this.#expecting = { from: this.#sightOf(child), late: 0 };
  }

  #sightOf(child: BridgeProcess): Sight {
    return { nowMs: this.#deps.clock.now(), waitedMs: child.waitedMs() };
  }

  /** Whether the process is stuck; when nothing is expected of it, it is asked for a sign of life. */
  #look(): void {
    const child = this.#process;
    if (child === null) return;
    const expecting = this.#expecting;
    if (expecting === null) {
      if (this.#state.kind === 'up') this.#echo(child);
      return;
    }
    const limitMs = this.#state.kind === 'up' ? hungMs : startTimeoutMs;
    if (silenceMs(expecting.from, this.#sightOf(child)) < limitMs) return;
    expecting.late += 1;
    // Not the first time: the answer may be there, and this process late in reading it.
    if (expecting.late > 1) this.#input({ kind: 'hung' });
  }

  #echo(child: BridgeProcess): void {
    this.#expect(child);
    child.client.call('echo', {}, watchedCallMs).then(
      () => {
        if (this.#process === child) this.#expecting = null;
      },
      (error: unknown) => this.#log.debug('echo unanswered', { error: messageOf(error) }),
    );
  }
}
