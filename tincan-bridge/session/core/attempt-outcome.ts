/**
 * How an attempt goes on and ends: its pair, its keys, or why it is given up and when the next one may
 * begin. Owns these transitions of the session machine; `session.ts` calls them. A failure never touches
 * a link that is up.
 */
import type { SessionNonce } from '../../../base/ids.ts';
import { stay, step } from '../../../base/machine.ts';
import { begin, building, isBuilding, isIdle, note } from './attempt.ts';
import { backoffMs } from './backoff.ts';
import { improveLater } from './improve.ts';
import { abandon, confirm } from './negotiation.ts';
import { addStandby, goOnline, stopped, withoutStandby } from './replacement.ts';
import type { Moment, SessionState, SessionStep, Setup } from './session-state.ts';
import { securingMs } from './timers.ts';

export function onValidated(state: SessionState, own: SessionNonce, at: Moment): SessionStep {
  const now = building(state.setup);
  if (now?.own !== own || now.kind !== 'connecting') return stay(state, 'not awaited');
  const deadlineMs = at.nowMs + securingMs;
  return step(
    {
      ...state,
      negotiation: confirm(state.negotiation),
      setup: { ...now, kind: 'securing', deadlineMs },
    },
    note('path validated'),
    { kind: 'start-handshake', own },
    { kind: 'timer', id: 'deadline', atMs: deadlineMs },
  );
}

export function onSecured(
  state: SessionState,
  own: SessionNonce,
  relayed: boolean,
  at: Moment,
): SessionStep {
  if (!isBuilding(state, own)) return stay(state, 'of an attempt that was given up');
  const { number } = at;
  const path = relayed ? 'turn' : 'direct';
  const secured: SessionState = { ...state, setup: { kind: 'none' }, lastError: null };
  // With a link the new keys wait: the peer may be done half a round trip after us.
  if (state.link.kind === 'up') {
    return addStandby(secured, { own, by: 'attempt', rekey: null, path }, at);
  }
  // What came over the ring meanwhile is not needed any more; the peer may use it already.
  const rest = withoutStandby(secured, at);
  const up = goOnline(rest.state, { own, number, path }, at);
  return step(
    up.state,
    ...stopped(state),
    { kind: 'install', own, number, rekey: null, ring: false },
    ...up.effects,
    ...rest.effects,
  );
}

export function onIceFailed(
  state: SessionState,
  own: SessionNonce,
  reason: string,
  at: Moment,
): SessionStep {
  if (isBuilding(state, own)) return fail(state, reason, false, at);
  const { link } = state;
  if (state.standby?.own === own && link.kind === 'up' && link.own !== own) {
    // The keys in use stay; if their path is in doubt too, the next tick begins anew.
    return step({ ...state, standby: null }, { kind: 'remove', number: state.standby.number });
  }
  if (link.kind === 'down' || link.own !== own) return stay(state, 'of an attempt that is over');
  if (link.path === 'ring') return step(state, { kind: 'shed', number: link.number });
  const suspect = { ...state, link: { ...link, suspectSinceMs: link.suspectSinceMs ?? at.nowMs } };
  return isIdle(state) && state.wanted ? begin(suspect, at, reason) : step(suspect);
}

export function onInsecure(
  state: SessionState,
  own: SessionNonce,
  reason: string,
  refused: boolean,
  at: Moment,
): SessionStep {
  if (!isBuilding(state, own)) return stay(state, 'of an attempt that was given up');
  return fail(state, reason, refused, at);
}

export function onDeadlineTimer(state: SessionState, at: Moment): SessionStep {
  const now = building(state.setup);
  if (now === null) return stay(state, 'over already');
  // Moved, or the clock woke us a fraction too early: a deadline must never be lost.
  if (at.nowMs < now.deadlineMs) {
    return step(state, { kind: 'timer', id: 'deadline', atMs: now.deadlineMs });
  }
  const reasons = {
    offered: 'the peer does not answer',
    connecting: 'no path to the peer was found',
    securing: 'the DTLS handshake did not end',
  } as const;
  return fail(state, reasons[now.kind], false, at);
}

/** The attempt is given up. A link that is up and healthy needs no other. */
function fail(state: SessionState, reason: string, refused: boolean, at: Moment): SessionStep {
  const now = building(state.setup);
  const failures = state.failures + 1;
  const untilMs = at.nowMs + backoffMs(failures, at.random);
  const healthy = state.link.kind === 'up' && state.link.suspectSinceMs === null;
  const worse = state.link.kind === 'up' && state.link.path === 'ring';
  if (healthy && now !== null && (now.direct || worse)) {
    return failDirect(state, now.own, reason, at);
  }
  const setup: Setup = healthy ? { kind: 'none' } : { kind: 'pause', untilMs, deaf: refused };
  return step(
    { ...state, setup, failures, lastError: reason, negotiation: abandon(state.negotiation) },
    ...(now === null ? [] : [{ kind: 'stop-ice', own: now.own } as const]),
    note(`attempt failed: ${reason}`),
    ...(healthy ? [] : [{ kind: 'timer', id: 'pause', atMs: untilMs } as const]),
    ...(healthy && state.link.kind === 'up' && state.link.path !== 'direct'
      ? [improveLater(0, at)]
      : []),
  );
}

/** No better path beside a link that works: nothing is wrong, it is sought again later. */
function failDirect(
  state: SessionState,
  own: SessionNonce,
  reason: string,
  at: Moment,
): SessionStep {
  const { link } = state;
  if (link.kind === 'down') return stay(state, 'has no link to improve');
  const sought = link.sought + 1;
  return step(
    {
      ...state,
      setup: { kind: 'none' },
      link: { ...link, sought },
      negotiation: abandon(state.negotiation),
    },
    { kind: 'stop-ice', own },
    note(`no direct path: ${reason}`),
    improveLater(sought, at),
  );
}
