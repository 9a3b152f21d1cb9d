/**
 * One attempt to reach a peer by ICE, with its own sockets and credentials: an adapter to one werift
 * `Connection`, never restarted. Owns everything it opens; `close` leaves no socket and no timer.
 * Never decides about sessions, never touches DTLS bytes.
 */
import { randomBytes } from 'node:crypto';
import { every } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import { withDeadline } from '../../base/lifecycle.ts';
import type { Datapath, Endpoint, SocketNumber } from '../datapath/datapath.ts';
import type { Diagnosis } from '../session/core/path-note.ts';
import { hostAddresses, overlaySubnets } from './addresses.ts';
import type { IceDeps, IceOptions, SelectedPath } from './agent.ts';
import { createConnection, forgetTransactions } from './connection.ts';
import { Findings } from './findings.ts';
import { Gatherer } from './gatherer.ts';
import type { OwnTransport, TransportOwner } from './own-transport.ts';
import { PeerCandidates } from './peer-candidates.ts';
import { Relays } from './relays.ts';
import type { DatagramRouter } from './router.ts';
import { describePath } from './selected-path.ts';
import {
  type Candidate,
  type CandidatePair,
  CandidatePairState,
  type Connection,
  parseMessage,
  StunOverTurnProtocol,
} from './werift.ts';

/**
 * Relayed pairs are held back for this long after checks began: werift takes the first pair that
 * answers, and a relay next door often answers before a NAT has opened.
 */
const relayDelayMs = 250;
/** Failed pairs are tried again this often: werift gives each 1.5 s, the peer may begin later. */
const retryPairsMs = 2_500;
/** After a relayed pair was selected, the others are tried once more, to say why they fail. */
const measureNatMs = 500;
/** A host without an address is looked at again this often. */
const noAddressMs = 200;
/** Gathering is told complete after this, whatever is still silent. */
const gatherMs = 5_000;
/** Candidates of ours that are told. */
const maxTold = 32;
/** DTLS datagrams that may wait until their sender's address is validated. */
const maxEarly = 4;
/** RFC 8445 section 5.3 wants 24 and 128 bits; werift's own password has 88. */
const randomToken = (bytes: number): string =>
  randomBytes(bytes).toString('base64').replace(/=/g, '');

export class IceAttempt implements TransportOwner {
  readonly datapath: Datapath;
  readonly router: DatagramRouter;
  readonly ufrag = randomToken(6);
  readonly password = randomToken(24);
  readonly #deps: IceDeps;
  readonly #options: IceOptions;
  readonly #connection: Connection;
  readonly #life = new AbortController();
  readonly #transports: OwnTransport[] = [];
  readonly #gatherer: Gatherer;
  readonly #local: string[] = [];
  readonly #peer: PeerCandidates;
  readonly #relays: Relays;
  readonly #findings = new Findings();
  readonly #seenAs = new Map<string, string>();
  #early: Array<{ readonly from: Endpoint; readonly bytes: Uint8Array }> = [];
  #complete = false;
  #begun = false;
  #started = false;
  #relaysAllowed = false;
  #selected: CandidatePair | null = null;

