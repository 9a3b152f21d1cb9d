/**
 * Every stanza that this node sends of its own accord. Owns their shape; sends nothing.
 */
import { clientNamespace, element, evioNamespace, type Stanza } from './core/stanza.ts';

/** XEP-0199. */
export const pingNamespace = 'urn:xmpp:ping';
const hintsNamespace = 'urn:xmpp:hints';

/**
 * Presence with our announcement. Its priority is negative, so that messages to the bare JID are
 * never ours (RFC 6121 section 8.5.2.1): a person may use the same account.
 */
export const announcePresence = (announcement: string): Stanza =>
  element(
    'presence',
    clientNamespace,
    {},
    element('priority', clientNamespace, {}, '-1'),
    element('evio', evioNamespace, {}, encode(announcement)),
  );

export const leavePresence: Stanza = element('presence', clientNamespace, {
  type: 'unavailable',
});

/** A message for one node; not stored and not copied to other clients (XEP-0334). */
export const peerMessage = (to: string, envelope: string): Stanza =>
  element(
    'message',
    clientNamespace,
    { to, type: 'normal' },
    element('evio', evioNamespace, {}, encode(envelope)),
    element('no-store', hintsNamespace),
    element('no-copy', hintsNamespace),
  );

export const pingRequest = (to: string): Stanza =>
  element('iq', clientNamespace, { type: 'get', to }, element('ping', pingNamespace));

/** The answer to an iq of the server: a result, or the error that we do not offer it. */
export function answerTo(request: Stanza, isOffered: boolean): Stanza {
  const id = request.attributes.get('id') ?? '';
  const from = request.attributes.get('from');
  const to = from === undefined ? {} : { to: from };
  if (isOffered) return element('iq', clientNamespace, { type: 'result', id, ...to });
  const condition = element('service-unavailable', 'urn:ietf:params:xml:ns:xmpp-stanzas');
  const error = element('error', clientNamespace, { type: 'cancel' }, condition);
  return element('iq', clientNamespace, { type: 'error', id, ...to }, error);
}

const encode = (text: string): string => Buffer.from(text).toString('base64');

/** Longest base64 text of an envelope that is decoded, characters. */
const maxEncodedChars = 24_000;

/** The text inside one of our elements; null when it is too long or no base64. */
export function decodePayload(text: string): string | null {
  const compact = text.trim();
  if (compact.length > maxEncodedChars || !/^[A-Za-z0-9+/]+={0,2}$/.test(compact)) return null;
  return Buffer.from(compact, 'base64').toString('latin1'); // envelopes are ASCII
}
