/**
 * One XMPP stream: connect, TLS, login, bind, then stanzas both ways until it ends. By xmpp.js's
 * connection and parser, which this folder alone imports; the negotiation is ours,
 * as the library's goes on without TLS, does not check who the server is after login, and retries by
 * itself. Never logs in without verified TLS, never reconnects.
 *
 * Without XEP-0198: resuming keeps a node that died visible to the others for the server's
 * hibernation time, the library's queue is unbounded, and what we send is repeated by its senders.
 */
import { once } from 'node:events';
import { Socket } from 'node:net';
import { StringDecoder } from 'node:string_decoder';
import { Client, type XmlElement } from '@xmpp/client-core';
import TlsSocket from '@xmpp/tls/lib/Socket.js';
import { EvioError, messageOf } from '../../../base/errors.ts';
import { type Jid, parseJid } from '../core/jid.ts';
import {
  attributeOf,
  childOf,
  clientNamespace,
  conditionOf,
  element,
  errorTextOf,
  type Stanza,
} from '../core/stanza.ts';
import { translateNetworkError } from '../network-errors.ts';
import { PendingRequests, StanzaError } from '../pending-requests.ts';
import { authenticate } from '../sasl.ts';
import type { StreamEnds, StreamHandlers, StreamOptions, XmppStream } from './contract.ts';
import { LoginElements } from './login-elements.ts';
import { directTransport, tcpTransport, tlsOptionsOf } from './transports.ts';
import { fromXml, isXml, toXml } from './xml.ts';

const streamNamespace = 'http://etherx.jabber.org/streams';
const tlsNamespace = 'urn:ietf:params:xml:ns:xmpp-tls';
const bindNamespace = 'urn:ietf:params:xml:ns:xmpp-bind';

/** Most bytes between two elements: a roster of 4096 members has about 600 KiB. */
const maxStanzaBytes = 1 << 20;
/** Before login nobody needs more. */
const maxLoginStanzaBytes = 1 << 16;
/** Unsent bytes after which the stream counts as broken. */
const maxUnsentBytes = 4 << 20;

/** Opens a stream. Rejects with a `signal.*` error; the signal aborts at any point. */
export async function openStream(
  options: StreamOptions,
  handlers: StreamHandlers,
  signal: AbortSignal,
): Promise<XmppStream> {
  const stream = new Stream(options);
  const aborted = (): void => {
    stream.fail(ended('the connection was given up'));
  };
  if (signal.aborted) aborted();
  signal.addEventListener('abort', aborted, { once: true });
  try {
    await stream.login();
    stream.begin(handlers);
    return stream;
  } catch (error) {
    throw stream.fail(error);
  } finally {
    signal.removeEventListener('abort', aborted);
  }
}

class Stream extends Client implements XmppStream {
  #handlers: StreamHandlers | null = null;
  readonly #options: StreamOptions;
  #address: Jid;
  #decoder = new StringDecoder('utf8');
  #bytes = 0;
  #maxBytes = maxLoginStanzaBytes;
  readonly #elements = new LoginElements();
  #error: EvioError | null = null;
  #closing: Promise<void> | null = null;
  readonly #requests = new PendingRequests();

  constructor(options: StreamOptions) {
    const { tls, loginTimeoutMs, account } = options;
    super({ service: tls, domain: account.domain, timeout: loginTimeoutMs });
    this.#options = options;
    this.#address = account;
    this.transports.push(tls === 'direct' ? directTransport(options) : tcpTransport(options));
    this.on('error', (error: unknown) => this.fail(error));
    this.on('close', () => this.fail(ended('the server closed the stream')));
    this.on('disconnect', () => this.fail(ended('the connection broke')));
  }

  get address(): Jid {
    return this.#address;
  }

  get ends(): StreamEnds | null {
    const { localAddress: local, remoteAddress: remote, remotePort } = this.#raw() ?? {};
    if (local === undefined || remote === undefined || remotePort === undefined) return null;
    return { local, remote, remotePort };
  }

