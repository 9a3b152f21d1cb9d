/**
 * What demo, bench and lab share with a test: a scope with `defer`, and waiting for a condition.
 * Owns the order of undoing (last in, first out); never decides what is undone.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from '../../base/errors.ts';
import { patience } from './pace.ts';

/** Anything that undoes later: a test's `t`, or a scope of `withScope`. */
export interface Scope {
  /** Aborts when the scope is over. */
  readonly signal: AbortSignal;
  defer(undo: () => void | Promise<void>): void;
}

/**
 * Runs `body` with a scope that is undone when it ends, also by SIGINT or SIGTERM. An undo that
 * throws does not keep the others from running; the first error is what the caller sees.
 */
export async function withScope<Result>(body: (scope: Scope) => Promise<Result>): Promise<Result> {
  const over = new AbortController();
  const undo: Array<() => void | Promise<void>> = [];
  const interrupted = Promise.withResolvers<never>();
  const interrupt = (signal: string): void => interrupted.reject(new Error(`ended by ${signal}`));
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt);
  const errors: unknown[] = [];
  let result: { readonly value: Result } | undefined;
  try {
    const scope = { signal: over.signal, defer: (f: () => void | Promise<void>) => undo.push(f) };
    result = { value: await Promise.race([body(scope), interrupted.promise]) };
  } catch (error) {
    errors.push(error);
  }
  over.abort();
  for (const f of undo.reverse()) {
    try {
      await f();
    } catch (error) {
      errors.push(error);
    }
  }
  process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  if (errors.length > 0) throw errors[0];
  if (result === undefined) throw new Error('scope ended without a result');
  return result.value;
}

export interface WaitOptions {
  /** On a quiet machine. */
  readonly timeoutMs?: number;
  readonly stepMs?: number;
  readonly signal?: AbortSignal;
  /** Added to the error: what is known about why it did not happen. */
  readonly context?: () => string;
}

/**
 * Polls until the condition gives something truthy, and returns it. A condition that throws is
 * polled again; its last error is the cause when time is up.
 */
export async function waitFor<Result>(
  what: string,
  condition: () => Result | Promise<Result>,
  options: WaitOptions = {},
): Promise<NonNullable<Result>> {
  const { stepMs = 25, signal } = options;
  const timeoutMs = (options.timeoutMs ?? 5_000) * patience;
  const until = performance.now() + timeoutMs;
  let cause: unknown;
  for (;;) {
    signal?.throwIfAborted();
    try {
      const result = await condition();
      if (result !== undefined && result !== null && result !== false) return result;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    if (performance.now() > until) {
      const why = cause === undefined ? '' : `: ${messageOf(cause)}`;
      const context = options.context?.() ?? '';
      throw new Error(`${what}: not within ${timeoutMs} ms${why}${context && `\n${context}`}`, {
        cause,
      });
    }
    await delay(stepMs);
  }
}
