/**
 * The resources of the local API as a table: what each takes and answers. Owns the meaning of a
 * request; bytes, limits and errors are the server's.
 */
import type { z } from 'zod';
import type { BusEvent } from '../events.ts';
import {
  AcceptKey,
  CniRequest,
  ForgetKey,
  type LinksReply,
  type PingReply,
  PingRequest,
  type PodsReply,
  paths,
  type RoutesReply,
  type Status,
  type TrustReply,
  type VersionReply,
} from './schema.ts';

/** What the API shows; declared here, provided by `controller/main.ts`. */
export interface Deps {
  status(): Status | Promise<Status>;
  /** Calls `see` with each event of the bus until the signal aborts. */
  tap(signal: AbortSignal, see: (event: BusEvent) => void): void;
  readonly version: string;
  readonly ring: {
    links(): LinksReply | Promise<LinksReply>;
    routes(): Promise<RoutesReply>;
    /** Throws `request.invalid` for an overlay that this node is not in. */
    ping(request: PingRequest): Promise<PingReply>;
  };
  readonly trust: {
    list(): TrustReply;
    /** Both take effect at once, and throw `request.invalid` with the reason. */
    accept(change: AcceptKey): Promise<void>;
    forget(claim: ForgetKey): Promise<void>;
  };
  readonly cni: {
    pods(): PodsReply;
    /** The text for the runtime, and whether it is a success. Never rejects. */
    answer(request: CniRequest, signal: AbortSignal): Promise<{ ok: boolean; text: string }>;
  };
}

/** Escaped, a network configuration of 1 MiB has six times that at most. */
const maxCniBytes = 8_388_608;

export type Route =
  /** One JSON answer. `body`: the schema of what a POST carries; null for a GET. */
  | {
      readonly kind: 'reply';
      readonly body: z.ZodType | null;
      readonly reply: (body: unknown, signal: AbortSignal) => unknown;
    }
  /** A text as it is, of another protocol; 422 when it is not `ok`. */
  | {
      readonly kind: 'text';
      readonly body: z.ZodType;
      readonly maxBytes: number;
      readonly reply: (
        body: unknown,
        signal: AbortSignal,
      ) => Promise<{ readonly ok: boolean; readonly text: string }>;
    }
  /** JSON lines until either side ends; a line that does not fit is dropped and counted. */
  | {
      readonly kind: 'lines';
      readonly start: (signal: AbortSignal, line: (value: unknown) => void) => void;
    };

/** Method and path → route. `now` gives the wall clock, milliseconds since the epoch. */
export function createRoutes(deps: Deps, now: () => number): ReadonlyMap<string, Route> {
  const version: VersionReply = { version: deps.version };
  return new Map<string, Route>([
    [`GET ${paths.version}`, { kind: 'reply', body: null, reply: () => version }],
    [`GET ${paths.status}`, { kind: 'reply', body: null, reply: () => deps.status() }],
    [`GET ${paths.links}`, { kind: 'reply', body: null, reply: () => deps.ring.links() }],
    [`GET ${paths.routes}`, { kind: 'reply', body: null, reply: () => deps.ring.routes() }],
    [
      `POST ${paths.ping}`,
      {
        kind: 'reply',
        body: PingRequest,
        reply: (body) => deps.ring.ping(PingRequest.parse(body)),
      },
    ],
    [`GET ${paths.trust}`, { kind: 'reply', body: null, reply: () => deps.trust.list() }],
    [
      `POST ${paths.acceptKey}`,
      {
        kind: 'reply',
        body: AcceptKey,
        reply: (body) => deps.trust.accept(AcceptKey.parse(body)).then(done),
      },
    ],
    [
      `POST ${paths.forgetKey}`,
      {
        kind: 'reply',
        body: ForgetKey,
        reply: (body) => deps.trust.forget(ForgetKey.parse(body)).then(done),
      },
    ],
    [`GET ${paths.pods}`, { kind: 'reply', body: null, reply: () => deps.cni.pods() }],
    [
      `POST ${paths.cni}`,
      {
        kind: 'text',
        body: CniRequest,
        maxBytes: maxCniBytes,
        reply: (body, signal) => deps.cni.answer(CniRequest.parse(body), signal),
      },
    ],
    [
      `GET ${paths.watch}`,
      {
        kind: 'lines',
        start: (signal, line) =>
          deps.tap(signal, ({ name, event }) =>
            line({ kind: 'event', at: new Date(now()).toISOString(), name, event }),
          ),
      },
    ],
  ]);
}

const done = (): object => ({});
