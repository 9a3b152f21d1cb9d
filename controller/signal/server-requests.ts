/**
 * Requests that others make of us on a stream: the server's roster pushes, service pushes and pings. Owns
 * who may ask; decides nothing else.
 */
import { servicesNamespace } from './core/external-services.ts';
import { type Jid, parseJid } from './core/jid.ts';
import { isMember } from './core/membership.ts';
import { isRosterPush, readRoster } from './core/roster.ts';
import { attributeOf, childOf, type Stanza } from './core/stanza.ts';
import type { OverlaySignalConfig } from './deps.ts';
import type { Members } from './members.ts';
import { answerTo, pingNamespace } from './stanzas-out.ts';
import type { XmppStream } from './xmpp/contract.ts';

export interface RequestDeps {
  readonly members: Members;
  readonly rosterGroup: OverlaySignalConfig['rosterGroup'];
  readonly onServicesChanged: () => void;
}

/** The server's are answered; a peer has none, and a stranger is not even told we exist. */
export function answerRequest(
  stanza: Stanza,
  stream: XmppStream,
  account: Jid,
  { members, rosterGroup, onServicesChanged }: RequestDeps,
): void {
  const type = attributeOf(stanza, 'type');
  if (type !== 'get' && type !== 'set') return;
  const from = parseJid(attributeOf(stanza, 'from') ?? account.bare);
  if (from === null) return;
  const { bare, domain } = account;
  if (from.full !== bare && from.full !== domain) {
    if (!isMember(members.state, from.bare)) members.counters.strangerStanzas += 1;
    else stream.send(answerTo(stanza, false));
    return;
  }
  if (isRosterPush(stanza, bare)) {
    stream.send(answerTo(stanza, true));
    const items = readRoster(stanza, rosterGroup);
    members.advance({ kind: 'roster-changed', items });
  } else if (type === 'set' && childOf(stanza, 'services', servicesNamespace) !== null) {
    stream.send(answerTo(stanza, true)); // what changed is asked for: a push may be partial
    onServicesChanged();
  } else {
    stream.send(answerTo(stanza, childOf(stanza, 'ping', pingNamespace) !== null));
  }
}
