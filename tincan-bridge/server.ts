/**
 * The tunnel process's side of the bridge protocol: checks every request, calls its handler, answers.
 * Owns the wrapping and the bound on unsent bytes; decides nothing.
 */
import type { Duplex } from 'node:stream';
import type { z } from 'zod';
import { EvioError, messageOf, toEvioError } from '../base/errors.ts';
import { encodeFrame, FrameDecoder } from './protocol/frames.ts';
import {
  areParams,
  isResult,
  paramsProblem,
  RequestMessage,
  resultProblem,
} from './protocol/messages.ts';
import {
  type Handlers,
  type Method,
  methods,
  type Notification,
  type NotificationName,
  notifications,
  type Result,
} from './protocol/schema.ts';

/** Unsent bytes above which `log` notifications are dropped, and above which the channel is given up. */
const dropLogsAboveBytes = 1 << 20;
const giveUpAboveBytes = 16 << 20;

export interface BridgeServerOptions {
  readonly handlers: Handlers;
  /** The channel has ended, once: end-of-file (`reason` null) or a failure. */
  readonly onClosed: (reason: EvioError | null) => void;
}

export interface BridgeServer {
  notify<N extends NotificationName>(name: N, body: Notification<N>): void;
  /** Log notifications that were dropped because the controller does not read. */
  droppedLogs(): number;
  /** Sends what is queued, then ends the channel. Idempotent. */
  close(): Promise<void>;
}

export function createBridgeServer(stream: Duplex, options: BridgeServerOptions): BridgeServer {
  return new Server(stream, options);
}

const isMethod = (name: string): name is Method => Object.hasOwn(methods, name);

class Server implements BridgeServer {
  readonly #stream: Duplex;
  readonly #options: BridgeServerOptions;
  readonly #decoder = new FrameDecoder();
  #droppedLogs = 0;
  #closed = false;

  constructor(stream: Duplex, options: BridgeServerOptions) {
    this.#stream = stream;
    this.#options = options;
    stream.on('data', (chunk: Uint8Array) => this.#receive(chunk));
    stream.on('error', (error) => this.#fail(`channel failed: ${messageOf(error)}`));
    stream.on('end', () => this.#finish(null));
    stream.on('close', () => this.#finish(null));
  }

  notify<N extends NotificationName>(name: N, body: Notification<N>): void {
    if (name === 'log' && this.#stream.writableLength > dropLogsAboveBytes) {
      this.#droppedLogs += 1;
      return;
    }
    this.#send({ notification: name, body: notifications[name].parse(body) });
  }

  droppedLogs(): number {
    return this.#droppedLogs;
  }

  close(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    this.#closed = true;
    return new Promise((resolve) => {
      this.#stream.end(() => resolve());
      this.#stream.once('close', () => resolve());
    });
  }

  #receive(chunk: Uint8Array): void {
    if (this.#closed) return;
    try {
      for (const raw of this.#decoder.push(chunk)) this.#request(RequestMessage.parse(raw));
    } catch (error) {
      this.#fail(`bad frame from the controller: ${messageOf(error)}`, error);
    }
  }

  #request(request: z.infer<typeof RequestMessage>): void {
    const { id, method, params } = request;
    const run = async (): Promise<unknown> => {
      if (!isMethod(method)) throw new EvioError('request.invalid', `no method ${method}`);
      return await this.#dispatch(method, params);
    };
    run().then(
      (result) => this.#send({ id, result }),
      (error: unknown) => {
        const { code, message } = toEvioError(error);
        this.#send({ id, error: { code, message: message.slice(0, 2_000) } });
      },
    );
  }

  async #dispatch<M extends Method>(method: M, raw: unknown): Promise<Result<M>> {
    if (!areParams(method, raw)) {
      const problem = paramsProblem(method, raw);
      throw new EvioError('request.invalid', `params of ${method}: ${problem}`);
    }
    const result: unknown = await this.#options.handlers[method](raw);
    if (isResult(method, result)) return result;
    throw new EvioError('internal', `result of ${method}: ${resultProblem(method, result)}`);
  }

  #send(message: unknown): void {
    if (this.#closed || this.#stream.destroyed) return;
    if (this.#stream.writableLength > giveUpAboveBytes) {
      this.#fail('the controller does not read the channel');
      return;
    }
    this.#stream.write(encodeFrame(message));
  }

  #fail(why: string, cause?: unknown): void {
    this.#finish(new EvioError('bridge.failed', why, { cause }));
  }

  #finish(reason: EvioError | null): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stream.destroy();
    this.#options.onClosed(reason);
  }
}
