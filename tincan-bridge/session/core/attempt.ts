/**
 * How an attempt to reach the peer by ICE begins: because a link is wanted, the network has changed, a
 * better path is sought or the peer has begun one; and what the peer is told of it. Owns these transitions
 * of the session machine; `session.ts` calls them. How it ends: `attempt-outcome.ts`.
 */
import type { SessionNonce } from '../../../base/ids.ts';
import { stay, step } from '../../../base/machine.ts';
import { improveLater } from './improve.ts';
import { type Heard, hear, type Negotiation, open } from './negotiation.ts';
import { alsoOverRing } from './ring.ts';
import type { Effect, Moment, Remote, SessionState, SessionStep, Setup } from './session-state.ts';
import {
  connectingMs,
  directMs,
  offeredMs,
  repeatFirstMs,
  repeatMaxMs,
  startsAllowed,
  startsWindowMs,
} from './timers.ts';

type Building = Exclude<Setup, { readonly kind: 'none' | 'pause' }>;

export const building = (setup: Setup): Building | null =>
  setup.kind === 'none' || setup.kind === 'pause' ? null : setup;

export const isBuilding = (state: SessionState, own: SessionNonce): boolean =>
  building(state.setup)?.own === own;

/** No attempt is under way, and none has just brought keys. */
export const isIdle = ({ setup, standby }: SessionState): boolean =>
  setup.kind === 'none' && standby?.by !== 'attempt';

export const note = (what: string): Effect => ({ kind: 'note', what });

export function describe(state: SessionState): Effect {
  const { negotiation } = state;
  if (negotiation.kind === 'idle') return note('nothing to describe');
  const peerNonce = negotiation.kind === 'paired' ? negotiation.peer : null;
  return { kind: 'describe', own: negotiation.own, peerNonce };
}

/** Starts an attempt that is offered to the peer. */
export function begin(state: SessionState, at: Moment, why: string, direct = false): SessionStep {
  return startAttempt(state, open(state.negotiation, at.nonce), null, at, why, direct);
}

/** Said again when the peer has come (back) to the signalling: it may have missed what we said. */
export function onWanted(before: SessionState, at: Moment): SessionStep {
  const wantedMs = before.wanted ? before.wantedMs : at.nowMs;
  const state: SessionState = { ...before, wanted: true, keeps: false, wantedMs };
  const settled = state.negotiation.kind === 'paired' && state.negotiation.confirmed;
  if (building(state.setup) !== null && !settled) return step(state, describe(state));
  const enough = state.link.kind === 'up' && state.link.path !== 'ring';
  if (!isIdle(state) || enough) return stay(state, 'wanted again');
  return begin(state, at, 'wanted');
}

/**
 * An attempt beside what there is, with the addresses of now; one that is being built has those of
 * before. A session that is up stays until the new association replaces it.
 */
export function onNetworkChanged(state: SessionState, at: Moment): SessionStep {
  if (state.setup.kind === 'pause' && state.setup.deaf) return stay(state, 'was refused');
  if (!state.wanted) return stay(state, 'has no path of its own');
  const { link } = state;
  const known = link.kind === 'up' ? { ...state, link: { ...link, sought: 0 } } : state;
  return begin({ ...known, failures: 0 }, at, 'the network of this host changed');
}

function startAttempt(
  state: SessionState,
  negotiation: Negotiation,
  remote: Remote | null,
  { nowMs, nonce }: Moment,
  why: string,
  direct: boolean,
): SessionStep {
  const before = building(state.setup);
  const setup: Setup = {
    kind: remote === null ? 'offered' : 'connecting',
    own: nonce,
    deadlineMs: nowMs + (remote === null ? offeredMs : connectingFor(direct)),
    repeatMs: repeatFirstMs,
    direct,
  };
  return step(
    { ...state, negotiation, setup },
    ...(before === null ? [] : [{ kind: 'stop-ice', own: before.own } as const]),
    note(`attempt: ${why}`),
    { kind: 'start-ice', own: nonce, direct },
    ...(remote === null ? [] : [{ kind: 'pair-ice', own: nonce, remote } as const]),
    { kind: 'timer', id: 'repeat', atMs: nowMs + repeatFirstMs },
    { kind: 'timer', id: 'deadline', atMs: setup.deadlineMs },
  );
}

