/**
 * How new keys take the place of old ones while a link is up, without a lost packet: how new keys wait
 * (`standby`), when they are used and when old ones end. Owns these transitions of the session machine;
 * `session.ts` calls them. Where the keys come from, `rekey.ts`, `ring.ts` and `attempt-outcome.ts` say.
 */
import type { SessionNonce } from '../../../base/ids.ts';
import { stay, step } from '../../../base/machine.ts';
import { improveLater } from './improve.ts';
import type { Effect, Moment, SessionState, SessionStep, Standby } from './session-state.ts';
import {
  confirmMs,
  confirmRepeatMs,
  firstAskMs,
  nextTickMs,
  rekeyRetryMs,
  retireMaxMs,
  retireMs,
  retiringAllowed,
} from './timers.ts';

/** When the keys that are used from now on are to be replaced: jittered, so that peers differ. */
const rekeyTimer = ({ rules }: SessionState, { nowMs, random }: Moment): Effect => ({
  kind: 'timer',
  id: 'rekey',
  atMs: nowMs + Math.round(rules.afterMs * (0.75 + random / 4)),
});

export const stopped = ({ rekey }: SessionState): readonly Effect[] =>
  rekey.kind === 'running' ? [{ kind: 'stop-rekey', id: rekey.id }] : [];

export interface NewKeys extends Pick<Standby, 'own' | 'by' | 'path'> {
  /** The handshake inside the link that they are from. */
  readonly rekey: SessionNonce | null;
}

/** New keys wait, receiving; what waited before retires. */
export function addStandby(
  state: SessionState,
  { own, by, rekey, path }: NewKeys,
  at: Moment,
): SessionStep {
  const { state: next, effects } = withoutStandby(state, at);
  const { number, nowMs } = at;
  // The DTLS client is done last: the peer has its keys already, and answers at once.
  const ask: readonly Effect[] = state.rules.begins ? [{ kind: 'ask', number }] : [];
  return step(
    {
      ...next,
      rekey: { kind: 'none' },
      standby: { own, number, by, path, deadlineMs: nowMs + confirmMs },
    },
    ...effects,
    ...(by === 'attempt' ? stopped(state) : []),
    { kind: 'install', own, number, rekey, ring: path === 'ring' },
    ...ask,
    { kind: 'timer', id: 'confirm', atMs: nowMs + confirmRepeatMs },
  );
}

/** Keys that were superseded while they waited: the peer may use them already, so they retire. */
export function withoutStandby(state: SessionState, at: Moment): SessionStep {
  const { standby } = state;
  return standby === null
    ? step(state)
    : retire({ ...state, standby: null }, standby.number, at.nowMs);
}

/** The first keys, or the first after a link that ended: they are installed already. */
export function goOnline(
  state: SessionState,
  { own, number, path }: Pick<Standby, 'own' | 'number' | 'path'>,
  at: Moment,
): SessionStep {
  const { nowMs } = at;
  const up: SessionState = {
    ...state,
    standby: null,
    rekey: { kind: 'none' },
    rekeyed: { ...state.rekeyed, atMs: nowMs, failures: 0 },
    ring: { ...state.ring, failures: 0, retryMs: 0 },
    link: {
      kind: 'up',
      own,
      number,
      sinceMs: nowMs,
      unanswered: 0,
      askedMs: nowMs,
      doubtMs: nowMs,
      suspectSinceMs: null,
      path,
      sought: 0,
    },
  };
  return step(
    up,
    { kind: 'use', number, from: null },
    { kind: 'note', what: path === 'ring' ? 'online over the ring' : 'online' },
    { kind: 'up', setUpMs: nowMs - state.wantedMs },
    { kind: 'timer', id: 'ask', atMs: nowMs + firstAskMs },
    { kind: 'timer', id: 'tick', atMs: nextTickMs(nowMs) },
    rekeyTimer(up, at),
    ...(path !== 'direct' && state.wanted ? [improveLater(0, at)] : []),
  );
}

