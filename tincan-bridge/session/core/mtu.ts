/**
 * The inner MTU: the worst of the paths in use, or what the operator fixed. Lowered at once, raised
 * only after it has been possible for a while, so that a path that comes and goes does not make
 * every host's route cache dance. Pure.
 */
import { type Step, step } from '../../../base/machine.ts';
import { ethernetHeaderBytes } from './path.ts';
import { mtuRaiseMs } from './timers.ts';

/** With no path in use: a direct one over IPv4. */
export const defaultMtu = 1_420;

export interface MtuState {
  readonly fixed: number | null;
  readonly mtu: number;
  /** Since when a higher one has been possible, and which. */
  readonly possible: { readonly mtu: number; readonly sinceMs: number } | null;
}

export type MtuEffect =
  | { readonly kind: 'changed'; readonly mtu: number }
  | { readonly kind: 'look-again'; readonly atMs: number };

export const initialMtu = (fixed: number | null): MtuState => ({
  fixed,
  mtu: fixed ?? defaultMtu,
  possible: null,
});

/** `maxFrames`: largest frames of the sessions that are up, bytes with Ethernet header. */
export function nextMtu(
  state: MtuState,
  maxFrames: readonly number[],
  nowMs: number,
): Step<MtuState, MtuEffect> {
  if (state.fixed !== null) return step(state);
  const worst = maxFrames.length === 0 ? defaultMtu : Math.min(...maxFrames) - ethernetHeaderBytes;
  if (worst < state.mtu) {
    return step({ ...state, mtu: worst, possible: null }, { kind: 'changed', mtu: worst });
  }
  if (worst === state.mtu) return step({ ...state, possible: null });
  const since =
    state.possible !== null && state.possible.mtu <= worst
      ? state.possible
      : { mtu: worst, sinceMs: nowMs };
  if (nowMs - since.sinceMs >= mtuRaiseMs) {
    return step({ ...state, mtu: since.mtu, possible: null }, { kind: 'changed', mtu: since.mtu });
  }
  return step(
    { ...state, possible: since },
    { kind: 'look-again', atMs: since.sinceMs + mtuRaiseMs },
  );
}
