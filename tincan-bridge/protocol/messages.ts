/**
 * What stands inside a frame: requests, answers, notifications. Owns the schemas of the wrapping
 * around the tables of `schema.ts`; the bodies are checked against those tables.
 */
import { z } from 'zod';
import { type ErrorCode, isErrorCode } from '../../base/errors.ts';
import { type Method, methods, notifications, type Params, type Result } from './schema.ts';

const id = z.int().min(1);

export const RequestMessage = z.strictObject({
  id,
  method: z.string().max(64),
  params: z.unknown(),
});

/** An error as it crosses; a code that this side does not know becomes `internal`. */
export const ErrorBody = z.strictObject({
  code: z
    .string()
    .max(64)
    .transform((code): ErrorCode => (isErrorCode(code) ? code : 'internal')),
  message: z.string().max(2_000),
});

export const ResultMessage = z.strictObject({ id, result: z.unknown() });
export const FailureMessage = z.strictObject({ id, error: ErrorBody });

export const NotificationMessage = z.discriminatedUnion('notification', [
  z.strictObject({ notification: z.literal('ready'), body: notifications.ready }),
  z.strictObject({ notification: z.literal('description'), body: notifications.description }),
  z.strictObject({ notification: z.literal('sessionUp'), body: notifications.sessionUp }),
  z.strictObject({ notification: z.literal('pathChanged'), body: notifications.pathChanged }),
  z.strictObject({ notification: z.literal('sessionDown'), body: notifications.sessionDown }),
  z.strictObject({ notification: z.literal('message'), body: notifications.message }),
  z.strictObject({ notification: z.literal('networkChanged'), body: notifications.networkChanged }),
  z.strictObject({ notification: z.literal('mtuChanged'), body: notifications.mtuChanged }),
  z.strictObject({ notification: z.literal('log'), body: notifications.log }),
]);
export type NotificationMessage = z.infer<typeof NotificationMessage>;

/** What a tunnel process may send. */
export const BridgeMessage = z.union([NotificationMessage, FailureMessage, ResultMessage]);
export type BridgeMessage = z.infer<typeof BridgeMessage>;

/** What is wrong with the parameters of a call or its result, or null. Strict schemas, no transforms. */
export const paramsProblem = (method: Method, value: unknown): string | null =>
  methods[method].params.safeParse(value).error?.message ?? null;
export const resultProblem = (method: Method, value: unknown): string | null =>
  methods[method].result.safeParse(value).error?.message ?? null;

export const areParams = <M extends Method>(method: M, value: unknown): value is Params<M> =>
  paramsProblem(method, value) === null;
export const isResult = <M extends Method>(method: M, value: unknown): value is Result<M> =>
  resultProblem(method, value) === null;
