/**
 * Control payloads that the peer sends in-band: each is answered, or handed to the part that it is for.
 * Owns nothing; decides nothing.
 */
import type { SessionNumber } from '../datapath/datapath.ts';
import { decodeControl, handshakeId } from './core/control.ts';
import { decodeDescription } from './core/in-band-description.ts';
import type { SessionParts, SessionPorts } from './session-parts.ts';

/** `number`: the association that it was opened with. */
export function receiveControl(
  number: SessionNumber,
  bytes: Uint8Array,
  { sender, messages, overlayPings, probe, keys, seeker, associations }: SessionParts,
  { current, input, onDescription }: SessionPorts,
): void {
  const control = decodeControl(bytes);
  if (control === null) return;
  switch (control.kind) {
    case 'ping':
      sender.pong(number, control.nonce);
      return;
    case 'deaf-ping':
      if (associations.isOnRing(number)) seeker.unheard();
      input({ kind: 'peer-on-ring', number });
      sender.pong(number, control.nonce);
      return;
    case 'ring-ping':
      // First: the answer shall go the way that the peer has taken.
      input({ kind: 'peer-on-ring', number });
      sender.pong(number, control.nonce);
      return;
    case 'message':
    case 'received':
      messages.heard(control);
      return;
    case 'traced':
      overlayPings.traced(control.nonce, control.hops);
      return;
    case 'bye':
      // On an association that was replaced it says nothing about the session.
      if (number !== current()) return;
      input({ kind: 'ended', reason: 'it was closed on the far side' });
      return;
    case 'rekey': {
      const id = handshakeId(control.nonce);
      input({ kind: 'rekey-heard', number, id });
      keys.feed(id, control.datagram);
      return;
    }
    case 'description': {
      const heard = decodeDescription(control.json);
      if (heard !== null) onDescription(heard);
      return;
    }
    case 'pong':
      if (probe.answered(control.nonce) || overlayPings.answered(control.nonce)) return;
      sender.answered(control.nonce);
  }
}
