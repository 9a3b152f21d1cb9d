/**
 * The local API's server: HTTP over a Unix socket, with limits on size, time and number. Owns the
 * connections and how errors are said; whatever is sent to it, it answers or drops.
 */
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { Clock } from '../../base/clock.ts';
import { EvioError, messageOf, toEvioError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { LineWriter, toJson } from './line-writer.ts';
import { createRoutes, type Deps, type Route } from './routes.ts';
import { socketName } from './schema.ts';
import { listenOnSocket } from './socket.ts';

/** Clients are few and local: these bounds only stop a broken one. */
export const limits = {
  /** A runtime that starts a node's pods calls for each of them. */
  connections: 256,
  headerBytes: 8_192,
  bodyBytes: 65_536,
  /** For a request to arrive as a whole. */
  requestMs: 5_000,
  idleMs: 5_000,
} as const;

export interface LocalApiOptions {
  readonly runDirectory: string;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface LocalApi {
  readonly socketPath: string;
  /** Ends all connections and removes the socket. Idempotent. */
  close(): Promise<void>;
}

/** Serves until closed. Throws `already-running` when another controller has the run directory. */
export async function createLocalApi(deps: Deps, options: LocalApiOptions): Promise<LocalApi> {
  const { clock, log } = options;
  const routes = createRoutes(deps, () => clock.wallNow());
  const server = createServer(
    {
      maxHeaderSize: limits.headerBytes,
      headersTimeout: limits.requestMs,
      requestTimeout: limits.requestMs,
      keepAliveTimeout: limits.idleMs,
      connectionsCheckingInterval: 1_000,
    },
    (request, response) => {
      answer(routes, request, response).catch((error: unknown) => {
        log.error('request failed', { path: request.url ?? '', error: messageOf(error) });
        response.destroy();
      });
    },
  );
  server.maxConnections = limits.connections;
  server.on('drop', () => log.warn('too many connections', { count: limits.connections }));
  server.on('clientError', (error, socket) => refuse(error, socket));
  const socketPath = join(options.runDirectory, socketName);
  await listenOnSocket(server, socketPath);
  server.on('error', (error) => log.error('local api failed', { error: error.message }));
  let closing: Promise<void> | undefined;
  return {
    socketPath,
    close: () => {
      closing ??= closeServer(server);
      return closing;
    },
  };
}

/** Node removes the socket file when the server closes. */
const closeServer = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });

/** Something that is not HTTP, or breaks a limit: one answer, then the end. */
function refuse(error: Error, socket: Duplex): void {
  socket.on('error', () => {}); // it may be gone already; there is nothing to tell
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const body = toJson({ error: { code: 'request.invalid', message: error.message } });
  socket.end(
    `HTTP/1.1 400 ${STATUS_CODES[400]}\r\nConnection: close\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

async function answer(
  routes: ReadonlyMap<string, Route>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const gone = new AbortController();
  response.on('close', () => gone.abort(new EvioError('request.aborted', 'the client has gone')));
  response.on('error', () => gone.abort()); // the connection broke: 'close' follows
  try {
    const route = findRoute(routes, request);
    if (route.kind === 'lines') {
      request.resume();
      response.writeHead(200, { 'content-type': 'application/x-ndjson' }).flushHeaders();
      const writer = new LineWriter(response);
      route.start(gone.signal, (value) => writer.write(value));
      return;
    }
    if (route.kind === 'text') {
      const body = await readJson(request, route.body, route.maxBytes);
      const { ok, text } = await route.reply(body, gone.signal);
      sendText(response, ok ? 200 : 422, text);
      return;
    }
    const body =
      route.body === null
        ? await discard(request)
        : await readJson(request, route.body, limits.bodyBytes);
    send(response, 200, await route.reply(body, gone.signal));
  } catch (error) {
    const { code, message } = toEvioError(error);
    if (!response.headersSent) send(response, statusOf(code), { error: { code, message } });
    else response.destroy();
  }
}

function findRoute(routes: ReadonlyMap<string, Route>, request: IncomingMessage): Route {
  const path = (request.url ?? '').split('?', 1)[0] ?? '';
  const route = routes.get(`${request.method} ${path}`);
  if (route !== undefined) return route;
  throw new EvioError('request.invalid', `no such resource: ${request.method} ${path}`);
}

async function discard(request: IncomingMessage): Promise<null> {
  for await (const _chunk of bounded(request, limits.bodyBytes)) {
    // a GET's body has no meaning
  }
  return null;
}

/** The body as JSON that has passed the schema. */
async function readJson(
  request: IncomingMessage,
  schema: NonNullable<ReplyBody>,
  maxBytes: number,
): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of bounded(request, maxBytes)) chunks.push(chunk);
  try {
    return schema.parse(JSON.parse(Buffer.concat(chunks).toString('utf8')));
  } catch (error) {
    throw new EvioError('request.invalid', messageOf(error), { cause: error });
  }
}
type ReplyBody = Extract<Route, { kind: 'reply' }>['body'];

async function* bounded(request: IncomingMessage, maxBytes: number): AsyncGenerator<Buffer> {
  let bytes = 0;
  for await (const chunk of request) {
    if (!Buffer.isBuffer(chunk)) continue;
    bytes += chunk.length;
    if (bytes > maxBytes) {
      throw new EvioError('request.invalid', `the body is larger than ${maxBytes} bytes`);
    }
    yield chunk;
  }
}

const send = (response: ServerResponse, status: number, value: unknown): void =>
  sendText(response, status, JSON.stringify(value));

function sendText(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  });
  response.end(body);
}

const statusOf = (code: string): number =>
  code === 'request.invalid' ? 400 : code === 'internal' ? 500 : 503;
