/**
 * The controller's side of the bridge protocol: typed calls with deadlines, answers and notifications
 * delivered one at a time in wire order. Owns ids and deadlines; never starts or ends a process.
 */
import type { Duplex } from 'node:stream';
import { EvioError, messageOf, toEvioError } from '../base/errors.ts';
import { encodeFrame, FrameDecoder } from './protocol/frames.ts';
import {
  BridgeMessage,
  isResult,
  type NotificationMessage,
  paramsProblem,
  resultProblem,
} from './protocol/messages.ts';
import {
  bridgeProtocolVersion,
  type Method,
  type Notification,
  type Params,
  type Result,
} from './protocol/schema.ts';

export type { NotificationMessage } from './protocol/messages.ts';

/**
 * No `ready` after this long is a failure, milliseconds. A start takes about 300, and thirty times as
 * long on a machine whose processors are wanted by twenty others: one that is killed there for being
 * late makes the load worse, and its successor is late as well. One that crashes is noticed by its end.
 */
const defaultReadyTimeoutMs = 20_000;

export interface BridgeClientOptions {
  /** Every notification, `ready` included, in wire order with the answers of calls. */
  readonly onNotification: (message: NotificationMessage) => void;
  /** The channel has ended, once; all pending calls have been rejected with this error. */
  readonly onClosed: (error: EvioError) => void;
  readonly readyTimeoutMs?: number;
}

export interface BridgeClient {
  /** The `ready` of the process; rejects when it does not come, or with another version. */
  readonly ready: Promise<Notification<'ready'>>;
  /**
   * Rejects with the error of the other side, `request.timeout` after the deadline,
   * `request.invalid` when parameters or result break the schema, `bridge.failed` when the channel
   * has ended.
   */
  call<M extends Method>(method: M, params: Params<M>, timeoutMs: number): Promise<Result<M>>;
  /** Answers that came after their deadline and were dropped. */
  lateAnswers(): number;
  /** Ends the channel: the process sees end-of-file and exits. Idempotent. */
  close(): void;
}

interface Pending {
  readonly accept: (result: unknown) => void;
  readonly reject: (error: EvioError) => void;
  readonly timer: NodeJS.Timeout;
}

/** Speaks over `stream`, the parent's end of fd 3. */
export function createBridgeClient(stream: Duplex, options: BridgeClientOptions): BridgeClient {
  return new Client(stream, options);
}

class Client implements BridgeClient {
  readonly ready: Promise<Notification<'ready'>>;
  readonly #stream: Duplex;
  readonly #options: BridgeClientOptions;
  readonly #decoder = new FrameDecoder();
  readonly #pending = new Map<number, Pending>();
  readonly #queue: BridgeMessage[] = [];
  #delivering = false;
  #settleReady: (outcome: Notification<'ready'> | EvioError) => void = () => {};
  #nextId = 1;
  #late = 0;
  #closed: EvioError | null = null;

  constructor(stream: Duplex, options: BridgeClientOptions) {
    this.#stream = stream;
    this.#options = options;
    this.ready = this.#awaitReady(options.readyTimeoutMs ?? defaultReadyTimeoutMs);
    this.ready.catch(() => {}); // also told by onClosed; not every caller awaits it
    stream.on('data', (chunk: Uint8Array) => this.#receive(chunk));
    stream.on('error', (error) => this.#end(`channel failed: ${messageOf(error)}`));
    stream.on('end', () => this.#end('the tunnel process closed the channel'));
    stream.on('close', () => this.#end('the channel is closed'));
  }

  call<M extends Method>(method: M, params: Params<M>, timeoutMs: number): Promise<Result<M>> {
    return new Promise((resolve, reject) => {
      if (this.#closed !== null) {
        reject(this.#closed);
        return;
      }
      const problem = paramsProblem(method, params);
      if (problem !== null) {
        reject(new EvioError('request.invalid', `params of ${method}: ${problem}`));
        return;
      }
      const id = this.#nextId++;
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new EvioError('request.timeout', `no answer to ${method} within ${timeoutMs} ms`));
      }, timeoutMs);
      const accept = (value: unknown): void => {
        if (isResult(method, value)) resolve(value);
        else {
          const message = `result of ${method}: ${resultProblem(method, value)}`;
          reject(new EvioError('request.invalid', message));
        }
      };
      this.#pending.set(id, { accept, reject, timer });
      try {
        this.#stream.write(encodeFrame({ id, method, params }));
      } catch (error) {
        clearTimeout(timer);
        this.#pending.delete(id);
        reject(toEvioError(error));
      }
    });
  }

  lateAnswers(): number {
    return this.#late;
  }

  close(): void {
    this.#end('closed by the controller');
  }

  #awaitReady(timeoutMs: number): Promise<Notification<'ready'>> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#end(`no ready within ${timeoutMs} ms`), timeoutMs);
      this.#settleReady = (outcome) => {
        clearTimeout(timer);
        if (outcome instanceof EvioError) reject(outcome);
        else resolve(outcome);
      };
    });
  }

  #receive(chunk: Uint8Array): void {
    if (this.#closed !== null) return;
    try {
      for (const raw of this.#decoder.push(chunk)) this.#queue.push(BridgeMessage.parse(raw));
    } catch (error) {
      // A bad frame is never skipped: after it, nothing on the channel can be trusted.
      this.#end(`bad frame from the tunnel process: ${messageOf(error)}`, error);
      return;
    }
    this.#deliver();
  }

  /**
   * An answer reaches its caller through promise jobs, a notification by a plain call. So that the
   * caller sees both in wire order, nothing is delivered in the same turn after an answer.
   */
  #deliver(): void {
    if (this.#delivering) return;
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      if ('notification' in next) {
        this.#notify(next);
        continue;
      }
      this.#answer(next);
      this.#delivering = true;
      setImmediate(() => {
        this.#delivering = false;
        this.#deliver();
      });
      return;
    }
  }

  #answer(message: Exclude<BridgeMessage, NotificationMessage>): void {
    const pending = this.#pending.get(message.id);
    if (pending === undefined) {
      this.#late += 1;
      return;
    }
    this.#pending.delete(message.id);
    clearTimeout(pending.timer);
    if ('error' in message) {
      pending.reject(new EvioError(message.error.code, message.error.message));
    } else pending.accept(message.result);
  }

  #notify(message: NotificationMessage): void {
    if (this.#closed !== null) return;
    if (message.notification === 'ready') {
      if (message.body.version !== bridgeProtocolVersion) {
        const versions = `${message.body.version}, this is ${bridgeProtocolVersion}`;
        this.#finish(
          new EvioError('bridge.version', `the tunnel process speaks version ${versions}`),
        );
        return;
      }
      this.#settleReady(message.body);
    }
    this.#options.onNotification(message);
  }

  #end(why: string, cause?: unknown): void {
    this.#finish(new EvioError('bridge.failed', why, { cause }));
  }

  #finish(error: EvioError): void {
    if (this.#closed !== null) return;
    this.#closed = error;
    this.#settleReady(error);
    for (const pending of this.#pending.values()) {
      clearTimeout(pending.timer);
      pending.reject(error);
    }
    this.#pending.clear();
    this.#stream.destroy();
    this.#options.onClosed(error);
  }
}
