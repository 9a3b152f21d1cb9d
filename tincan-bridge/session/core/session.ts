/**
 * The machine of one session with one peer (state and diagram: `session-state.ts`): which transition
 * answers which input. Effects are data; `session-effects.ts` carries them out. Every input leaves the machine
 * usable: a failure of an attempt never touches a link that is up, and whatever fails is tried again
 * until unwanted.
 */
import { stay, step } from '../../../base/machine.ts';
import {
  describe,
  isBuilding,
  onDescription,
  onImprove,
  onNetworkChanged,
  onPauseTimer,
  onRepeatTimer,
  onWanted,
} from './attempt.ts';
import {
  onDeadlineTimer,
  onIceFailed,
  onInsecure,
  onSecured,
  onValidated,
} from './attempt-outcome.ts';
import { onAskTimer, onEnded, onTick, onUnwanted } from './link.ts';
import {
  onRekeyDeclined,
  onRekeyFailed,
  onRekeyHeard,
  onRekeySecured,
  onRekeyTimer,
} from './rekey.ts';
import { onConfirmTimer, onHeard, onRetireTimer } from './replacement.ts';
import {
  onNeeded,
  onPeerOnRing,
  onReleased,
  onRingHeard,
  onRingSecured,
  onWaysChanged,
} from './ring.ts';
import type { Input, Moment, SessionState, SessionStep } from './session-state.ts';

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
      return onInsecure(state, input.own, input.reason, input.refused, at);
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
    case 'rekey-declined':
      return onRekeyDeclined(state, input.id, input.reason, at);
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
    case 'unwanted':
      return onUnwanted(state, input.reason, at);
  }
}

function onTimer(
  state: SessionState,
  timer: Input & { readonly kind: 'timer' },
  at: Moment,
): SessionStep {
  const { id, heardAgoMs } = timer;
  switch (id) {
    case 'pause':
      return onPauseTimer(state, at);
    case 'deadline':
      return onDeadlineTimer(state, at);
    case 'repeat':
      return onRepeatTimer(state, at);
    case 'ask':
      return onAskTimer(state, at);
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
