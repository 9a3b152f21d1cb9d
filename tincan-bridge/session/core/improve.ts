/**
 * When a relayed session seeks a direct path next. Owns that timer's effect; the attempt itself is
 * begun by `attempt.ts`.
 */
import { improveMs } from './backoff.ts';
import type { Effect, Moment } from './session-state.ts';

/** `sought`: direct attempts that have failed in a row. */
export const improveLater = (sought: number, { nowMs, random }: Moment): Effect => ({
  kind: 'timer',
  id: 'improve',
  atMs: nowMs + improveMs(sought, random),
});
