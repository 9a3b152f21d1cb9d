/**
 * The MTU that the devices of one tunnel should have: the shell of `session/core/mtu.ts`. Owns its timer;
 * the controller sets the devices.
 */
import type { Clock } from '../base/clock.ts';
import { initialMtu, type MtuState, nextMtu } from './session/core/mtu.ts';

export interface DeviceMtuDeps {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Largest frames of the sessions. */
  readonly maxFrames: () => readonly number[];
  readonly onChanged: (mtu: number) => void;
}

export class DeviceMtu {
  readonly #deps: DeviceMtuDeps;
  #state: MtuState;

  /** `mtu`: the operator's; null: what the paths carry. */
  constructor(mtu: number | null, deps: DeviceMtuDeps) {
    this.#deps = deps;
    this.#state = initialMtu(mtu);
  }

  get mtu(): number {
    return this.#state.mtu;
  }

  /** The sessions' largest frames may have changed. */
  look(): void {
    const { clock, signal, maxFrames, onChanged } = this.#deps;
    const { state, effects } = nextMtu(this.#state, maxFrames(), clock.now());
    this.#state = state;
    for (const effect of effects) {
      if (effect.kind === 'changed') onChanged(effect.mtu);
      else {
        const waitMs = Math.max(1, effect.atMs - clock.now());
        clock.after(waitMs, signal, () => this.look());
      }
    }
  }
}