  async login(): Promise<void> {
    const { connectTimeoutMs, loginTimeoutMs, host, port } = this.#options;
    const where = `${host}:${port}`;
    await this.#within(connectTimeoutMs, 'signal.unreachable', `no connection to ${where}`, () =>
      this.connect(this.#options.tls),
    );
    this.#raw()?.setNoDelay(true); // a request and its answer are small: Nagle costs 40 ms each
    await this.#within(loginTimeoutMs, 'signal.disconnected', `no login at ${where}`, async () => {
      const { domain } = this.#options.account;
      let features = await this.#features(this.open({ domain }));
      if (!this.isSecure()) features = await this.#startTls(features);
      await authenticate(features, this.#credentials(), {
        send: (stanza) => this.send(toXml(stanza)),
        next: () => this.#next(),
      });
      await this.#bind(await this.#features(this.restart()));
    });
    this.#maxBytes = maxStanzaBytes;
  }

  /** Stanzas go to the handlers from now on; throws when the stream has ended already. */
  begin(handlers: StreamHandlers): void {
    if (this.#error !== null) throw this.#error;
    this.#handlers = handlers;
  }

  /** Ends the stream because of `error`; returns the first error that ended it. */
  fail(error: unknown): EvioError {
    if (this.#error !== null) return this.#error;
    this.#error = translateNetworkError(error, this.#options);
    this.#raw()?.destroy();
    this._detachParser();
    // The library's own waits end by this event; our listener is the one that is here already.
    this.emit('error', this.#error);
    this.#elements.wake();
    this.#requests.fail(this.#error);
    if (this.#closing === null) this.#handlers?.ended(this.#error);
    return this.#error;
  }

  override send(stanza: XmlElement | Stanza): Promise<void> {
    const sent = this.write((isXml(stanza) ? stanza : toXml(stanza)).toString());
    if ((this.#raw()?.writableLength ?? 0) > maxUnsentBytes) {
      this.fail(ended('the server does not take what is sent'));
    }
    return sent.catch((error: unknown) => void this.fail(error));
  }

  request(iq: Stanza, timeoutMs: number): Promise<Stanza> {
    if (this.#error !== null) return Promise.reject(this.#error);
    return this.#requests.ask(iq, timeoutMs, (sent) => void this.send(sent));
  }

  abandon(why: string): void {
    this.fail(ended(why));
  }

  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  async #end(): Promise<void> {
    const raw = this.#raw();
    if (this.#error !== null || raw === null) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, 1_000);
      raw.once('close', () => {
        clearTimeout(timer);
        resolve();
      });
      // The server answers with its own end of stream and closes; `fail` then destroys the socket.
      void this.write('</stream:stream>').catch(() => resolve());
    });
    this.fail(ended('closed'));
  }

  /** Nothing of the library may end the stream by its own waits: `fail` and `close` do. */
  override async disconnect(): Promise<void> {}

  override _onData(data: Uint8Array): void {
    this.#bytes += data.length;
    if (this.#bytes > this.#maxBytes) {
      this.fail(ended(`the server sent an element of over ${this.#maxBytes} bytes`));
      return;
    }
    try {
      // A decoder of our own: the library decodes each chunk by itself and breaks characters.
      this.parser?.write(this.#decoder.write(Buffer.from(data)));
    } catch (error) {
      this.fail(ended(`the server sent what is not XML: ${messageOf(error)}`));
    }
  }

  /** Instead of the library's, which would follow `see-other-host` to anywhere. */
  override _onElement(received: XmlElement): void {
    this.#bytes = 0;
    if (this.#error !== null) return;
    const stanza = fromXml(received, 0);
    if (stanza.name === 'error' && stanza.namespace === streamNamespace) {
      const text = errorTextOf(stanza);
      this.fail(ended(`the server said ${conditionOf(stanza)}${text === '' ? '' : `: ${text}`}`));
    } else if (!this.#answers(stanza)) {
      if (this.#handlers !== null) this.#handlers.stanza(stanza);
      else if (!this.#elements.add(stanza)) {
        this.fail(ended('the server sent too much before login'));
      }
    }
  }

  /** Whether it was the answer to a request. Only the server and our own account may answer. */
  #answers(iq: Stanza): boolean {
    if (iq.name !== 'iq') return false;
    const type = attributeOf(iq, 'type');
    if (type !== 'result' && type !== 'error') return false;
    const from = parseJid(attributeOf(iq, 'from') ?? this.#address.bare);
    const { bare, domain, full } = this.#address;
    if (from !== null && [bare, domain, full].includes(from.full)) this.#requests.answer(iq);
    return true;
  }

  async #startTls(features: Stanza): Promise<Stanza> {
    if (childOf(features, 'starttls', tlsNamespace) === null) {
      throw new EvioError('signal.no-tls', `${this.#options.host} offers no STARTTLS`);
    }
    void this.send(element('starttls', tlsNamespace));
    const answer = await this.#next();
    const raw = this.#raw();
    if (answer.name !== 'proceed' || answer.namespace !== tlsNamespace || raw === null) {
      throw new EvioError('signal.no-tls', `${this.#options.host} refused STARTTLS`);
    }
    this._detachParser();
    const secure = new TlsSocket();
    secure.on('error', () => {}); // there is a listener at any time, whoever handles it
    secure.connect({ ...tlsOptionsOf(this.#options), socket: raw });
    await once(secure, 'connect');
    raw.on('error', () => {}); // it reaches us through the TLS socket
    this._detachSocket();
    this._attachSocket(secure);
    // Whatever came in clear text beside the answer was not the server's (RFC 6120 5.4.3.3).
    this.#elements.clear();
    this.#decoder = new StringDecoder('utf8');
    this.#bytes = 0;
    return this.#features(this.restart());
  }

  async #bind(features: Stanza): Promise<void> {
    if (childOf(features, 'bind', bindNamespace) === null) {
      throw ended('the server offers no resource binding after login');
    }
    const resource = element('resource', bindNamespace, {}, this.#options.resource);
    const bind = element('bind', bindNamespace, {}, resource);
    const iq = element('iq', clientNamespace, { type: 'set' }, bind);
    const result = await this.request(iq, this.#options.loginTimeoutMs).catch((error: unknown) => {
      throw error instanceof StanzaError ? ended(`binding refused: ${error.condition}`) : error;
    });
    const bound = childOf(result, 'bind', bindNamespace);
    const jid = parseJid((bound && childOf(bound, 'jid', bindNamespace))?.text ?? '');
    if (jid === null || jid.resource === null) throw ended('the server bound no JID');
    this.#address = jid;
  }

  /**
   * The features of a stream that is being opened. The library's own wait for the server's header
   * starts only after our header was written, and then misses an answer that was faster; so the
   * features are waited for, which a header precedes in any case.
   */
  async #features(opening: Promise<unknown>): Promise<Stanza> {
    opening.catch(() => {}); // what makes it fail ends the stream, and with it the wait below
    const features = await this.#next();
    if (features.name === 'features' && features.namespace === streamNamespace) return features;
    throw ended(`the server sent <${features.name.slice(0, 40)}> instead of its features`);
  }

  #next(): Promise<Stanza> {
    return this.#elements.next(() => this.#error);
  }

  /** Runs a step of the login; it ends by its deadline, or as soon as the stream has failed. */
  async #within(
    ms: number,
    code: 'signal.unreachable' | 'signal.disconnected',
    what: string,
    run: () => Promise<unknown>,
  ): Promise<void> {
    if (this.#error !== null) throw this.#error;
    const timer = setTimeout(() => this.fail(new EvioError(code, `${what} within ${ms} ms`)), ms);
    let listener: (() => void) | null = null;
    const failed = new Promise<never>((_, reject) => {
      listener = () => reject(this.#error);
      this.once('error', listener);
    });
    try {
      await Promise.race([run(), failed]);
    } finally {
      clearTimeout(timer);
      if (listener !== null) this.removeListener('error', listener);
    }
  }

  #credentials() {
    const { account, password, clientCertificate } = this.#options;
    return {
      user: account.bare.slice(0, account.bare.indexOf('@')),
      bareJid: account.bare,
      password,
      hasCertificate: clientCertificate !== null,
    };
  }

  #raw(): Socket | null {
    const socket = this.socket instanceof TlsSocket ? this.socket.socket : this.socket;
    return socket instanceof Socket ? socket : null;
  }
}

const ended = (why: string): EvioError => new EvioError('signal.disconnected', why);