const connectingFor = (direct: boolean): number => (direct ? directMs : connectingMs);

export function onDescription(
  state: SessionState,
  heard: Heard,
  remote: Remote,
  at: Moment,
): SessionStep {
  const { setup } = state;
  if (!state.wanted) return stay(state, 'no link is wanted');
  if (setup.kind === 'pause' && setup.deaf)
    return stay(state, 'was refused: not before the pause ends');
  const { next, verdict } = hear(state.negotiation, heard, at.nonce);
  const paired: SessionState = { ...state, negotiation: next };
  const answer = (wanted: boolean): readonly Effect[] => (wanted ? [describe(paired)] : []);
  switch (verdict.kind) {
    case 'ignore':
      return step(paired);
    case 'pair': {
      const now = building(setup);
      if (now === null) return stay(state, 'offered without an attempt: cannot be');
      const deadlineMs = at.nowMs + connectingFor(now.direct);
      return step(
        { ...paired, setup: { ...now, kind: 'connecting', deadlineMs } },
        note('the peer answers'),
        { kind: 'pair-ice', own: now.own, remote },
        { kind: 'timer', id: 'deadline', atMs: deadlineMs },
        ...answer(verdict.answer),
      );
    }
    case 'merge': {
      const own = next.kind === 'paired' ? next.own : null;
      if (own === null) return step(paired);
      const { candidates } = remote;
      return step(paired, { kind: 'add-candidates', own, candidates }, ...answer(verdict.answer));
    }
    case 'start-paired':
    case 'start-offered': {
      const starts = state.starts.filter((t) => t > at.nowMs - startsWindowMs);
      if (starts.length >= startsAllowed) return stay(state, 'too many: it will be repeated');
      const to = verdict.kind === 'start-paired' ? remote : null;
      const counted = { ...state, starts: [...starts, at.nowMs] };
      const { link } = state;
      const good = link.kind === 'up' && link.suspectSinceMs === null && link.path !== 'ring';
      const direct = remote.directOnly === true && good;
      return startAttempt(counted, next, to, at, 'the peer starts anew', direct);
    }
  }
}

/** A link that could be better seeks a path, unless something is being built anyway. */
export function onImprove(state: SessionState, at: Moment): SessionStep {
  const { link } = state;
  if (link.kind === 'down' || link.path === 'direct') return stay(state, 'the best there is');
  if (!state.wanted) return stay(state, 'the ring is enough');
  if (!isIdle(state)) return step(state, improveLater(link.sought, at));
  const relayed = link.path === 'turn';
  return begin(state, at, relayed ? 'a direct path is sought' : 'an own path is sought', relayed);
}

export function onPauseTimer(state: SessionState, at: Moment): SessionStep {
  if (state.setup.kind !== 'pause') return stay(state, 'something began meanwhile');
  if (state.link.kind === 'up' && state.link.suspectSinceMs === null) {
    return step({ ...state, setup: { kind: 'none' } });
  }
  return alsoOverRing(begin(state, at, 'again'), at);
}

/** The peer may have missed what we said. */
export function onRepeatTimer(state: SessionState, at: Moment): SessionStep {
  const now = building(state.setup);
  const settled = state.negotiation.kind === 'paired' && state.negotiation.confirmed;
  if (now === null || settled) return alsoOverRing(stay(state, 'the peer knows us'), at);
  const repeatMs = Math.min(repeatMaxMs, now.repeatMs * 2);
  const again = step<SessionState, Effect>(
    { ...state, setup: { ...now, repeatMs } },
    describe(state),
    { kind: 'timer', id: 'repeat', atMs: at.nowMs + repeatMs },
  );
  return alsoOverRing(again, at);
}
