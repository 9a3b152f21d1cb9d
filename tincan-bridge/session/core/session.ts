/**
 * The transitions of the machine of one wanted session with one peer (diagram: `session-state.ts`).
 * Owns which attempt is being built, which association carries frames, and when each is given up.
 * Effects are data; `peer-session.ts` runs them. Every input leaves the machine usable: a failure of
 * an attempt never touches a link that is up, and whatever fails is tried again until unwanted.
 */
import type { SessionNonce } from '../../../base/ids.ts';
import { stay, step } from '../../../base/machine.ts';
import { backoffMs } from './backoff.ts';
import { improveLater } from './improve.ts';
import { lookAfterLink } from './liveness.ts';
import { abandon, confirm, type Heard, hear, type Negotiation, open } from './negotiation.ts';
import {
  addStandby,
  goOnline,
  isWorn,
  onConfirmTimer,
  onHeard,
  onRekeyFailed,
  onRekeyHeard,
  onRekeySecured,
  onRekeyTimer,
  onRetireTimer,
  stopped,
  withoutReplacements,
  withoutStandby,
} from './replacement.ts';
import {
  alsoOverRing,
  moveToRing,
  onNeeded,
  onPeerOnRing,
  onReleased,
  onRingHeard,
  onRingSecured,
  onWaysChanged,
} from './ring.ts';
import {
  type Effect,
  type Input,
  initialSession,
  type Link,
  type Moment,
  type Remote,
  type SessionState,
  type SessionStep,
  type Setup,
} from './session-state.ts';
import {
  connectingMs,
  directMs,
  endedMs,
  offeredMs,
  rekeyFailuresAllowed,
  repeatFirstMs,
  repeatMaxMs,
  securingMs,
  stableMs,
  startsAllowed,
  startsWindowMs,
  tickMs,
} from './timers.ts';

export function nextSession(state: SessionState, input: Input, at: Moment): SessionStep {
  switch (input.kind) {
    case 'wanted':
      return onWanted(state, at);
    case 'description':
      return onDescription(state, input.heard, input.remote, at);
    case 'candidates':
      return isBuilding(state, input.own) ? step(state, describe(state)) : stay(state, 'no matter');
    case 'validated':
      return onValidated(state, input.own, at);
    case 'secured':
      return onSecured(state, input.own, input.relayed === true, at);
    case 'network-changed':
      return onNetworkChanged(state, at);
    case 'ice-failed':
      return onIceFailed(state, input.own, input.reason, at);
    case 'insecure':
      if (!isBuilding(state, input.own)) return stay(state, 'of an attempt that was given up');
      return fail(state, input.reason, input.refused, at);
    case 'heard':
      return onHeard(state, input.number, at);
    case 'rekey-heard':
      return onRekeyHeard(state, input.number, input.id, at);
    case 'rekey-secured':
      return state.rekey.kind === 'running' && state.rekey.base === null
        ? onRingSecured(state, input.id, at)
        : onRekeySecured(state, input.id, at);
    case 'rekey-failed':
      return onRekeyFailed(state, input.id, input.reason, at);
    case 'released':
      return onReleased(state, input.keep, at);
    case 'needed':
      return onNeeded(state, at);
    case 'ways-changed':
      return onWaysChanged(state, at);
    case 'peer-on-ring':
      return onPeerOnRing(state, input.number, at);
    case 'ring-heard':
      return onRingHeard(state, input.id, input.heardAgoMs, at);
    case 'timer':
      return onTimer(state, input, at);
    case 'ended':
      return onEnded(state, `the peer ended the session: ${input.reason}`, at);
    case 'distrusted':
      return onEnded(state, input.reason, at);
    case 'unwanted': {
      const { effects } = tearDown(state, input.reason);
      return step(initialSession(state.peer, at.nowMs, state.rules, false), ...effects);
    }
  }
}

type Building = Exclude<Setup, { readonly kind: 'none' | 'pause' }>;
const building = (setup: Setup): Building | null =>
  setup.kind === 'none' || setup.kind === 'pause' ? null : setup;
const isBuilding = (state: SessionState, own: SessionNonce): boolean =>
  building(state.setup)?.own === own;

/** No attempt is under way, and none has just brought keys. */
const isIdle = ({ setup, standby }: SessionState): boolean =>
  setup.kind === 'none' && standby?.by !== 'attempt';

const note = (what: string): Effect => ({ kind: 'note', what });

/** Starts an attempt that is offered to the peer. */
function begin(state: SessionState, at: Moment, why: string, direct = false): SessionStep {
  return startAttempt(state, open(state.negotiation, at.nonce), null, at, why, direct);
}

