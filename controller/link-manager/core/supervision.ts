/**
 * Supervision of one tunnel process: when it is started, given up and started again. Pure; the
 * shell spawns, kills and keeps the timers.
 *
 *   idle ──device──▶ starting ──opened──▶ up
 *                      ▲  │exited          │exited / hung
 *                      │  ▼                ▼
 *                      └─timer── waiting ◀─┘            any ──stop──▶ stopped
 */
import { type Step, stay, step, type Transition } from '../../../base/machine.ts';
import { restartCapMs, restartFirstMs, stableMs } from './timers.ts';

export type SupervisionState =
  | { readonly kind: 'idle' }
  | { readonly kind: 'starting'; readonly failures: number }
  | { readonly kind: 'up'; readonly failures: number; readonly sinceMs: number }
  | { readonly kind: 'waiting'; readonly failures: number }
  | { readonly kind: 'stopped' };

export type SupervisionInput =
  | { readonly kind: 'device-ready' }
  | { readonly kind: 'opened'; readonly nowMs: number }
  /** The process ended, or could not be opened. `random` is in [0, 1). */
  | {
      readonly kind: 'failed';
      readonly reason: string;
      readonly nowMs: number;
      readonly random: number;
    }
  /** It does not answer, or does not come to serve. */
  | { readonly kind: 'hung' }
  | { readonly kind: 'timer' }
  | { readonly kind: 'stop' };

export type SupervisionEffect =
  | { readonly kind: 'spawn' }
  /** End the process with SIGKILL; `failed` follows. */
  | { readonly kind: 'kill' }
  | { readonly kind: 'announce-up' }
  | { readonly kind: 'announce-down'; readonly reason: string; readonly retryInMs: number }
  | { readonly kind: 'start-timer'; readonly afterMs: number };

export const nextSupervision: Transition<SupervisionState, SupervisionInput, SupervisionEffect> = (
  state,
  input,
) => {
  if (state.kind === 'stopped') return stay(state, 'stopped for good');
  switch (input.kind) {
    case 'stop':
      return step({ kind: 'stopped' });
    case 'device-ready':
      if (state.kind !== 'idle') return stay(state, 'already supervised');
      return step({ kind: 'starting', failures: 0 }, { kind: 'spawn' });
    case 'opened':
      if (state.kind !== 'starting') return stay(state, 'an answer of an earlier process');
      return step(
        { kind: 'up', failures: state.failures, sinceMs: input.nowMs },
        { kind: 'announce-up' },
      );
    case 'failed':
      return failed(state, input);
    case 'hung':
      if (state.kind !== 'starting' && state.kind !== 'up')
        return stay(state, 'no process is running');
      return step(state, { kind: 'kill' });
    case 'timer':
      if (state.kind !== 'waiting') return stay(state, 'no wait is running');
      return step({ kind: 'starting', failures: state.failures }, { kind: 'spawn' });
  }
};

function failed(
  state: SupervisionState,
  input: Extract<SupervisionInput, { kind: 'failed' }>,
): Step<SupervisionState, SupervisionEffect> {
  if (state.kind !== 'starting' && state.kind !== 'up') return stay(state, 'no process is running');
  const stable = state.kind === 'up' && input.nowMs - state.sinceMs >= stableMs;
  const failures = stable ? 1 : state.failures + 1;
  const retryInMs = restartDelayMs(failures, input.random);
  return step(
    { kind: 'waiting', failures },
    { kind: 'announce-down', reason: input.reason, retryInMs },
    { kind: 'start-timer', afterMs: retryInMs },
  );
}

/** 100 ms, doubling to 10 s, ± 20 %. */
export function restartDelayMs(failures: number, random: number): number {
  const base = Math.min(restartCapMs, restartFirstMs * 2 ** Math.min(failures - 1, 20));
  return Math.round(base * (0.8 + 0.4 * random));
}
