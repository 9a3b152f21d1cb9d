/**
 * What becomes of a link that is up: it is looked after, suspected, taken for dead, ended. Owns these
 * transitions of the session machine; `session.ts` calls them. The rules of liveness are in `liveness.ts`.
 */
import { stay, step } from '../../../base/machine.ts';
import { begin, building, isIdle, note } from './attempt.ts';
import { askAfterMs, lookAfterLink, type Pace } from './liveness.ts';
import { abandon } from './negotiation.ts';
import { isWorn } from './rekey.ts';
import { withoutReplacements } from './replacement.ts';
import { moveToRing } from './ring.ts';
import {
  type Effect,
  type Input,
  initialSession,
  type Link,
  type Moment,
  type SessionState,
  type SessionStep,
  type Setup,
} from './session-state.ts';
import {
  endedMs,
  nextLookMs,
  nextTickMs,
  rekeyFailuresAllowed,
  restTickMs,
  stableMs,
} from './timers.ts';

export function onAskTimer(state: SessionState, at: Moment): SessionStep {
  if (state.link.kind === 'down') return stay(state, 'went down meanwhile');
  return step(
    { ...state, link: { ...state.link, askedMs: at.nowMs } },
    { kind: 'ask', number: state.link.number },
  );
}

export function onTick(
  state: SessionState,
  { heardAgoMs, calm = false, away = false, usedBytes = 0 }: Input & { readonly kind: 'timer' },
  at: Moment,
): SessionStep {
  if (state.link.kind === 'down') return stay(state, 'went down meanwhile');
  const resting = calm && state.link.path === 'ring';
  const pace: Pace = away || !calm ? 'used' : resting ? 'resting' : 'calm';
  const heard = { heardAgoMs, pace };
  const { link, asks, verdict, silentMs } = lookAfterLink(state.link, heard, at.nowMs);
  // One that rests, with a peer that has left the server, carries nothing that could be lost.
  const dead = verdict === 'dead' || (resting && away && verdict === 'suspect');
  if (dead) return onDead(state, state.link, silentMs, at);
  const steady = verdict === 'healthy' && at.nowMs - link.sinceMs >= stableMs;
  const failures = steady ? 0 : state.failures;
  const moved = moveToRing({ ...state, link, failures }, at);
  const next = moved.state;
  const effects: readonly Effect[] = [
    ...moved.effects,
    ...(asks ? [{ kind: 'ask', number: link.number } as const] : []),
    { kind: 'timer', id: 'tick', atMs: lookAgainMs(link, pace, silentMs, at.nowMs) },
    ...(isWorn(next, usedBytes) ? [{ kind: 'timer', id: 'rekey', atMs: at.nowMs } as const] : []),
  ];
  const worn = next.rekeyed.failures >= rekeyFailuresAllowed;
  if ((verdict === 'healthy' && !worn) || !isIdle(state) || !state.wanted) {
    return step(next, ...effects);
  }
  const why = worn ? 'keys could not be replaced' : `nothing heard for ${Math.round(silentMs)} ms`;
  const begun = begin({ ...next, rekeyed: { ...next.rekeyed, failures: 0 } }, at, why);
  return step(begun.state, ...effects, ...begun.effects);
}

function lookAgainMs(
  { unanswered }: Link & { readonly kind: 'up' },
  pace: Pace,
  silentMs: number,
  nowMs: number,
): number {
  if (unanswered > 0) return nextTickMs(nowMs);
  return pace === 'resting'
    ? nextTickMs(nowMs, restTickMs)
    : nextLookMs(nowMs, silentMs, askAfterMs[pace]);
}

function onDead(
  state: SessionState,
  link: Link & { readonly kind: 'up' },
  silentMs: number,
  at: Moment,
): SessionStep {
  const reason = `nothing heard for ${Math.round(silentMs / 1000)} s`;
  const rest = withoutReplacements(state);
  const down: SessionState = {
    ...rest.state,
    link: { kind: 'down' },
    wantedMs: at.nowMs,
    lastError: reason,
  };
  const effects = [...rest.effects, ...linkDown(link, reason)];
  if (state.setup.kind !== 'none' || !state.wanted) return step(down, ...effects);
  const begun = begin(down, at, 'the session is dead');
  return step(begun.state, ...effects, ...begun.effects);
}

export function onEnded(state: SessionState, why: string, at: Moment): SessionStep {
  const untilMs = at.nowMs + endedMs;
  const setup: Setup = state.wanted ? { kind: 'pause', untilMs, deaf: false } : { kind: 'none' };
  const ending = tearDown(state, why);
  return step(
    {
      ...ending.state,
      setup,
      link: { kind: 'down' },
      negotiation: abandon(state.negotiation),
      wantedMs: at.nowMs,
      lastError: why,
    },
    ...ending.effects,
    ...(state.wanted ? [{ kind: 'timer', id: 'pause', atMs: untilMs } as const] : []),
  );
}

export function onUnwanted(state: SessionState, reason: string, at: Moment): SessionStep {
  const { effects } = tearDown(state, reason);
  return step(initialSession(state.peer, at.nowMs, state.rules, false), ...effects);
}

/** Ends what there is. The shell stops the ICE of an association when it removes it. */
function tearDown(state: SessionState, reason: string): SessionStep {
  const now = building(state.setup);
  const rest = withoutReplacements(state);
  return step(
    rest.state,
    ...(now === null ? [] : [{ kind: 'stop-ice', own: now.own } as const]),
    ...rest.effects,
    ...(state.link.kind === 'up' ? linkDown(state.link, reason) : []),
  );
}

const linkDown = (link: Link & { readonly kind: 'up' }, reason: string): readonly Effect[] => [
  note(`down: ${reason}`),
  { kind: 'remove', number: link.number },
  { kind: 'down', reason },
];
