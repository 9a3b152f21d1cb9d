/**
 * One attempt to reach a peer by ICE, with its own sockets and credentials: an adapter to one werift
 * `Connection`, never restarted. Owns everything it opens; `close` leaves no socket and no timer.
 * Never decides about sessions, never touches DTLS bytes.
 */
import { randomBytes } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import {
  Candidate,
  type CandidatePair,
  CandidatePairState,
  Connection,
  parseMessage,
  StunOverTurnProtocol,
  StunProtocol,
  type IceOptions as WeriftOptions,
} from 'werift';
import { every } from '../../base/clock.ts';
import { EvioError, messageOf } from '../../base/errors.ts';
import { withDeadline } from '../../base/lifecycle.ts';
import type { Datapath, Endpoint, Path, SocketNumber } from '../datapath/datapath.ts';
import type { PathFacts } from '../session/core/path.ts';
import type { Diagnosis } from '../session/core/path-note.ts';
import { addressKind, hostAddresses, overlaySubnets } from './addresses.ts';
import type { IceDeps, IceOptions, SelectedPath } from './agent.ts';
import { allocateRelay } from './allocate.ts';
import {
  type CandidatePolicy,
  formatReflexive,
  type ParsedCandidate,
  parseCandidate,
} from './candidates.ts';
import { CheckGate } from './check-gate.ts';
import { Findings } from './findings.ts';
import { OwnTransport, type TransportOwner, transportKey } from './own-transport.ts';
import { ReflexiveQuery, resolveStun } from './reflexive.ts';
import { adoptRelay, Relays } from './relays.ts';
import type { DatagramRouter } from './router.ts';
import { StreamTransport } from './stream-transport.ts';

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
/** DTLS datagrams that may wait until their sender's address is validated. */
const maxEarly = 4;
/** Remote candidates that are kept. */
const maxRemote = 32;

