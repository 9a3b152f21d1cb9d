/**
 * When to try the server again. Owns every number of it; a pure function of what failed, how long
 * the last session lived, and a random number.
 */
import type { ErrorCode } from '../../../base/errors.ts';

export interface BackoffPolicy {
  /** The first retry comes within this: most losses are short. */
  readonly firstMs: number;
  readonly baseMs: number;
  /** With the time one try can take, a node is back within a minute of the server. */
  readonly capMs: number;
  /** This host has no network (yet): a try costs nobody anything, and the network may come soon. */
  readonly localCapMs: number;
  /** A session that lived this long starts the count anew; a shorter one is flapping. */
  readonly stableMs: number;
  /** The server refused the account: each try costs it work, and can lock the account. */
  readonly refusedMs: number;
  readonly refusedCapMs: number;
  /** Something is wrong with the server's TLS: an operator must act, not a timer. */
  readonly distrustMs: number;
}

export const defaultBackoff: BackoffPolicy = {
  firstMs: 1_000,
  baseMs: 1_000,
  capMs: 45_000,
  localCapMs: 10_000,
  stableMs: 60_000,
  refusedMs: 300_000,
  refusedCapMs: 1_800_000,
  distrustMs: 60_000,
};

export interface Backoff {
  /** Tries in a row that failed for whatever passes by itself. */
  readonly failures: number;
  /** Tries in a row that the server refused. */
  readonly refusals: number;
}
export const noFailures: Backoff = { failures: 0, refusals: 0 };

/** Whether the server has refused this account, rather than being out of reach. */
export const isRefusal = (code: ErrorCode): boolean =>
  code === 'signal.auth-failed' ||
  code === 'signal.no-mechanism' ||
  code === 'signal.server-unproven';

const isDistrust = (code: ErrorCode): boolean =>
  code === 'signal.certificate' || code === 'signal.no-tls';

const isLocal = (code: ErrorCode): boolean =>
  code === 'signal.unresolvable' || code === 'signal.no-network';

/**
 * The state after a try or session ended, and how long to wait. `livedMs` is how long it was
 * online (0: never), `random` in [0, 1). Jitter spreads the nodes that a restarted server meets.
 */
export function nextTry(
  backoff: Backoff,
  code: ErrorCode,
  livedMs: number,
  random: number,
  policy: BackoffPolicy,
): { readonly backoff: Backoff; readonly delayMs: number } {
  if (isRefusal(code)) {
    const delay = doubled(policy.refusedMs, backoff.refusals, policy.refusedCapMs);
    return {
      backoff: { failures: 0, refusals: backoff.refusals + 1 },
      delayMs: Math.round(delay * (1 + random / 10)),
    };
  }
  const failures = livedMs >= policy.stableMs ? 0 : backoff.failures;
  const next = { failures: failures + 1, refusals: livedMs > 0 ? 0 : backoff.refusals };
  if (isDistrust(code)) {
    const delay = doubled(policy.distrustMs, failures, policy.refusedCapMs);
    return { backoff: next, delayMs: Math.round(delay * (1 + random / 10)) };
  }
  const capMs = isLocal(code) ? Math.min(policy.localCapMs, policy.capMs) : policy.capMs;
  const delayMs =
    failures === 0
      ? policy.firstMs * random
      : doubled(policy.baseMs, failures - 1, capMs) * (0.5 + random / 2);
  return { backoff: next, delayMs: Math.round(delayMs) };
}

/** `base` doubled `times` times, at most `cap`. */
const doubled = (base: number, times: number, cap: number): number =>
  Math.min(cap, base * 2 ** Math.min(times, 30));