/** Said again when the peer has come (back) to the signalling: it may have missed what we said. */
function onWanted(before: SessionState, at: Moment): SessionStep {
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
function onNetworkChanged(state: SessionState, at: Moment): SessionStep {
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

function describe(state: SessionState): Effect {
  const { negotiation } = state;
  if (negotiation.kind === 'idle') return note('nothing to describe');
  const peerNonce = negotiation.kind === 'paired' ? negotiation.peer : null;
  return { kind: 'describe', own: negotiation.own, peerNonce };
}

function onDescription(state: SessionState, heard: Heard, remote: Remote, at: Moment): SessionStep {
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

function onValidated(state: SessionState, own: SessionNonce, at: Moment): SessionStep {
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

function onSecured(
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

function onIceFailed(
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

/** A link that could be better seeks a path, unless something is being built anyway. */
function onImprove(state: SessionState, at: Moment): SessionStep {
  const { link } = state;
  if (link.kind === 'down' || link.path === 'direct') return stay(state, 'the best there is');
  if (!state.wanted) return stay(state, 'the ring is enough');
  if (!isIdle(state)) return step(state, improveLater(link.sought, at));
  const relayed = link.path === 'turn';
  return begin(state, at, relayed ? 'a direct path is sought' : 'an own path is sought', relayed);
}

type Timer = Input & { readonly kind: 'timer' };

function onTimer(state: SessionState, timer: Timer, at: Moment): SessionStep {
  const { id, heardAgoMs } = timer;
  const now = building(state.setup);
  switch (id) {
    case 'pause':
      if (state.setup.kind !== 'pause') return stay(state, 'something began meanwhile');
      if (state.link.kind === 'up' && state.link.suspectSinceMs === null) {
        return step({ ...state, setup: { kind: 'none' } });
      }
      return alsoOverRing(begin(state, at, 'again'), at);
    case 'deadline': {
      if (now === null) return stay(state, 'over already');
      // Moved, or the clock woke us a fraction too early: a deadline must never be lost.
      if (at.nowMs < now.deadlineMs)
        return step(state, { kind: 'timer', id, atMs: now.deadlineMs });
      const reasons = {
        offered: 'the peer does not answer',
        connecting: 'no path to the peer was found',
        securing: 'the DTLS handshake did not end',
      } as const;
      return fail(state, reasons[now.kind], false, at);
    }
    case 'repeat': {
      const settled = state.negotiation.kind === 'paired' && state.negotiation.confirmed;
      if (now === null || settled) return alsoOverRing(stay(state, 'the peer knows us'), at);
      const repeatMs = Math.min(repeatMaxMs, now.repeatMs * 2);
      const again = step<SessionState, Effect>(
        { ...state, setup: { ...now, repeatMs } },
        describe(state),
        { kind: 'timer', id, atMs: at.nowMs + repeatMs },
      );
      return alsoOverRing(again, at);
    }
    case 'ask':
      if (state.link.kind === 'down') return stay(state, 'went down meanwhile');
      return step(
        { ...state, link: { ...state.link, askedMs: at.nowMs } },
        { kind: 'ask', number: state.link.number },
      );
    case 'tick':
      return onTick(state, timer, at);
    case 'improve':
      return onImprove(state, at);
    case 'rekey':
      return onRekeyTimer(state, at);
    case 'confirm':
      return onConfirmTimer(state, heardAgoMs, at);
    default:
      return onRetireTimer(state, Number(id.slice('retire-'.length)), heardAgoMs, at);
  }
}

function onTick(
  state: SessionState,
  { heardAgoMs, usedBytes = 0 }: Timer,
  at: Moment,
): SessionStep {
  if (state.link.kind === 'down') return stay(state, 'went down meanwhile');
  const { link, asks, verdict, silentMs } = lookAfterLink(state.link, heardAgoMs, at.nowMs);
  if (verdict === 'dead') return onDead(state, state.link, silentMs, at);
  const steady = verdict === 'healthy' && at.nowMs - link.sinceMs >= stableMs;
  const failures = steady ? 0 : state.failures;
  const moved = moveToRing({ ...state, link, failures }, at);
  const next = moved.state;
  const effects: readonly Effect[] = [
    ...moved.effects,
    ...(asks ? [{ kind: 'ask', number: link.number } as const] : []),
    { kind: 'timer', id: 'tick', atMs: at.nowMs + tickMs },
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

function onEnded(state: SessionState, why: string, at: Moment): SessionStep {
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
