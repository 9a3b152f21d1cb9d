/**
 * What the ring means for one session: keys by a handshake in envelopes when there is no link, and a
 * link that moves to the ring when its own path fails or is not wanted any more. Owns these transitions
 * of the session machine; `session.ts` calls them. Which way leads to the peer, the fabric says.
 *
 * The handshake is the one of `rekey.ts`: only the DTLS client begins it, the other side asks it
 * to, so two ends that begin at once make the same one. The source of an envelope is a claim of the
 * members between: what may be begun on its word is spaced, and never replaces a peer that is there.
 */
import type { SessionNonce } from '../../../base/ids.ts';
import { stay, step } from '../../../base/machine.ts';
import { improveLater } from './improve.ts';
import { abandon } from './negotiation.ts';
import { startHandshake } from './rekey.ts';
import { addStandby, goOnline, withoutStandby } from './replacement.ts';
import type { Effect, Moment, SessionState, SessionStep } from './session-state.ts';
import {
  offeredMs,
  rekeyRepeatMs,
  ringFreshMs,
  ringHoldMs,
  ringNeedMs,
  ringSpacingMs,
  securingMs,
} from './timers.ts';

export const isOverRing = ({ rekey }: SessionState): boolean =>
  rekey.kind === 'running' ? rekey.base === null : rekey.kind === 'asked' && rekey.over === 'ring';

/** Something waits for the session. */
export function onNeeded(state: SessionState, at: Moment): SessionStep {
  if (state.link.kind === 'up') return stay(state, 'is there');
  const ring = { ...state.ring, neededUntilMs: at.nowMs + ringNeedMs };
  return beginOverRing({ ...state, ring }, at);
}

/** A wanted link that has no path after a second tries the ring beside its attempt. */
export function alsoOverRing({ state, effects }: SessionStep, at: Moment): SessionStep {
  if (state.link.kind === 'up' || !state.wanted) return { state, effects };
  const ring = { ...state.ring, neededUntilMs: at.nowMs + offeredMs };
  const begun = beginOverRing({ ...state, ring }, at);
  return step(begun.state, ...effects, ...begun.effects);
}

function beginOverRing(state: SessionState, at: Moment): SessionStep {
  if (at.way !== true) return step(state); // begins when a way is found
  if (state.rekey.kind !== 'none' || state.standby !== null) return step(state);
  if (at.nowMs < state.ring.retryMs) return step(state);
  if (state.rules.begins) return startHandshake(state, null, at.nonce, at);
  return step<SessionState, Effect>(
    { ...state, rekey: { kind: 'asked', over: 'ring', deadlineMs: at.nowMs + securingMs } },
    { kind: 'ask-rekey', number: null },
    { kind: 'timer', id: 'rekey', atMs: at.nowMs + rekeyRepeatMs },
  );
}

/** The peer begins a handshake over the ring, or asks us to; or so somebody says. */
export function onRingHeard(
  state: SessionState,
  id: SessionNonce | null,
  heardAgoMs: number,
  at: Moment,
): SessionStep {
  const { rekey, rekeyed, rules, link } = state;
  if (rules.begins !== (id === null)) return stay(state, 'not its part, or an answer of its part');
  if (id !== null && id === rekeyed.id) return stay(state, 'of the one that is known');
  const running = rekey.kind === 'running' && rekey.base === null ? rekey : null;
  if (running !== null) {
    const sinceMs = running.deadlineMs - securingMs;
    if (id === null || at.nowMs - sinceMs < ringHoldMs) return stay(state, 'goes on');
  }
  const fresh = link.kind === 'up' && heardAgoMs >= 0 && heardAgoMs < ringFreshMs;
  if (fresh) return stay(state, 'the peer has its keys');
  const first = rekeyed.id === null;
  if (!first && at.nowMs - rekeyed.atMs < ringSpacingMs) return stay(state, 'too many');
  return startHandshake(state, null, id ?? at.nonce, at);
}

/**
 * The client is done last: it may use the keys at once. The server waits until it is heard, so that
 * no record overtakes the handshake.
 */
export function onRingSecured(state: SessionState, id: SessionNonce, at: Moment): SessionStep {
  const { rekey, link, rules } = state;
  if (rekey.kind !== 'running' || rekey.id !== id) return stay(state, 'was given up');
  const secured: SessionState = { ...state, rekey: { kind: 'none' }, lastError: null };
  const path = 'ring';
  if (link.kind === 'up' || !rules.begins) {
    return addStandby(secured, { own: id, by: 'ring', rekey: id, path }, at);
  }
  const rest = withoutStandby(secured, at);
  const { number } = at;
  const up = goOnline(rest.state, { own: id, number, path }, at);
  return step(
    up.state,
    { kind: 'install', own: id, number, rekey: id, ring: true },
    ...up.effects,
    { kind: 'ask', number },
    ...rest.effects,
  );
}

/** A link whose own path is in doubt, or not wanted any more, goes on over the ring if it leads there. */
export function moveToRing(state: SessionState, at: Moment): SessionStep {
  const { link, wanted, keeps } = state;
  if (link.kind === 'down' || link.path === 'ring' || at.way !== true) return step(state);
  if (link.suspectSinceMs === null && (wanted || !keeps)) return step(state);
  const { number } = link;
  return step<SessionState, Effect>(
    { ...state, link: { ...link, path: 'ring', sought: 0 } },
    { kind: 'use-ring', number },
    { kind: 'note', what: 'goes on over the ring' },
    { kind: 'path-changed' },
    { kind: 'ask', number },
    ...(wanted ? [improveLater(0, at)] : []),
  );
}

export function onWaysChanged(state: SessionState, at: Moment): SessionStep {
  if (state.link.kind === 'up') return moveToRing(state, at);
  const waits = state.ring.neededUntilMs > at.nowMs;
  return waits ? beginOverRing(state, at) : stay(state, 'nothing waits');
}

/** The peer has left its own path, so ours, which is the same one, is as good as dead. */
export function onPeerOnRing(state: SessionState, number: number, at: Moment): SessionStep {
  const { link } = state;
  if (link.kind === 'down' || link.number !== number) return stay(state, 'of other keys');
  if (link.path === 'ring') return stay(state, 'so are we');
  const suspectSinceMs = link.suspectSinceMs ?? at.nowMs;
  return moveToRing({ ...state, link: { ...link, suspectSinceMs } }, at);
}

export function onReleased(state: SessionState, keep: boolean, at: Moment): SessionStep {
  const { setup, standby } = state;
  const own = setup.kind === 'none' || setup.kind === 'pause' ? null : setup.own;
  const released: SessionState = {
    ...state,
    wanted: false,
    keeps: keep,
    setup: { kind: 'none' },
    negotiation: abandon(state.negotiation),
    failures: 0,
  };
  // Keys that an attempt has just brought are as unwanted as its path.
  const rest =
    standby?.by === 'attempt' ? withoutStandby(released, at) : step<SessionState, Effect>(released);
  const moved = moveToRing(rest.state, at);
  return step(
    moved.state,
    ...(own === null ? [] : [{ kind: 'stop-ice', own } as const]),
    ...rest.effects,
    ...moved.effects,
  );
}
