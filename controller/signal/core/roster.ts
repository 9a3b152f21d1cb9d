/**
 * The roster (RFC 6121 section 2) as membership: who in it is a member of the overlay. Owns the
 * rule and the bound; the server is believed, since its certificate was verified.
 */
import { parseJid } from './jid.ts';
import { attributeOf, childOf, clientNamespace, element, type Stanza } from './stanza.ts';

export const rosterNamespace = 'jabber:iq:roster';

/** Members that are kept; further roster items are ignored and counted. */
export const maxMembers = 4_096;

/** What one roster item says about an account. */
export interface RosterItem {
  /** Bare JID. */
  readonly account: string;
  readonly member: boolean;
}

/** Asks for the whole roster. */
export const rosterQuery: Stanza = element(
  'iq',
  clientNamespace,
  { type: 'get' },
  element('query', rosterNamespace),
);

/**
 * The items of a roster result or push. A member has a subscription in any direction (shared
 * groups give `both`) and, where one is configured, is in the group of that name.
 */
export function readRoster(iq: Stanza, rosterGroup: string | null): readonly RosterItem[] {
  const query = childOf(iq, 'query', rosterNamespace);
  if (query === null) return [];
  const items: RosterItem[] = [];
  for (const item of query.children) {
    if (item.name !== 'item' || item.namespace !== rosterNamespace) continue;
    const account = parseJid(attributeOf(item, 'jid') ?? '');
    if (account === null || account.resource !== null) continue;
    const subscribed = ['both', 'to', 'from'].includes(attributeOf(item, 'subscription') ?? 'none');
    const grouped =
      rosterGroup === null ||
      item.children.some((c) => c.name === 'group' && c.text.trim() === rosterGroup);
    items.push({ account: account.bare, member: subscribed && grouped });
  }
  return items;
}

/** Whether an iq is a roster push of our own server: anybody else could forge one (RFC 6121 2.1.6). */
export function isRosterPush(iq: Stanza, ownBare: string): boolean {
  if (attributeOf(iq, 'type') !== 'set') return false;
  if (childOf(iq, 'query', rosterNamespace) === null) return false;
  const from = attributeOf(iq, 'from');
  return from === null || parseJid(from)?.full === ownBare;
}
