/**
 * How an effect of the session machine is carried out: by which part of the session. Owns nothing;
 * decides nothing.
 */
import type { Effect } from './core/session-state.ts';
import type { SessionEvents } from './session-contract.ts';
import type { SessionParts } from './session-parts.ts';

/** What is being built: attempts, and handshakes that replace keys. */
type BuildEffect = Extract<
  Effect,
  {
    readonly kind:
      | 'start-ice'
      | 'pair-ice'
      | 'add-candidates'
      | 'stop-ice'
      | 'describe'
      | 'start-handshake'
      | 'start-rekey'
      | 'stop-rekey'
      | 'ask-rekey';
  }
>;

export function runEffect(effect: Effect, parts: SessionParts, events: SessionEvents): void {
  const { path, attempts, sender, timers, history } = parts;
  switch (effect.kind) {
    case 'install':
      install(effect, parts, events);
      return;
    case 'use-ring':
      path.useRing(effect.number);
      return;
    case 'shed':
      path.shed(effect.number);
      return;
    case 'use':
      path.use(effect.number, effect.from);
      return;
    case 'remove':
      path.remove(effect.number);
      return;
    case 'up':
      if (path.path.kind !== 'ring') attempts.forgetCause();
      events.onUp(path.path, Math.round(effect.setUpMs));
      parts.messages.flush();
      parts.overlayPings.flush();
      return;
    case 'path-changed':
      events.onPathChanged(path.path);
      return;
    case 'down':
      parts.probe.end();
      parts.keys.end();
      events.onDown(effect.reason);
      return;
    case 'ask':
      sender.ask(effect.number);
      return;
    case 'timer':
      timers.set(effect.id, effect.atMs);
      return;
    case 'note':
      history.note(effect.what);
      return;
    default:
      build(effect, parts);
  }
}

function build(effect: BuildEffect, { attempts, keys }: SessionParts): void {
  switch (effect.kind) {
    case 'start-ice':
      attempts.start(effect.own, effect.direct);
      return;
    case 'pair-ice': {
      const { ufrag, password, candidates } = effect.remote;
      attempts.get(effect.own)?.ice.pair(ufrag, password, candidates);
      return;
    }
    case 'add-candidates':
      attempts.get(effect.own)?.ice.addCandidates(effect.candidates);
      return;
    case 'stop-ice':
      attempts.drop(effect.own);
      return;
    case 'describe':
      attempts.describe(effect.own, effect.peerNonce);
      return;
    case 'start-handshake':
      attempts.startHandshake(effect.own);
      return;
    case 'start-rekey':
      keys.start(effect.id, effect.base);
      return;
    case 'stop-rekey':
      keys.stop(effect.id);
      return;
    case 'ask-rekey':
      keys.ask(effect.number);
      return;
  }
}

function install(
  { own, number, rekey, ring }: Extract<Effect, { readonly kind: 'install' }>,
  { attempts, keys, associations }: SessionParts,
  events: SessionEvents,
): void {
  // Of a handshake over the ring, whose number the peer may have chosen, there is none.
  const attempt = own === rekey ? null : attempts.get(own);
  const secured = (rekey === null ? attempt?.secured : keys.secured(rekey)) ?? null;
  if (secured === null || (!ring && attempt?.selected == null)) return;
  associations.install(number, attempt, secured, ring);
  events.onInstalled(number);
}