interface Remote {
  readonly parsed: ParsedCandidate;
  readonly candidate: Candidate;
}

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
  readonly #policy: CandidatePolicy;
  readonly #transports: OwnTransport[] = [];
  readonly #queries = new Map<OwnTransport, ReflexiveQuery>();
  readonly #local: string[] = [];
  readonly #remote = new Map<string, Remote>();
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
    this.#policy = { loopback: options.loopback, overlays: overlaySubnets() };
    this.#connection = new Connection(options.controlling, this.#weriftOptions());
    // Without this it asks a public server (pitfall 3); ours are asked by ReflexiveQuery.
    delete this.#connection.stunServer;
    this.#guardRequests();
    this.#connection.localUsername = this.ufrag;
    this.#connection.localPassword = this.password;
    this.#connection.onIceCandidate.subscribe((candidate) => this.#found(candidate));
    this.#connection.stateChanged.subscribe((state) => {
      if (state === 'failed') this.#fail('consent to send expired');
    });
  }

  /** Every protocol, of sockets and relays, gets its requests through one gate. */
  #guardRequests(): void {
    const connection = this.#connection;
    const gate = new CheckGate({
      ufrag: this.ufrag,
      password: this.password,
      clock: this.#deps.clock,
      remotes: () => connection.remoteCandidates,
      refused: () => this.#deps.router.refuseCheck(),
    });
    const ensure: unknown = Reflect.get(connection, 'ensureProtocol');
    if (typeof ensure !== 'function') throw new EvioError('internal', 'werift has no protocols');
    Reflect.set(connection, 'ensureProtocol', (protocol: StunProtocol) => {
      Reflect.apply(ensure, connection, [protocol]);
      gate.guard(protocol.onRequestReceived);
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
    const others = [this.#gatherReflexive(), this.#gatherRelay()];
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
    every(this.#deps.clock, 60_000, signal, () => this.#forgetTransactions());
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
    for (const text of candidates) {
      const parsed = parseCandidate(text, this.#policy);
      if (parsed === null || this.#remote.size >= maxRemote) continue;
      if (this.#options.directOnly && parsed.type === 'relay') continue;
      const key = `${parsed.address} ${parsed.port}`;
      if (this.#remote.has(key)) continue;
      const { foundation, priority, address, port, type } = parsed;
      const candidate = new Candidate(foundation, 1, 'udp', priority, address, port, type);
      this.#remote.set(key, { parsed, candidate });
      if (this.#selected === null) this.#connection.addRemoteCandidate(candidate).catch(() => {});
    }
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
    if (this.#queries.get(transport)?.answer(from, bytes) === true) return;
    const key = `${from.address} ${from.port}`;
    if (!this.#remote.has(key)) return;
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
      [...this.#remote.values()].map(({ parsed }) => parsed),
      seen.map(({ host, port }) => ({ address: host, port })),
    );
  }

  record(_transport: OwnTransport, from: Endpoint, bytes: Uint8Array): void {
    this.#received(from, bytes);
  }

  #weriftOptions(): Partial<WeriftOptions> {
    return {
      useIpv4: false,
      useIpv6: false,
      interfaceAddresses: transportKey(this),
      filterCandidatePair: (pair) => this.#mayPair(pair),
    };
  }

  async #gatherReflexive(): Promise<void> {
    const { signal } = this.#life;
    const targets = await resolveStun(this.#options.servers.stun);
    await setImmediate(); // host candidates are there after one turn
    if (targets.length === 0 || signal.aborted) return;
    const bases = this.#connection.localCandidates.filter((c) => c.type === 'host');
    await Promise.all(
      bases.map((base) => {
        const transport = this.#transports.find(
          (t) => t.port === base.port && (t.addressFamily === 6) === base.host.includes(':'),
        );
        if (transport === undefined) return Promise.resolve();
        const own = { address: base.host, port: base.port };
        const query = new ReflexiveQuery(transport, targets, (mapped, server) => {
          this.#findings.answered(transport, mapped);
          if (mapped.address === own.address && mapped.port === own.port) return;
          this.#local.push(formatReflexive(mapped, own, server.address));
          this.#tellCandidates();
        });
        this.#queries.set(transport, query);
        return query.run(this.#deps.clock, signal);
      }),
    );
  }

  /** One relay, if there is none already: werift's own asking knows one server and no CA. */
  async #gatherRelay(): Promise<void> {
    const { directOnly, servers } = this.#options;
    const { signal } = this.#life;
    if (directOnly || servers.turn.length === 0) return;
    const hosts = hostAddresses(this.#options.ignoredInterfaces, this.#options.loopback);
    const protocol = await allocateRelay({
      owner: this,
      clock: this.#deps.clock,
      servers: servers.turn,
      families: new Set(hosts.map((host) => (host.includes(':') ? 6 : 4))),
      signal,
      onProblem: (problem) => {
        this.#deps.log.info('relay cannot be used', { reason: problem });
        this.#findings.relayProblems.push(problem);
      },
    });
    if (protocol === null) return;
    const { turn } = protocol;
    this.#relays.watch(protocol);
    this.#findings.relay = 'udp';
    if (turn.transport instanceof StreamTransport) {
      this.#findings.relay = turn.transport.type;
      turn.transport.onLost = () => {
        if (this.#selected?.protocol === protocol) this.#fail('the relay ended the connection');
      };
    }
    this.#found(adoptRelay(this.#connection, protocol));
  }

  #found(candidate: Candidate): void {
    this.#local.push(candidate.toSdp());
    // A relay is not paired with candidates that came before it (pitfall 4).
    if (candidate.type === 'relay') this.#pairAgain();
    this.#tellCandidates();
  }

  #tellCandidates(): void {
    if (this.#life.signal.aborted) return;
    this.#options.events.onCandidates(this.#local.slice(0, maxRemote), this.#complete);
  }

  /**
   * Pairs all remote candidates with relays that came later, and starts failed checks again. Adding
   * a candidate twice is how werift makes the pairs that are missing; the copy is taken out again.
   */
  #pairAgain(measuring = false): void {
    if (!this.#begun || this.#life.signal.aborted) return;
    if (this.#selected !== null && !measuring) return;
    const { remoteCandidates } = this.#connection;
    for (const { candidate } of this.#remote.values()) {
      this.#connection.addRemoteCandidate(candidate).catch(() => {});
      const copy = remoteCandidates.lastIndexOf(candidate);
      if (copy > remoteCandidates.indexOf(candidate)) remoteCandidates.splice(copy, 1);
    }
    for (const pair of this.#connection.candidatePairs) {
      const { state } = pair;
      const isOver = state === CandidatePairState.FAILED;
      // Once a pair is selected nobody else starts those that are new.
      const isStuck = measuring && state === CandidatePairState.FROZEN;
      if (isOver || isStuck) pair.handle = this.#connection.checkStart(pair);
    }
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

  async #describe(pair: CandidatePair): Promise<SelectedPath> {
    const [address, port] = pair.remoteAddr;
    const known = this.#remote.get(`${address} ${port}`);
    const { protocol } = pair;
    const relay = protocol instanceof StunOverTurnProtocol;
    const own = pair.localCandidate;
    const seenAs = this.#seenAs.get(`${address} ${port}`);
    const facts: PathFacts = {
      local: relay ? 'relay' : 'host',
      remote: known?.parsed.type ?? 'prflx',
      remotePrivate: addressKind(address) !== 'global',
      translated: !relay && seenAs !== undefined && seenAs !== own.host,
      family: address.includes(':') ? 6 : 4,
    };
    const path = relay
      ? await this.#relays.path(protocol, { address, port })
      : this.#directPath(protocol, { address, port });
    const text = (host: string, number: number): string =>
      host.includes(':') ? `[${host}]:${number}` : `${host}:${number}`;
    return { path, facts, local: text(own.host, own.port), remote: text(address, port) };
  }

  #directPath(protocol: CandidatePair['protocol'], to: Endpoint): Path {
    const transport: unknown = protocol instanceof StunProtocol ? protocol.transport : null;
    return transport instanceof OwnTransport
      ? { kind: 'udp', socket: transport.socket, to }
      : { kind: 'none' };
  }

  /** werift keeps the id of every check that ever came in; a session lives for months. */
  #forgetTransactions(): void {
    for (const pair of this.#connection.candidatePairs) {
      const ids: unknown = Reflect.get(pair, 'requestTransactionIds');
      if (ids instanceof Set) ids.clear();
    }
  }

  #fail(reason: string): void {
    if (!this.#life.signal.aborted) this.#options.events.onFailed(reason);
  }
}
