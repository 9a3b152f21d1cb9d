/**
 * One XMPP stream, as the signalling sees it: what it is given, what it tells, what may be asked of it.
 * Owns the interfaces; `stream.ts` stands on their far side.
 */
import type { EvioError } from '../../../base/errors.ts';
import type { Secret } from '../../../base/secret.ts';
import type { Jid } from '../core/jid.ts';
import type { Stanza } from '../core/stanza.ts';

export interface StreamOptions {
  readonly account: Jid;
  readonly resource: string;
  readonly host: string;
  readonly port: number;
  readonly tls: 'starttls' | 'direct';
  readonly password: Secret | null;
  readonly clientCertificate: { readonly certificate: string; readonly key: Secret } | null;
  /** CA certificates to trust instead of the system's. */
  readonly caPem: string | null;
  /** Until the TCP connection stands. */
  readonly connectTimeoutMs: number;
  /** From then until the resource is bound. */
  readonly loginTimeoutMs: number;
}

export interface StreamHandlers {
  /** Every stanza but the answers to requests. */
  stanza(stanza: Stanza): void;
  /** Called once when the stream is over, unless `close` ended it. */
  ended(error: EvioError): void;
}

export interface StreamEnds {
  readonly local: string;
  readonly remote: string;
  readonly remotePort: number;
}

/** A stream that is logged in. */
export interface XmppStream {
  /** Our full JID. */
  readonly address: Jid;
  /** The ends of its connection, null when it is broken. */
  readonly ends: StreamEnds | null;
  /** Queues a stanza; one that cannot be sent ends the stream. */
  send(stanza: Stanza): void;
  /** Sends an iq and resolves with its result; rejects on an error answer and after the deadline. */
  request(iq: Stanza, timeoutMs: number): Promise<Stanza>;
  /** Ends the stream by force; `ended` is told why. */
  abandon(why: string): void;
  /** Ends the stream in order, by force after a second. Idempotent. */
  close(): Promise<void>;
}
