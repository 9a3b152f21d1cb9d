/**
 * Handshakes inside the link, or over the ring: when one begins, and when it is given up. Owns these
 * transitions of the session machine; `session.ts` calls them, `replacement.ts` takes the keys over.
 *
 * Only the DTLS client begins handshakes, the other side asks it to, so two ends that want new keys at
 * once want the same handshake. New keys by an attempt beat those of a handshake inside the link.
 */
import type { SessionNonce } from '../../../base/ids.ts';
import { stay, step } from '../../../base/machine.ts';
import { addStandby, stopped, withoutStandby } from './replacement.ts';
import type { Effect, Moment, SessionState, SessionStep } from './session-state.ts';
import {
  rekeyBytesShare,
  rekeyRepeatMs,
  rekeyRetryMs,
  rekeySpacingMs,
  ringRetryMaxMs,
  ringRetryMs,
  securingMs,
} from './timers.ts';

/** Whether so many bytes under one key are reason to begin. */
export const isWorn = ({ rules, rekey, standby }: SessionState, usedBytes: number): boolean =>
  rekey.kind === 'none' && standby === null && usedBytes >= rules.afterBytes * rekeyBytesShare;

/** Keys of the link are due, or what is under way is looked after. */
export function onRekeyTimer(state: SessionState, at: Moment): SessionStep {
  const { link, rekey, standby, rules, setup } = state;
  const later = (afterMs: number): Effect => ({
    kind: 'timer',
    id: 'rekey',
    atMs: at.nowMs + afterMs,
  });
  if (rekey.kind !== 'none' && at.nowMs >= rekey.deadlineMs) {
    return giveUp(state, 'the handshake inside the link did not end', at);
  }
  if (rekey.kind === 'running') return step(state, later(rekey.deadlineMs - at.nowMs));
  if (link.kind === 'down' || (rekey.kind === 'asked' && rekey.over === 'ring')) {
    if (rekey.kind === 'none') return stay(state, 'went down meanwhile');
    return step(state, { kind: 'ask-rekey', number: null }, later(rekeyRepeatMs));
  }
  if (rekey.kind === 'asked') {
    return step(state, { kind: 'ask-rekey', number: link.number }, later(rekeyRepeatMs));
  }
  // A path in doubt has other worries, and an attempt brings new keys anyway.
  if (setup.kind !== 'none' || standby !== null || link.suspectSinceMs !== null) {
    return step(state, later(rekeyRetryMs));
  }
  if (rules.begins) return startHandshake(state, link.number, at.nonce, at);
  return step(
    { ...state, rekey: { kind: 'asked', over: 'link', deadlineMs: at.nowMs + securingMs } },
    { kind: 'ask-rekey', number: link.number },
    later(rekeyRepeatMs),
  );
}

/** `base`: the association that carries it, null for the ring. */
export function startHandshake(
  state: SessionState,
  base: number | null,
  id: SessionNonce,
  { nowMs }: Moment,
): SessionStep {
  const deadlineMs = nowMs + securingMs;
  return step(
    {
      ...state,
      rekey: { kind: 'running', id, base, deadlineMs },
      rekeyed: { ...state.rekeyed, id, atMs: nowMs },
    },
    ...stopped(state),
    { kind: 'start-rekey', id, base },
    { kind: 'timer', id: 'rekey', atMs: deadlineMs },
  );
}

/** The peer begins a handshake, or asks us to. */
export function onRekeyHeard(
  state: SessionState,
  number: number,
  id: SessionNonce | null,
  at: Moment,
): SessionStep {
  const { link, rekey, rekeyed, rules, standby } = state;
  if (link.kind === 'down' || number !== link.number) return stay(state, 'not over the link');
  if (rules.begins !== (id === null)) return stay(state, 'not its part, or an answer of its part');
  if (rekey.kind === 'running' && (id === null || id === rekey.id)) return stay(state, 'goes on');
  if (id !== null && id === rekeyed.id) return stay(state, 'a repetition of the last one');
  if (standby?.by === 'attempt') return stay(state, 'an attempt brings keys already');
  if (id === null)
    return standby === null
      ? startHandshake(state, link.number, at.nonce, at)
      : stay(state, 'done');
  if (at.nowMs - rekeyed.atMs < rekeySpacingMs) return stay(state, 'too many: it will be repeated');
  const { state: next, effects } = withoutStandby(state, at);
  const begun = startHandshake(next, link.number, id, at);
  return step(begun.state, ...effects, ...begun.effects);
}

export function onRekeySecured(state: SessionState, id: SessionNonce, at: Moment): SessionStep {
  const { link, rekey } = state;
  if (link.kind === 'down' || rekey.kind !== 'running' || rekey.id !== id) {
    return stay(state, 'of a handshake that was given up');
  }
  const keys = { own: link.own, by: 'rekey', rekey: id, path: link.path } as const;
  return addStandby({ ...state, rekey: { kind: 'none' } }, keys, at);
}

export function onRekeyFailed(
  state: SessionState,
  id: SessionNonce,
  reason: string,
  at: Moment,
): SessionStep {
  const { rekey } = state;
  if (rekey.kind !== 'running' || rekey.id !== id) return stay(state, 'given up already');
  return giveUp(state, reason, at);
}

/** As if it had not been heard of: its next repetition is taken for the first. */
export function onRekeyDeclined(
  state: SessionState,
  id: SessionNonce,
  reason: string,
  at: Moment,
): SessionStep {
  const { rekey, rekeyed } = state;
  if (rekey.kind !== 'running' || rekey.id !== id) return stay(state, 'given up already');
  return giveUp({ ...state, rekeyed: { ...rekeyed, id: null } }, reason, at);
}

function giveUp(state: SessionState, reason: string, at: Moment): SessionStep {
  const { rekey } = state;
  const overRing =
    rekey.kind === 'running'
      ? rekey.base === null
      : rekey.kind === 'asked' && rekey.over === 'ring';
  return overRing ? giveUpRing(state, reason, at) : giveUpLink(state, reason, at);
}

/** Tried again when something needs it, after a pause that grows. */
function giveUpRing(state: SessionState, reason: string, { nowMs }: Moment): SessionStep {
  const failures = state.ring.failures + 1;
  const pauseMs = Math.min(ringRetryMaxMs, ringRetryMs * 2 ** Math.min(failures, 10));
  return step(
    {
      ...state,
      rekey: { kind: 'none' },
      ring: { ...state.ring, failures, retryMs: nowMs + pauseMs },
      lastError: state.link.kind === 'up' ? state.lastError : `over the ring: ${reason}`,
    },
    ...stopped(state),
    { kind: 'note', what: `over the ring: ${reason}` },
  );
}

function giveUpLink(state: SessionState, reason: string, { nowMs }: Moment): SessionStep {
  const failures = state.rekeyed.failures + 1;
  return step(
    { ...state, rekey: { kind: 'none' }, rekeyed: { ...state.rekeyed, failures } },
    ...stopped(state),
    { kind: 'note', what: `rekeying failed: ${reason}` },
    { kind: 'timer', id: 'rekey', atMs: nowMs + rekeyRetryMs * 2 ** Math.min(failures, 5) },
  );
}
