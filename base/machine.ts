/**
 * The shape of every state machine: (state, input) → state and effects. Owns no state and starts
 * nothing: a shell stores the state, then carries the effects out, in order.
 */

/** What one input leads to. */
export interface Step<State, Effect> {
  readonly state: State;
  readonly effects: readonly Effect[];
}

/** A transition function. Time and randomness are part of the input. */
export type Transition<State, Input, Effect> = (state: State, input: Input) => Step<State, Effect>;

/** A step without effects; `why` documents an input that is ignored on purpose. */
export const stay = <State, Effect>(state: State, _why: string): Step<State, Effect> => ({
  state,
  effects: [],
});

/** A step to a state with effects. */
export const step = <State, Effect>(
  state: State,
  ...effects: readonly Effect[]
): Step<State, Effect> => ({ state, effects });
