/**
 * Login (SASL, RFC 6120 section 6) over a stream that is TLS already: choice of the mechanism and
 * its exchange. Owns the order of preference; PLAIN and all that shows the password are not in it.
 */
import { randomBytes } from 'node:crypto';
import { EvioError } from '../../base/errors.ts';
import type { Secret } from '../../base/secret.ts';
import { childOf, conditionOf, element, errorTextOf, type Stanza } from './core/stanza.ts';
import { type ScramHash, startScram } from './scram.ts';

const saslNamespace = 'urn:ietf:params:xml:ns:xmpp-sasl';

export interface Credentials {
  /** Local part of the account. */
  readonly user: string;
  readonly bareJid: string;
  readonly password: Secret | null;
  /** The TLS layer has shown a client certificate. */
  readonly hasCertificate: boolean;
}

/** Sends one element and receives the next; the deadline is the stream's. */
export interface Exchange {
  send(element: Stanza): void;
  next(): Promise<Stanza>;
}

/**
 * Strongest first. There is no protection against a weaker list than the server has, and none is
 * needed: the list came over a TLS stream of a verified server.
 */
const scramMechanisms: readonly (readonly [string, ScramHash])[] = [
  ['SCRAM-SHA-256', 'sha256'],
  ['SCRAM-SHA-1', 'sha1'],
];

/** Logs in, or throws `signal.auth-failed`, `signal.no-mechanism` or `signal.server-unproven`. */
export async function authenticate(
  features: Stanza,
  credentials: Credentials,
  exchange: Exchange,
): Promise<void> {
  const offered = (childOf(features, 'mechanisms', saslNamespace)?.children ?? [])
    .filter((c) => c.name === 'mechanism')
    .map((c) => c.text.trim());
  if (credentials.hasCertificate && offered.includes('EXTERNAL')) {
    await external(credentials.bareJid, exchange);
    return;
  }
  const chosen = scramMechanisms.find(([name]) => offered.includes(name));
  if (chosen === undefined || credentials.password === null) {
    const found = offered.slice(0, 20).join(', ').slice(0, 300) || 'none';
    const why = credentials.password === null ? ', and there is no password' : '';
    throw new EvioError('signal.no-mechanism', `the server offers ${found}${why}`);
  }
  await scram(chosen, credentials.user, credentials.password, exchange);
}

/** XEP-0178: the name is sent, since one certificate may hold several. */
async function external(bareJid: string, exchange: Exchange): Promise<void> {
  exchange.send(auth('EXTERNAL', bareJid));
  const answer = await exchange.next();
  if (answer.name !== 'success') throw failureOf(answer, 'EXTERNAL');
}

async function scram(
  [name, hash]: readonly [string, ScramHash],
  user: string,
  password: Secret,
  exchange: Exchange,
): Promise<void> {
  const scramExchange = startScram(hash, user, password, randomBytes(18).toString('base64'));
  exchange.send(auth(name, scramExchange.first));
  const challenge = await exchange.next();
  if (challenge.name !== 'challenge') throw failureOf(challenge, name);
  exchange.send(response(await scramExchange.final(decode(challenge.text))));
  let answer = await exchange.next();
  let proof = answer.text;
  if (answer.name === 'challenge') {
    // RFC 6120 6.4.6: a server may send the proof as one more challenge before success.
    scramExchange.verify(decode(proof));
    exchange.send(response(''));
    answer = await exchange.next();
    proof = answer.text === '' ? proof : answer.text;
  }
  if (answer.name !== 'success') throw failureOf(answer, name);
  scramExchange.verify(decode(proof));
}

function failureOf(answer: Stanza, mechanism: string): EvioError {
  if (answer.name !== 'failure') {
    return new EvioError(
      'signal.server-unproven',
      `the server answered ${mechanism} with <${answer.name.slice(0, 40)}>`,
    );
  }
  const condition = conditionOf(answer);
  const text = errorTextOf(answer);
  const message = `${mechanism} login refused: ${condition}${text === '' ? '' : ` (${text})`}`;
  const isPassing = condition === 'temporary-auth-failure';
  return new EvioError(isPassing ? 'signal.disconnected' : 'signal.auth-failed', message);
}

const auth = (mechanism: string, initial: string): Stanza =>
  element('auth', saslNamespace, { mechanism }, encode(initial));
const response = (text: string): Stanza => element('response', saslNamespace, {}, encode(text));
const encode = (text: string): string => Buffer.from(text).toString('base64');
const decode = (text: string): string => Buffer.from(text, 'base64').toString('utf8');
