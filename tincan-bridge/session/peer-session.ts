/**
 * The shell of one peer session: stores the machine's state, carries its effects out in order, and
 * turns what happens into inputs. Owns the attempts and timers of this peer, and what its parts
 * (`associations.ts`, `message-box.ts`, `path-probe.ts` …) are told; decides nothing.
 */
import { randomBytes } from 'node:crypto';
import { messageOf } from '../../base/errors.ts';
import { type NodeId, SessionNonce } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type { SessionNumber } from '../datapath/datapath.ts';
import type { SessionDescription } from '../protocol/description.ts';
import type { SessionStatus } from '../protocol/schema.ts';
import { Associations, noPath, type PathSummary } from './associations.ts';
import { Attempt } from './attempt.ts';
import { type Control, decodeControl, encodeControl, handshakeId } from './core/control.ts';
import { decodeDescription, encodeDescription } from './core/in-band-description.ts';
import { ethernetHeaderBytes, pathKind } from './core/path.ts';
import { explained, pathNote, ringNote, unreachableNote } from './core/path-note.ts';
import { isOverRing } from './core/ring.ts';
import type { RingSetup } from './core/ring-setup.ts';
import { nextSession } from './core/session.ts';
import {
  type Effect,
  type Input,
  initialSession,
  phaseOf,
  type SessionState,
  type TimerId,
} from './core/session-state.ts';
import { drainMs, earlyMs } from './core/timers.ts';
import { KeyExchange } from './key-exchange.ts';
import { MessageBox } from './message-box.ts';
import { OverlayPings, type Pinged } from './overlay-ping.ts';
import { PathProbe } from './path-probe.ts';
import { RingSeeker } from './ring-seeker.ts';
import type { SessionDeps, SessionEvents } from './session-contract.ts';
import { TimerSet } from './timer-set.ts';
import { Traffic } from './traffic.ts';

/** First description waits this long for all host candidates, later ones for more to come. */
const firstWordMs = 2;
const moreWordsMs = 30;
const historyLength = 64;
/** Pings whose answer may still come. */
const maxPings = 8;

/** Copies of a bye. */
const byeCopies = 3;

export class PeerSession {
  readonly peer: NodeId;
  readonly #deps: SessionDeps;
  readonly #events: SessionEvents;
  readonly #log: Logger;
  readonly #life = new AbortController();
  readonly #attempts = new Map<SessionNonce, Attempt>();
  readonly #associations: Associations;
  readonly #closing = new Set<Promise<void>>();
  readonly #timers: TimerSet<TimerId>;
  readonly #history: Array<{ readonly atMs: number; readonly what: string }> = [];
  readonly #pings = new Map<bigint, number>();
  readonly #traffic = new Traffic();
  readonly #probe: PathProbe;
  readonly #messages: MessageBox;
  readonly #overlayPings: OverlayPings;
  readonly #keys: KeyExchange;
  readonly #seeker: RingSeeker;
  readonly #queue: Input[] = [];
  #running = false;
  #path: PathSummary = noPath;
  #cipher: string | null = null;
  #linked = false;
  #drain = new AbortController();
  #releasing = false;
  /** A description that came in-band before the link was wanted here. */
  #early: { readonly description: SessionDescription; readonly atMs: number } | null = null;
  #payload: { readonly bytes: number; readonly atMs: number };
  #rekeys = 0;
  /** Why the last attempt that failed found no path. */
  #cause: string | null = null;
  #state: SessionState;

