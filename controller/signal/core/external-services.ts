/**
 * External Service Discovery (XEP-0215): the STUN and TURN servers that the XMPP server offers.
 * Owns the reading, the bound and the time of the next question; never connects to one.
 */
import { Secret } from '../../../base/secret.ts';
import type { StunServer, TurnServer } from '../../events.ts';
import { attributeOf, childOf, clientNamespace, element, type Stanza } from './stanza.ts';

export const servicesNamespace = 'urn:xmpp:extdisco:2';

/** Asks the server (not our account, which an iq without `to` would reach) for its services. */
export const servicesQuery = (domain: string): Stanza =>
  element(
    'iq',
    clientNamespace,
    { type: 'get', to: domain },
    element('services', servicesNamespace),
  );

/** Servers of each kind that are kept: more would only slow candidate gathering. */
const maxServers = 8;

/** Without an expiry, asked again after this, since servers come and go. */
const defaultRefreshMs = 3_600_000;
const minRefreshMs = 30_000;
const maxRefreshMs = 12 * 3_600_000;

export interface ExternalServices {
  readonly stun: readonly StunServer[];
  readonly turn: readonly TurnServer[];
  /** When to ask again. */
  readonly refreshInMs: number;
}

/** Reads the answer; `wallMs` is the wall clock. What is of no use to us is left out. */
export function readServices(iq: Stanza, wallMs: number): ExternalServices {
  const stun: StunServer[] = [];
  const turn: TurnServer[] = [];
  let refreshInMs = defaultRefreshMs;
  for (const service of childOf(iq, 'services', servicesNamespace)?.children ?? []) {
    if (service.name !== 'service') continue;
    const server = readService(service);
    if (server === null) continue;
    if ('user' in server) {
      if (turn.length < maxServers) turn.push(server);
    } else if (stun.length < maxServers) stun.push(server);
    refreshInMs = Math.min(refreshInMs, refreshFor(service, wallMs));
  }
  return { stun, turn, refreshInMs };
}

/** Half of the lifetime, so that one failed question leaves time for another. */
function refreshFor(service: Stanza, wallMs: number): number {
  const expiresAtMs = dateTimeMs(attributeOf(service, 'expires') ?? '');
  if (expiresAtMs === null) return defaultRefreshMs;
  return Math.min(maxRefreshMs, Math.max(minRefreshMs, (expiresAtMs - wallMs) / 2));
}

function readService(service: Stanza): StunServer | TurnServer | null {
  const type = attributeOf(service, 'type') ?? '';
  const host = attributeOf(service, 'host') ?? '';
  if (!/^[A-Za-z0-9._:-]{1,253}$/.test(host)) return null;
  const isTls = type === 'turns';
  const port = Number(attributeOf(service, 'port') ?? (isTls ? 5_349 : 3_478));
  if (!Number.isInteger(port) || port < 1 || port > 65_535) return null;
  const carrier = attributeOf(service, 'transport') ?? (isTls ? 'tcp' : 'udp');
  if (type === 'stun') return carrier === 'udp' ? { host, port } : null;
  if (type !== 'turn' && !isTls) return null;
  const transport = transportOf(isTls, carrier);
  const user = attributeOf(service, 'username');
  const password = attributeOf(service, 'password');
  if (transport === null || user === null || password === null) return null;
  if (user.length > 512 || password.length > 512) return null;
  return { host, port, transport, user, password: new Secret(password) };
}

function transportOf(isTls: boolean, carrier: string): TurnServer['transport'] | null {
  if (isTls) return carrier === 'tcp' ? 'tls' : null; // TURN over DTLS is nothing we speak
  return carrier === 'udp' || carrier === 'tcp' ? carrier : null;
}

/** XEP-0082 date and time as milliseconds since the epoch; null when it is none. */
export function dateTimeMs(text: string): number | null {
  const m = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:Z|([+-])(\d\d):(\d\d))$/.exec(
    text,
  );
  if (m === null) return null;
  const n = (index: number): number => Number(m[index] ?? 0);
  const offsetMin = (m[7] === '-' ? -1 : 1) * (n(8) * 60 + n(9));
  const days = daysFromCivil(n(1), n(2), n(3));
  return (((days * 24 + n(4)) * 60 + n(5) - offsetMin) * 60 + n(6)) * 1_000;
}

/** Days since 1970-01-01 in the Gregorian calendar; cores have no Date. */
function daysFromCivil(year: number, month: number, day: number): number {
  const y = month <= 2 ? year - 1 : year; // the year starts in March, so that leap days end it
  const era = Math.floor(y / 400);
  const yearOfEra = y - era * 400;
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1;
  const dayOfEra =
    yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * 146_097 + dayOfEra - 719_468;
}