/** The peer was heard under the waiting keys: it can open them, so frames go under them. */
export function onHeard(state: SessionState, number: number, at: Moment): SessionStep {
  const { standby, link } = state;
  if (standby?.number !== number) return stay(state, 'not awaited');
  if (link.kind === 'down') return goOnline(state, standby, at);
  const { nowMs } = at;
  const byAttempt = standby.by !== 'rekey';
  const next: SessionState = {
    ...state,
    standby: null,
    rekeyed: { ...state.rekeyed, failures: 0 },
    link: {
      ...link,
      own: standby.own,
      number,
      sinceMs: byAttempt ? nowMs : link.sinceMs,
      unanswered: 0,
      askedMs: nowMs,
      doubtMs: nowMs,
      suspectSinceMs: null,
      path: standby.path,
      sought: standby.path !== 'direct' && link.path === standby.path ? link.sought : 0,
    },
  };
  // Records that are on their way are still opened, unless nothing came for seconds anyway.
  const old: SessionStep =
    link.suspectSinceMs === null
      ? retire(next, link.number, nowMs)
      : step(next, { kind: 'remove', number: link.number });
  const told: readonly Effect[] = byAttempt
    ? [{ kind: 'note', what: 'association replaced' }, { kind: 'path-changed' }]
    : [{ kind: 'note', what: 'keys replaced' }];
  return step(
    old.state,
    { kind: 'use', number, from: link.number },
    ...told,
    { kind: 'timer', id: 'ask', atMs: nowMs + firstAskMs },
    rekeyTimer(next, at),
    ...(byAttempt && standby.path !== 'direct' && state.wanted ? [improveLater(0, at)] : []),
    ...old.effects,
  );
}

/** Asks again under the keys that wait, or gives them up. `heardAgoMs`: under those keys. */
export function onConfirmTimer(state: SessionState, heardAgoMs: number, at: Moment): SessionStep {
  const { standby } = state;
  if (standby === null) return stay(state, 'in use, or given up');
  if (heardAgoMs >= 0) return onHeard(state, standby.number, at); // frames came before our answer
  if (at.nowMs < standby.deadlineMs) {
    return step(
      state,
      { kind: 'ask', number: standby.number },
      { kind: 'timer', id: 'confirm', atMs: at.nowMs + confirmRepeatMs },
    );
  }
  const failures = state.rekeyed.failures + 1;
  const { state: next, effects } = withoutStandby(state, at);
  return step(
    { ...next, rekeyed: { ...next.rekeyed, failures } },
    ...effects,
    { kind: 'note', what: 'nothing was heard under the new keys' },
    { kind: 'timer', id: 'rekey', atMs: at.nowMs + rekeyRetryMs },
  );
}

function retire(state: SessionState, number: number, nowMs: number): SessionStep {
  const all = [...state.retiring, { number, untilMs: nowMs + retireMaxMs }];
  const kept = all.slice(-retiringAllowed);
  const ended = all.slice(0, all.length - kept.length);
  return step(
    { ...state, retiring: kept },
    ...ended.map((old): Effect => ({ kind: 'remove', number: old.number })),
    { kind: 'timer', id: `retire-${number}`, atMs: nowMs + retireMs },
  );
}

/** Ends old keys unless the peer still uses them: it may not have heard us under the new ones. */
export function onRetireTimer(
  state: SessionState,
  number: number,
  heardAgoMs: number,
  { nowMs }: Moment,
): SessionStep {
  const old = state.retiring.find((entry) => entry.number === number);
  if (old === undefined) return stay(state, 'ended already');
  const used = heardAgoMs >= 0 && heardAgoMs < retireMs;
  if (used && nowMs < old.untilMs) {
    const atMs = Math.min(old.untilMs, nowMs + retireMs - heardAgoMs);
    return step(state, { kind: 'timer', id: `retire-${number}`, atMs });
  }
  const retiring = state.retiring.filter((entry) => entry.number !== number);
  return step({ ...state, retiring }, { kind: 'remove', number });
}

/** What ends with the link, besides the link itself. */
export function withoutReplacements(state: SessionState): SessionStep {
  const numbers = [
    ...(state.standby === null ? [] : [state.standby.number]),
    ...state.retiring.map(({ number }) => number),
  ];
  return step(
    { ...state, standby: null, retiring: [], rekey: { kind: 'none' } },
    ...stopped(state),
    ...numbers.map((number): Effect => ({ kind: 'remove', number })),
  );
}