  constructor(deps: IceDeps, options: IceOptions) {
    this.#deps = deps;
    this.#options = options;
    this.datapath = deps.datapath;
    this.router = deps.router;
    this.#relays = new Relays(deps, this.#life.signal, (from, bytes) =>
      this.#received(from, bytes),
    );
    this.#connection = createConnection({
      controlling: options.controlling,
      owner: this,
      clock: deps.clock,
      mayPair: (pair) => this.#mayPair(pair),
    });
    const policy = { loopback: options.loopback, overlays: overlaySubnets() };
    this.#peer = new PeerCandidates(this.#connection, policy, options.directOnly);
    this.#gatherer = new Gatherer({
      connection: this.#connection,
      owner: this,
      clock: deps.clock,
      log: deps.log,
      signal: this.#life.signal,
      options,
      findings: this.#findings,
      relays: this.#relays,
      transports: this.#transports,
      onReflexive: (candidate) => {
        this.#local.push(candidate);
        this.#tellCandidates();
      },
      onRelay: (candidate) => this.#found(candidate),
      onRelayLost: (protocol) => {
        if (this.#selected?.protocol === protocol) this.#fail('the relay ended the connection');
      },
    });
    this.#connection.onIceCandidate.subscribe((candidate) => this.#found(candidate));
    this.#connection.stateChanged.subscribe((state) => {
      if (state === 'failed') this.#fail('consent to send expired');
    });
  }

  /**
   * Starts gathering as soon as this host has an address: at boot, or with a cable that was just
   * plugged, there is none for a moment, and werift gathers once.
   */
  start(): void {
    const { clock } = this.#deps;
    const addresses = hostAddresses(this.#options.ignoredInterfaces, this.#options.loopback);
    if (addresses.length === 0) {
      clock.after(noAddressMs, this.#life.signal, () => this.start());
      return;
    }
    // No interface of werift's choosing: it skips veth*, tun*, tap* and takes our own.
    this.#connection.options.additionalHostAddresses = [...addresses];
    this.#gather();
    this.#started = true;
    this.#connect();
  }

  #gather(): void {
    const { signal } = this.#life;
    const gathering = this.#connection.gatherCandidates();
    const others = [this.#gatherer.reflexive(), this.#gatherer.relay()];
    const done = withDeadline(Promise.all([gathering, ...others]), gatherMs, 'gathering');
    done
      .catch((error: unknown) => {
        this.#deps.log.debug('gathering was cut short', { error: messageOf(error) });
      })
      .finally(() => {
        this.#complete = true;
        this.#tellCandidates();
      });
    // A TURN client that finishes after close() is not closed by it (werift forgets those).
    gathering
      .catch(() => {})
      .finally(() => {
        if (signal.aborted) this.#connection.close().catch(() => {});
      });
    every(this.#deps.clock, 60_000, signal, () => forgetTransactions(this.#connection));
  }

  /** The peer's credentials and first candidates; once. Checks begin. */
  pair(ufrag: string, password: string, candidates: readonly string[]): void {
    if (this.#begun || this.#life.signal.aborted) return;
    this.#begun = true;
    this.#connection.setRemoteParams({ iceLite: false, usernameFragment: ufrag, password });
    this.addCandidates(candidates);
    this.#connect();
  }

  /** Checks begin when both sides' candidates can be paired. */
  #connect(): void {
    if (!this.#begun || !this.#started || this.#life.signal.aborted) return;
    this.#connection.connect().then(
      () => this.#connected(),
      (error: unknown) => this.#fail(messageOf(error)),
    );
    const { clock } = this.#deps;
    clock.after(relayDelayMs, this.#life.signal, () => {
      this.#relaysAllowed = true;
      this.#pairAgain();
    });
    every(clock, retryPairsMs, this.#life.signal, () => {
      if (this.#selected === null) this.#pairAgain();
    });
  }

  /** More candidates of the peer; known ones are skipped, bad ones refused. */
  addCandidates(candidates: readonly string[]): void {
    if (!this.#begun) return;
    this.#peer.add(candidates, this.#selected === null);
  }

  /** Candidates of ours so far. */
  get candidates(): readonly string[] {
    return this.#local;
  }
  get complete(): boolean {
    return this.#complete;
  }

  /** Sockets on which the peer's records may arrive. */
  get sockets(): readonly SocketNumber[] {
    const own = this.#transports.filter((t) => !t.closed).map((t) => t.socket);
    return [...own, ...this.#relays.sockets];
  }

  /** Sends a DTLS datagram over the selected pair; before there is one, nothing. */
  send(bytes: Uint8Array): void {
    const pair = this.#selected;
    if (pair === null || this.#life.signal.aborted) return;
    const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    // A datagram that cannot be sent is lost, and DTLS repeats it.
    pair.protocol.sendData(data, pair.remoteAddr).catch(() => {});
  }

  async close(): Promise<void> {
    if (this.#life.signal.aborted) return;
    this.#life.abort();
    await this.#relays.giveBack();
    // Ends werift's scheduling loop even if a late gathering overwrites the state `closed`.
    await this.#connection.addRemoteCandidate(undefined);
    await this.#connection.close();
    this.#relays.close();
    for (const transport of this.#transports) await transport.close();
    this.#early = [];
  }

  opened(transport: OwnTransport): void {
    this.#transports.push(transport);
    if (this.#life.signal.aborted) transport.close().catch(() => {});
  }

  answered(transport: OwnTransport, from: Endpoint, bytes: Buffer): void {
    if (this.#gatherer.answered(transport, from, bytes)) return;
    const key = `${from.address} ${from.port}`;
    if (this.#peer.find(from) === null) return;
    const mapped: unknown = parseMessage(bytes)?.getAttributeValue('XOR-MAPPED-ADDRESS');
    if (!Array.isArray(mapped)) return;
    const [address, port]: unknown[] = mapped;
    this.#seenAs.set(key, String(address));
    this.#findings.seenAs(transport, { address: String(address), port: Number(port) });
  }

  /** What has been found out about the ways to the peer. */
  get diagnosis(): Diagnosis {
    const seen = this.#connection.remoteCandidates.filter((c) => c.type === 'prflx');
    return this.#findings.diagnosis(
      this.#options.servers,
      this.#peer.parsed,
      seen.map(({ host, port }) => ({ address: host, port })),
    );
  }

  record(_transport: OwnTransport, from: Endpoint, bytes: Uint8Array): void {
    this.#received(from, bytes);
  }

  #found(candidate: Candidate): void {
    this.#local.push(candidate.toSdp());
    // A relay is not paired with candidates that came before it (pitfall 4).
    if (candidate.type === 'relay') this.#pairAgain();
    this.#tellCandidates();
  }

  #tellCandidates(): void {
    if (this.#life.signal.aborted) return;
    this.#options.events.onCandidates(this.#local.slice(0, maxTold), this.#complete);
  }

  #pairAgain(measuring = false): void {
    if (!this.#begun || this.#life.signal.aborted) return;
    if (this.#selected !== null && !measuring) return;
    this.#peer.pairAgain(measuring);
  }

  #mayPair(pair: CandidatePair): boolean {
    if (pair.protocol instanceof StunOverTurnProtocol) this.#relays.watch(pair.protocol);
    const relayed = pair.localCandidate.type === 'relay' || pair.remoteCandidate.type === 'relay';
    if (relayed && !this.#relaysAllowed) return false;
    return !this.#connection.candidatePairs.some(
      (p) =>
        p.protocol === pair.protocol &&
        p.remoteCandidate.host === pair.remoteCandidate.host &&
        p.remoteCandidate.port === pair.remoteCandidate.port &&
        p.state !== CandidatePairState.FAILED,
    );
  }

  #received(from: Endpoint, bytes: Uint8Array): void {
    if (this.#life.signal.aborted) return;
    if (this.#isValidated(from)) this.#options.events.onRecord(bytes);
    else if (this.#early.length < maxEarly) this.#early.push({ from, bytes });
  }

  #isValidated(from: Endpoint): boolean {
    return this.#connection.candidatePairs.some(
      ({ state, remoteCandidate: { host, port } }) =>
        state === CandidatePairState.SUCCEEDED && host === from.address && port === from.port,
    );
  }

  async #connected(): Promise<void> {
    const pair = this.#connection.nominated;
    if (pair === undefined || this.#life.signal.aborted) return;
    try {
      const selected = await withDeadline(this.#describe(pair), 5_000, 'channel of the relay');
      if (this.#life.signal.aborted) return;
      this.#selected = pair;
      this.#options.events.onSelected(selected);
      // What the other pairs meet tells either side what its NAT, or the peer's, does.
      if (pair.protocol instanceof StunOverTurnProtocol || selected.facts.remote === 'relay') {
        this.#deps.clock.after(measureNatMs, this.#life.signal, () => this.#pairAgain(true));
      }
      const early = this.#early.filter(({ from }) => this.#isValidated(from));
      this.#early = [];
      for (const { bytes } of early) this.#options.events.onRecord(bytes);
    } catch (error) {
      this.#fail(messageOf(error));
    }
  }

  #describe(pair: CandidatePair): Promise<SelectedPath> {
    const [address, port] = pair.remoteAddr;
    const known = this.#peer.find({ address, port });
    return describePath(pair, known, this.#seenAs.get(`${address} ${port}`), this.#relays);
  }

  #fail(reason: string): void {
    if (!this.#life.signal.aborted) this.#options.events.onFailed(reason);
  }
}
