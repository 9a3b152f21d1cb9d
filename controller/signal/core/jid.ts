/**
 * Addresses of XMPP (RFC 7622), as far as a client needs that compares what its server wrote. Owns
 * the split and the bounds; preparation of other scripts is left to the server, which does it.
 */

/** Longest part of an address, bytes (RFC 7622 section 3.1). */
const maxPartChars = 1_023;

export interface Jid {
  /** `local@domain`, or the domain alone; lower case, for comparing. */
  readonly bare: string;
  readonly domain: string;
  /** Null for a bare JID. Case counts in it. */
  readonly resource: string | null;
  /** The whole, as it is compared. */
  readonly full: string;
}

/** Parses an address; null for anything that is none. */
export function parseJid(text: string): Jid | null {
  const slash = text.indexOf('/');
  const bareText = slash < 0 ? text : text.slice(0, slash);
  const resource = slash < 0 ? null : text.slice(slash + 1);
  const at = bareText.indexOf('@');
  const local = at < 0 ? null : bareText.slice(0, at).toLowerCase();
  const domain = bareText.slice(at + 1).toLowerCase();
  if (!isPart(domain, /^[^\s"&'/:<>@]+$/)) return null;
  if (local !== null && !isPart(local, /^[^\s"&'/:<>@]+$/)) return null;
  if (resource !== null && !isPart(resource, /^\P{Cc}+$/u)) return null;
  const bare = local === null ? domain : `${local}@${domain}`;
  return { bare, domain, resource, full: resource === null ? bare : `${bare}/${resource}` };
}

const isPart = (text: string, shape: RegExp): boolean =>
  text.length > 0 && text.length <= maxPartChars && shape.test(text);