  /** `wanted`: a link; else the ring is enough. */
  constructor(peer: NodeId, wanted: boolean, deps: SessionDeps, events: SessionEvents) {
    this.peer = peer;
    this.#deps = deps;
    this.#events = events;
    this.#log = deps.log.child('session', { peer });
    this.#keys = new KeyExchange({
      ...deps,
      log: this.#log,
      peer,
      input: (input) => this.#input(input),
      sendControl: (number, payload) => this.#sendControl(number, payload),
      fits: () => this.#probe.fits,
    });
    const rules = { ...deps.rekey, begins: !this.#keys.isServer };
    this.#state = initialSession(peer, deps.clock.now(), rules, wanted);
    this.#payload = { bytes: 0, atMs: deps.clock.now() };
    this.#timers = new TimerSet(deps.clock, (id) => this.#elapsed(id));
    this.#associations = new Associations(peer, deps.datapath, deps.ring);
    const send = (payload: Uint8Array): boolean =>
      this.#sendControl(this.#currentNumber(), payload);
    const { clock } = deps;
    const { signal } = this.#life;
    this.#messages = new MessageBox({
      clock,
      signal,
      need: () => this.need(),
      send,
      onMessage: events.onMessage,
    });
    this.#overlayPings = new OverlayPings({
      clock,
      signal,
      peer,
      path: () => this.path,
      ask: (nonce, traced) => {
        const sent = this.#sendPing(this.#currentNumber(), nonce);
        if (sent && traced) deps.ring.trace(peer, nonce);
        return sent;
      },
    });
    this.#seeker = new RingSeeker({ clock, signal, peer, ring: deps.ring });
    this.#probe = new PathProbe({
      clock,
      send,
      onFits: (bytes, settled) => this.#fits(bytes, settled),
    });
  }

  /** A link is wanted. */
  connect(): void {
    this.#drain.abort();
    this.#releasing = false;
    this.#input({ kind: 'wanted' });
    const early = this.#early;
    this.#early = null;
    if (early !== null && this.#deps.clock.now() - early.atMs < earlyMs) {
      this.describe(early.description);
    }
  }

  /** A link is not wanted any more. `keep`: the session goes on over the ring if it can. */
  release(reason: string, keep: boolean): void {
    const wasOnRing = this.path.kind === 'ring';
    this.#input({ kind: 'released', keep });
    if (wasOnRing) this.#events.onPathChanged(this.#path); // the answer: it goes on as it did
    this.#drain.abort();
    this.#drain = new AbortController();
    if (!this.isUp) {
      this.#events.onUnused(reason);
      return;
    }
    this.#releasing = true;
    this.#deps.clock.after(drainMs, this.#drain.signal, () => {
      this.#releasing = false;
      const number = this.#currentNumber();
      if (number !== null && this.#associations.isOnRing(number)) this.#shed(number);
      else this.#events.onUnused(reason);
    });
  }

  /** Something waits for the session. */
  need(): void {
    if (this.isUp) return;
    this.#deps.ring.seek(this.peer);
    this.#input({ kind: 'needed' });
  }

  /** The ring's ways have changed. */
  waysChanged(): void {
    const number = this.#currentNumber();
    if (this.#associations.follow(number)) this.#followed(number);
    // Nobody in sight leads there any more: only a search finds a way around.
    else if (number !== null && this.#associations.isOnRing(number)) {
      this.#deps.ring.seek(this.peer);
    }
    const { link, ring, wanted } = this.#state;
    const settled =
      link.kind === 'up'
        ? link.path === 'ring' || (link.suspectSinceMs === null && wanted)
        : ring.neededUntilMs <= this.#deps.clock.now();
    if (!settled) this.#input({ kind: 'ways-changed' });
  }

  /** A datagram of a handshake came in an envelope that names the peer as its source. */
  ringDatagram({ id, datagram }: RingSetup): void {
    const counters = this.#associations.counters(this.#currentNumber());
    this.#input({ kind: 'ring-heard', id, heardAgoMs: counters?.receivedAgoMs ?? -1 });
    this.#seeker.heard();
    this.#keys.feed(id, datagram);
  }

  /** Hands a message to the peer's controller; false when it has not said in time that it has it. */
  sendMessage(body: string): Promise<boolean> {
    return this.#messages.send(body);
  }

  ping(timeoutMs: number): Promise<Pinged> {
    this.need();
    return this.#overlayPings.ping(timeoutMs);
  }

  get isWanted(): boolean {
    return this.#state.wanted;
  }
  /** A released link drains: its end is on its way. */
  get isReleasing(): boolean {
    return this.#releasing;
  }
  get isUp(): boolean {
    return this.#state.link.kind === 'up';
  }
  get path(): PathSummary {
    return this.isUp ? this.#path : noPath;
  }
  /** A handshake over the ring is under way. */
  get isSettingUpOverRing(): boolean {
    return isOverRing(this.#state);
  }
  /** Nothing is up, nothing is under way. */
  get isIdle(): boolean {
    const { link, rekey, standby, setup } = this.#state;
    const resting = setup.kind === 'none' && rekey.kind === 'none' && standby === null;
    return resting && link.kind === 'down' && this.#messages.waiting === 0;
  }
  /** Messages that wait for the peer's answer. */
  get waitingMessages(): number {
    return this.#messages.waiting;
  }
  get refusedMessages(): number {
    return this.#messages.refused;
  }
  get payloadBytes(): number {
    return this.#associations.payloadBytes();
  }
  /** Since a frame has crossed, both ways, or since the session was made. */
  payloadAgoMs(): number {
    const nowMs = this.#deps.clock.now();
    const bytes = this.payloadBytes;
    if (bytes !== this.#payload.bytes) this.#payload = { bytes, atMs: nowMs };
    return nowMs - this.#payload.atMs;
  }

  /** A verified description of the peer. */
  describe(description: SessionDescription): void {
    const { nonce, peerNonce, ufrag, password, candidates, directOnly = false } = description;
    const remote = { ufrag, password, candidates, directOnly };
    this.#input({ kind: 'description', heard: { nonce, peerNonce }, remote });
  }

  /** Addresses or default routes of this host changed. */
  networkChanged(): void {
    this.#input({ kind: 'network-changed' });
  }

  ended(reason: string): void {
    this.#input({ kind: 'ended', reason });
  }

  /** Other certificates are trusted from now on: the peer's may not be among them any more. */
  trustChanged(): void {
    // Keys that are being replaced say nothing: the peer may have a new certificate since.
    for (const number of [this.#currentNumber(), this.#state.standby?.number ?? null]) {
      const shown = number === null ? null : this.#associations.certificateOf(number);
      if (shown === null) continue;
      const problem = this.#keys.problemWith(shown);
      if (problem === null) continue;
      this.#log.warn('peer is trusted no more', { reason: problem });
      this.#sayBye();
      this.#input({ kind: 'distrusted', reason: problem });
      return;
    }
  }

  /** How often keys were replaced inside the link. */
  get rekeys(): number {
    return this.#rekeys;
  }

  /** Ends everything of this peer. Idempotent. */
  async close(reason: string): Promise<void> {
    if (this.#life.signal.aborted) return;
    this.#sayBye();
    this.#input({ kind: 'unwanted', reason });
    this.#life.abort();
    this.#drain.abort();
    this.#probe.end();
    this.#keys.end();
    this.#tellLink();
    this.#timers.end();
    for (const number of this.#associations.numbers) this.#remove(number);
    for (const own of [...this.#attempts.keys()]) this.#drop(own);
    await Promise.all(this.#closing);
  }

  /** Something was opened with an association of this peer. */
  heard(number: SessionNumber): void {
    if (number !== this.#currentNumber()) this.#input({ kind: 'heard', number });
  }

  /** A control payload that was opened with an association of this peer. */
  control(number: SessionNumber, bytes: Uint8Array): void {
    this.heard(number);
    const control = decodeControl(bytes);
    if (control !== null) this.#heard(number, control);
  }

  #heard(number: SessionNumber, control: Control): void {
    switch (control.kind) {
      case 'ping':
        this.#sendControl(number, encodeControl({ kind: 'pong', nonce: control.nonce }));
        return;
      case 'deaf-ping':
        if (this.#associations.isOnRing(number)) this.#seeker.unheard();
        this.#input({ kind: 'peer-on-ring', number });
        this.#sendControl(number, encodeControl({ kind: 'pong', nonce: control.nonce }));
        return;
      case 'ring-ping':
        // First: the answer shall go the way that the peer has taken.
        this.#input({ kind: 'peer-on-ring', number });
        this.#sendControl(number, encodeControl({ kind: 'pong', nonce: control.nonce }));
        return;
      case 'message':
      case 'received':
        this.#messages.heard(control);
        return;
      case 'traced':
        this.#overlayPings.traced(control.nonce, control.hops);
        return;
      case 'bye':
        // On an association that was replaced it says nothing about the session.
        if (number === this.#currentNumber()) this.ended('it was closed on the far side');
        return;
      case 'rekey': {
        const id = handshakeId(control.nonce);
        this.#input({ kind: 'rekey-heard', number, id });
        this.#keys.feed(id, control.datagram);
        return;
      }
      case 'description': {
        const heard = decodeDescription(control.json);
        if (heard === null) return;
        if (this.isWanted) this.describe(heard);
        else this.#early = { description: heard, atMs: this.#deps.clock.now() };
        return;
      }
      case 'pong':
        this.#answered(control.nonce);
    }
  }

  #answered(nonce: bigint): void {
    if (this.#probe.answered(nonce) || this.#overlayPings.answered(nonce)) return;
    const sentMs = this.#pings.get(nonce);
    if (sentMs === undefined) return;
    this.#pings.delete(nonce);
    this.#traffic.measured(this.#deps.clock.now() - sentMs);
  }

  #currentNumber(): SessionNumber | null {
    const { link } = this.#state;
    return link.kind === 'up' ? link.number : null;
  }

  /** Spares the peer the wait for its liveness checks; some copies, since datagrams get lost. */
  #sayBye(): void {
    const bye = encodeControl({ kind: 'bye', nonce: 0n });
    // Under all keys: the peer heeds those that it uses, which may not be ours yet.
    for (let copy = 0; copy < byeCopies; copy += 1) {
      for (const number of this.#associations.numbers) this.#sendControl(number, bye);
    }
  }

  /** `historyLimit`: newest transitions that are told. */
  status(historyLimit: number): SessionStatus {
    const { link, lastError } = this.#state;
    const nowMs = this.#deps.clock.now();
    const up = link.kind === 'up' ? link : null;
    const counters = this.#associations.counters(up?.number ?? null);
    const history = this.#history.slice(-historyLimit);
    return {
      peer: this.peer,
      state: phaseOf(this.#state),
      path: this.path,
      rttMs: this.#traffic.rttMs,
      sentBytes: counters?.sentBytes ?? 0,
      receivedBytes: counters?.receivedBytes ?? 0,
      sentFrames: counters?.sentFrames ?? 0,
      receivedFrames: counters?.receivedFrames ?? 0,
      sentBitsPerSecond: this.#traffic.sentBitsPerSecond,
      receivedBitsPerSecond: this.#traffic.receivedBitsPerSecond,
      upSinceMs: up === null ? null : this.#deps.clock.wallNow() - (nowMs - up.sinceMs),
      lastError: explained(lastError, up === null ? this.#cause : null)?.slice(0, 300) ?? null,
      cipher: this.#cipher,
      pathNote: this.#pathNote()?.slice(0, 300) ?? null,
      mtu: up === null ? null : this.#probe.fits - ethernetHeaderBytes,
      history: history.map(({ atMs, what }) => ({ agoMs: Math.round(nowMs - atMs), what })),
    };
  }

  #pathNote(): string | null {
    const number = this.#currentNumber();
    if (number === null) return this.#cause;
    if (this.#associations.isOnRing(number)) return ringNote(this.isWanted, this.#cause);
    const attempt = this.#associations.attemptOf(number);
    if (attempt?.selected == null) return null;
    return pathNote(pathKind(attempt.selected.facts), attempt.ice.diagnosis);
  }

  #input(input: Input): void {
    if (this.#life.signal.aborted) return;
    this.#queue.push(input);
    if (this.#running) return; // an effect caused it: after the other effects
    this.#running = true;
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      const { state, effects } = nextSession(this.#state, next, {
        nowMs: this.#deps.clock.now(),
        nonce: SessionNonce.parse(randomBytes(8).toString('hex')),
        random: Math.random(),
        number: this.#deps.nextNumber(),
        way: this.#deps.ring.way(this.peer) !== null,
      });
      this.#state = state;
      for (const effect of effects) this.#guarded(effect);
      this.#tellLink();
      this.#seeker.isSettingUp(isOverRing(state) && state.link.kind === 'down');
    }
    this.#running = false;
  }

  /** Whether the fabric may count on it: told at once, so that a way around is found. */
  #tellLink(): void {
    const { link, wanted } = this.#state;
    const good = link.kind === 'up' && link.path !== 'ring' && link.suspectSinceMs === null;
    const linked = good && wanted && !this.#life.signal.aborted;
    if (linked === this.#linked) return;
    this.#linked = linked;
    this.#events.onLink(linked);
  }

  /** A defect in one effect ends the session, which is then tried anew; never the process. */
  #guarded(effect: Effect): void {
    try {
      this.#run(effect);
    } catch (error) {
      this.#log.error('session effect failed', { event: effect.kind, error: messageOf(error) });
      this.#queue.push({ kind: 'ended', reason: messageOf(error) });
    }
  }

  #run(effect: Effect): void {
    switch (effect.kind) {
      case 'start-ice':
        this.#startIce(effect.own, effect.direct);
        return;
      case 'pair-ice': {
        const { ufrag, password, candidates } = effect.remote;
        this.#attempts.get(effect.own)?.ice.pair(ufrag, password, candidates);
        return;
      }
      case 'add-candidates':
        this.#attempts.get(effect.own)?.ice.addCandidates(effect.candidates);
        return;
      case 'stop-ice':
        this.#drop(effect.own);
        return;
      case 'describe':
        this.#describe(effect.own, effect.peerNonce);
        return;
      case 'start-handshake':
        this.#attempts
          .get(effect.own)
          ?.startHandshake(this.#deps.createHandshake, this.#keys.options());
        return;
      case 'install':
        this.#install(effect.own, effect.number, effect.rekey, effect.ring);
        return;
      case 'use-ring':
        this.#useRing(effect.number);
        return;
      case 'shed':
        this.#shed(effect.number);
        return;
      case 'use':
        this.#use(effect.number, effect.from);
        return;
      case 'start-rekey':
        this.#keys.start(effect.id, effect.base);
        return;
      case 'stop-rekey':
        this.#keys.stop(effect.id);
        return;
      case 'ask-rekey':
        this.#keys.ask(effect.number);
        return;
      case 'remove':
        this.#remove(effect.number);
        return;
      case 'up':
        if (this.#path.kind !== 'ring') this.#cause = null;
        this.#events.onUp(this.#path, Math.round(effect.setUpMs));
        this.#messages.flush();
        this.#overlayPings.flush();
        return;
      case 'path-changed':
        this.#events.onPathChanged(this.#path);
        return;
      case 'down':
        this.#probe.end();
        this.#keys.end();
        this.#events.onDown(effect.reason);
        return;
      case 'ask':
        this.#ask(effect.number);
        return;
      case 'timer':
        this.#timers.set(effect.id, effect.atMs);
        return;
      case 'note':
        this.#note(effect.what);
        return;
    }
  }

  #startIce(own: SessionNonce, direct: boolean): void {
    const { servers, ignoredInterfaces } = this.#deps.settings();
    const options = {
      controlling: this.#keys.isServer,
      servers,
      directOnly: direct,
      ignoredInterfaces,
      loopback: this.#deps.loopback,
    };
    const attempt: Attempt = new Attempt(own, { ...this.#deps, log: this.#log }, options, {
      onCandidates: () => {
        const waitMs = attempt.described < 0 ? firstWordMs : moreWordsMs;
        if (attempt.ice.candidates.length <= attempt.described || attempt.telling) return;
        attempt.telling = true;
        this.#deps.clock.after(waitMs, this.#life.signal, () => {
          attempt.telling = false;
          if (!attempt.closed) this.#input({ kind: 'candidates', own });
        });
      },
      onSelected: () => this.#input({ kind: 'validated', own }),
      onIceFailed: (reason) => this.#input({ kind: 'ice-failed', own, reason }),
      onSecured: (secured) => {
        const problem = this.#keys.problemOf(secured);
        if (problem === null) this.#input({ kind: 'secured', own, relayed: isRelayed(attempt) });
        else this.#input({ kind: 'insecure', own, reason: problem, refused: true });
      },
      onInsecure: (reason) => this.#input({ kind: 'insecure', own, reason, refused: false }),
    });
    this.#attempts.set(own, attempt);
    attempt.start();
  }

  #drop(own: SessionNonce): void {
    const attempt = this.#attempts.get(own);
    this.#attempts.delete(own);
    if (attempt === undefined) return;
    if (attempt.selected === null) this.#cause = unreachableNote(attempt.ice.diagnosis);
    const closing = attempt
      .close()
      .catch((error: unknown) => {
        this.#log.warn('attempt did not close cleanly', { error: messageOf(error) });
      })
      .finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }

  #describe(own: SessionNonce, peerNonce: SessionNonce | null): void {
    const attempt = this.#attempts.get(own);
    if (attempt === undefined) return;
    const { ufrag, password, candidates, complete } = attempt.ice;
    if (candidates.length === 0 && !complete) return; // said as soon as there is one
    attempt.described = candidates.length;
    const description: SessionDescription = {
      nonce: own,
      peerNonce,
      ufrag,
      password,
      candidates: candidates.slice(0, 32),
      complete,
      ...(attempt.direct ? { directOnly: true } : {}),
    };
    this.#events.onDescription(description);
    this.#describeInBand(description);
  }

  /** Over the session that is up as well: what comes first counts, the other is known by then. */
  #describeInBand(description: SessionDescription): void {
    const payload = encodeDescription(description);
    if (payload !== null) this.#sendControl(this.#currentNumber(), payload);
  }

  #install(
    own: SessionNonce,
    number: SessionNumber,
    rekey: SessionNonce | null,
    ring: boolean,
  ): void {
    // Of a handshake over the ring, whose number the peer may have chosen, there is none.
    const attempt = own === rekey ? null : (this.#attempts.get(own) ?? null);
    const secured = (rekey === null ? attempt?.secured : this.#keys.secured(rekey)) ?? null;
    if (secured === null || (!ring && attempt?.selected == null)) return;
    this.#associations.install(number, attempt, secured, ring);
    this.#events.onInstalled(number);
  }

  /** Frames go over the association; what was found out about its path holds for its new keys. */
  #use(number: SessionNumber, from: SessionNumber | null): void {
    if (!this.#associations.has(number)) return;
    const alike = from !== null && this.#associations.areAlike(from, number);
    const most = this.#associations.most(number);
    this.#path = this.#associations.summary(number);
    this.#cipher = this.#associations.cipherOf(number);
    const { fits, settled } = alike ? this.#probe : { fits: most, settled: true };
    if (alike) {
      this.#rekeys += 1;
      this.#associations.limit(number, fits);
    }
    if (from !== null) this.#deps.datapath.replaceSession(from, number);
    this.#events.onUsed(number, fits, settled);
    if (!alike) this.#probe.begin(most);
  }

  #useRing(number: SessionNumber): void {
    this.#associations.useRing(number);
    this.#measureAnew(number);
  }

  /** The ring leads over another next hop. */
  #followed(number: SessionNumber | null): void {
    if (number === null) return;
    this.#measureAnew(number);
    this.#events.onPathChanged(this.#path);
  }

  /** The same keys on another path: how much it carries is found out from the start. */
  #measureAnew(number: SessionNumber): void {
    const most = this.#associations.most(number);
    this.#path = this.#associations.summary(number);
    this.#events.onUsed(number, most, true);
    this.#probe.begin(most);
  }

  #shed(number: SessionNumber): void {
    const attempt = this.#associations.shed(number);
    if (attempt !== null) this.#drop(attempt.own);
  }

  #fits(bytes: number, settled: boolean): void {
    const number = this.#currentNumber();
    if (number === null) return;
    this.#associations.limit(number, bytes);
    this.#events.onUsed(number, bytes, settled);
  }

  #remove(number: SessionNumber): void {
    const attempt = this.#associations.remove(number);
    this.#events.onRemoved(number);
    if (attempt !== null) this.#drop(attempt.own);
  }

  #ask(number: SessionNumber): void {
    const nonce = randomBytes(8).readBigUInt64BE();
    const oldest = this.#pings.keys().next();
    if (this.#pings.size >= maxPings && !oldest.done) this.#pings.delete(oldest.value);
    this.#pings.set(nonce, this.#deps.clock.now());
    this.#sendPing(number, nonce);
  }

  /** Over the ring it says so: the peer may not have noticed yet that its own path is dead. */
  #sendPing(number: SessionNumber | null, nonce: bigint): boolean {
    const onRing = number !== null && this.#associations.isOnRing(number);
    const { link } = this.#state;
    const deaf = link.kind === 'up' && link.number === number && link.suspectSinceMs !== null;
    const kind = !onRing ? 'ping' : deaf ? 'deaf-ping' : 'ring-ping';
    return this.#sendControl(number, encodeControl({ kind, nonce }));
  }

  #sendControl(number: SessionNumber | null, bytes: Uint8Array): boolean {
    return this.#associations.send(number, 'control', bytes);
  }

  /** The far end of a trace: it is answered in the session, so that nobody between can. */
  answerTrace(nonce: bigint, hops: readonly NodeId[]): void {
    this.#sendControl(this.#currentNumber(), encodeControl({ kind: 'traced', nonce, hops }));
  }

  #elapsed(id: TimerId): void {
    const { clock } = this.#deps;
    const number = this.#subjectOf(id);
    const counters = this.#associations.counters(number);
    if (id === 'tick' && counters !== null) {
      this.payloadAgoMs(); // looks whether some has crossed
      this.#traffic.sample(counters, clock.now());
      this.#probe.tick(counters.sentBytes, counters.sendErrors);
    }
    const { link } = this.#state;
    if (id === 'tick' && link.kind === 'up') {
      this.#seeker.look(link.path === 'ring', link.suspectSinceMs !== null);
    }
    // Beside an attempt that takes long the ring is tried: a way may have to be searched for.
    if ((id === 'repeat' || id === 'pause') && !this.isUp) this.#deps.ring.seek(this.peer);
    const usedBytes = Math.max(counters?.sentBytes ?? 0, counters?.receivedBytes ?? 0);
    this.#input({ kind: 'timer', id, heardAgoMs: counters?.receivedAgoMs ?? -1, usedBytes });
  }

  /** The association that a timer is about. */
  #subjectOf(id: TimerId): SessionNumber | null {
    if (id.startsWith('retire-')) return Number(id.slice('retire-'.length));
    return id === 'confirm' ? (this.#state.standby?.number ?? null) : this.#currentNumber();
  }

  #note(what: string): void {
    this.#log.info('session', { event: what });
    this.#history.push({ atMs: this.#deps.clock.now(), what: what.slice(0, 200) });
    if (this.#history.length > historyLength) this.#history.shift();
  }
}

const isRelayed = ({ selected }: Attempt): boolean =>
  selected !== null && pathKind(selected.facts) === 'turn';
