/**
 * The asking side of the local API, for the CLI and tests. Owns deadlines and the translation of
 * what can go wrong with a socket; every answer passes its schema.
 */
import { type IncomingMessage, request } from 'node:http';
import { createInterface } from 'node:readline';
import type { z } from 'zod';
import { EvioError, isErrorCode, messageOf } from '../../base/errors.ts';
import {
  type AcceptKey,
  DoneReply,
  ErrorReply,
  type ForgetKey,
  LinksReply,
  PingReply,
  type PingRequest,
  PodsReply,
  paths,
  RoutesReply,
  Status,
  TrustReply,
  type VersionReply,
  VersionReply as VersionSchema,
  WatchLine,
} from './schema.ts';

/** For a whole answer. */
const deadlineMs = 5_000;
/** Larger answers are refused: eight overlays of some thousand peers stay below. */
const maxReplyBytes = 67_108_864;

export interface Client {
  version(): Promise<VersionReply>;
  status(): Promise<Status>;
  links(): Promise<LinksReply>;
  routes(): Promise<RoutesReply>;
  ping(request: PingRequest): Promise<PingReply>;
  /** Pinned keys. */
  trust(): Promise<TrustReply>;
  acceptKey(change: AcceptKey): Promise<void>;
  forgetKey(claim: ForgetKey): Promise<void>;
  /** Ranges, members and attachments of pods. */
  pods(): Promise<PodsReply>;
  /** Lines until the signal aborts or the controller ends. */
  watch(signal: AbortSignal): AsyncGenerator<WatchLine>;
}

/** All calls throw `not-running` when no controller answers on the socket. */
export function createClient(socketPath: string): Client {
  return {
    version: () => ask(socketPath, paths.version, VersionSchema),
    status: () => ask(socketPath, paths.status, Status),
    links: () => ask(socketPath, paths.links, LinksReply),
    routes: () => ask(socketPath, paths.routes, RoutesReply),
    ping: (request) =>
      ask(socketPath, paths.ping, PingReply, request, request.timeoutMs + 2 * deadlineMs),
    trust: () => ask(socketPath, paths.trust, TrustReply),
    acceptKey: async (change) => {
      await ask(socketPath, paths.acceptKey, DoneReply, change);
    },
    forgetKey: async (claim) => {
      await ask(socketPath, paths.forgetKey, DoneReply, claim);
    },
    pods: () => ask(socketPath, paths.pods, PodsReply),
    watch: (signal) => watch(socketPath, signal),
  };
}

/** GET, or POST when there is a body. */
async function ask<T>(
  socketPath: string,
  path: string,
  schema: z.ZodType<T>,
  body?: object,
  withinMs = deadlineMs,
): Promise<T> {
  const signal = AbortSignal.timeout(withinMs);
  try {
    const response = await open(socketPath, path, signal, body);
    const text = await readAll(response);
    if (response.statusCode !== 200) throw remoteError(text);
    const parsed = schema.safeParse(JSON.parse(text));
    if (parsed.success) return parsed.data;
    const issue = parsed.error.issues[0];
    const where = `${issue?.path.join('.')}: ${issue?.message}`;
    throw new EvioError('request.invalid', `answer of another release on ${path}: ${where}`);
  } catch (error) {
    if (!signal.aborted) throw error;
    const message = `no answer on ${socketPath} within ${withinMs} ms`;
    throw new EvioError('request.timeout', message, { cause: error });
  }
}

async function* watch(socketPath: string, signal: AbortSignal): AsyncGenerator<WatchLine> {
  let response: IncomingMessage | undefined;
  try {
    response = await open(socketPath, paths.watch, signal);
    if (response.statusCode !== 200) throw remoteError(await readAll(response));
    for await (const line of createInterface({ input: response, signal })) {
      yield WatchLine.parse(JSON.parse(line));
    }
  } catch (error) {
    // A controller that ends closes the connection in the middle: the end of the stream, no fault.
    const ended = error instanceof Error && 'code' in error && error.code === 'ECONNRESET';
    if (!signal.aborted && !ended) throw error;
  } finally {
    response?.destroy(); // the reader may stop in the middle
  }
}

function open(
  socketPath: string,
  path: string,
  signal: AbortSignal,
  body?: object,
): Promise<IncomingMessage> {
  const method = body === undefined ? 'GET' : 'POST';
  return new Promise((resolve, reject) => {
    request({ socketPath, path, method, signal, agent: false }, resolve)
      .on('error', (error: NodeJS.ErrnoException) => reject(translate(error, socketPath)))
      .end(body === undefined ? undefined : JSON.stringify(body));
  });
}

async function readAll(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response) {
    if (!Buffer.isBuffer(chunk)) continue;
    bytes += chunk.length;
    if (bytes > maxReplyBytes) throw new EvioError('request.invalid', 'the answer is too large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function translate(error: NodeJS.ErrnoException, socketPath: string): Error {
  if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') {
    return new EvioError('not-running', `no controller answers on ${socketPath}`, { cause: error });
  }
  if (error.code === 'EACCES') {
    const message = `${socketPath} may only be opened by its owner`;
    return new EvioError('host.not-permitted', message, { cause: error });
  }
  return error;
}

function remoteError(text: string): EvioError {
  try {
    const { code, message } = ErrorReply.parse(JSON.parse(text)).error;
    return new EvioError(isErrorCode(code) ? code : 'internal', message);
  } catch (error) {
    return new EvioError('request.invalid', messageOf(error), { cause: error });
  }
}
