/**
 * Failures as the CNI specification numbers them. Owns the table of codes; a code is a promise to
 * runtimes and scripts. Nothing else of the plugin knows numbers.
 */
import { EvioError, messageOf } from '../base/errors.ts';

/** 1–99 by the specification (1.1.0, "Error" and "STATUS"), above 100 our own. */
export const cniCodes = {
  'incompatible-version': 1,
  'unsupported-field': 2,
  'unknown-container': 3,
  'invalid-environment': 4,
  'io-failure': 5,
  'decode-failure': 6,
  'invalid-config': 7,
  'try-again-later': 11,
  'not-available': 50,
  'limited-connectivity': 51,
  internal: 100,
  'interface-exists': 101,
  'addresses-exhausted': 102,
  'host-command': 103,
  'delegated-ipam': 104,
  'check-failed': 105,
} as const;
export type CniReason = keyof typeof cniCodes;

/** Ends a verb with an error result. The message names the thing and the value. */
export class CniError extends Error {
  readonly reason: CniReason;
  readonly details: string;

  constructor(reason: CniReason, message: string, details = '', options?: ErrorOptions) {
    super(message, options);
    this.name = 'CniError';
    this.reason = reason;
    this.details = details;
  }
}

/** Anything that was thrown: a failed command of the host is told as it is. */
export function toCniError(error: unknown): CniError {
  if (error instanceof CniError) return error;
  if (error instanceof EvioError && error.code.startsWith('host.')) {
    const message = 'a command of the host failed';
    return new CniError('host-command', message, error.message, { cause: error });
  }
  return new CniError('internal', 'a defect of evio', messageOf(error), { cause: error });
}
