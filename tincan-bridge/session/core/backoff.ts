/**
 * How long to wait before trying again. Owns the rules; the caller counts failures.
 */
import { backoffFirstMs, backoffMaxMs, improveFirstMs, improveMaxMs } from './timers.ts';

/** After `failures` in a row (1…), with `random` in 0…1: half to all of a doubling, capped delay. */
export function backoffMs(failures: number, random: number): number {
  const full = Math.min(backoffMaxMs, backoffFirstMs * 2 ** Math.min(failures - 1, 16));
  return Math.round(full * (0.5 + random / 2));
}

/** Until a relayed session seeks a direct path again, after `sought` times in vain. */
export function improveMs(sought: number, random: number): number {
  const full = Math.min(improveMaxMs, improveFirstMs * 2 ** Math.min(sought, 16));
  return Math.round(full * (0.5 + random / 2));
}
