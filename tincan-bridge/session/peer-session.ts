/**
 * One peer session, as the bridge sees it: turns what happens to it into inputs of its machine
 * (`session-machine.ts`), whose effects its parts carry out (`session-effects.ts`, `session-parts.ts`).
 * Owns the life of them all; decides nothing.
 */
import type { NodeId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type { SessionNumber } from '../datapath/datapath.ts';
import type { SessionDescription } from '../protocol/description.ts';
import type { SessionStatus } from '../protocol/schema.ts';
import type { PathSummary } from './associations.ts';
import { receiveControl } from './control-receiver.ts';
import { encodeControl } from './core/control.ts';
import { isOverRing } from './core/ring.ts';
import type { RingSetup } from './core/ring-setup.ts';
import {
  type Effect,
  initialSession,
  type SessionState,
  type TimerId,
} from './core/session-state.ts';
import { drainMs, earlyMs, goneMs, restMs } from './core/timers.ts';
import type { Pinged } from './overlay-ping.ts';
import type { SessionDeps, SessionEvents } from './session-contract.ts';
import { runEffect } from './session-effects.ts';
import { SessionMachine } from './session-machine.ts';
import { createParts, type SessionParts, type SessionPorts } from './session-parts.ts';
import { sessionStatus } from './session-status.ts';

export class PeerSession {
  readonly peer: NodeId;
  readonly #deps: SessionDeps;
  readonly #events: SessionEvents;
  readonly #log: Logger;
  readonly #life = new AbortController();
  readonly #ports: SessionPorts;
  readonly #parts: SessionParts;
  readonly #machine: SessionMachine;
  #drain = new AbortController();
  #releasing = false;
  #away = false;
  /** When the operator or the controller last wanted something of the peer. */
  #askedMs = Number.NEGATIVE_INFINITY;
  /** A description that came in-band before the link was wanted here. */
  #early: { readonly description: SessionDescription; readonly atMs: number } | null = null;

  /** `wanted`: a link; else the ring is enough. */
  constructor(peer: NodeId, wanted: boolean, deps: SessionDeps, events: SessionEvents) {
    this.peer = peer;
    this.#deps = deps;
    this.#events = events;
    this.#log = deps.log.child('session', { peer });
    this.#ports = {
      signal: this.#life.signal,
      input: (input) => this.#machine.input(input),
      elapsed: (id) => this.#elapsed(id),
      need: () => this.need(),
      current: () => this.#machine.number,
      isSuspect: (number) => this.#machine.isSuspect(number),
      onDescription: (description) => this.#describedInBand(description),
    };
    this.#parts = createParts(peer, { ...deps, log: this.#log }, events, this.#ports);
    const rules = { ...deps.rekey, begins: !this.#parts.keys.isServer };
    const run = (effect: Effect): void => runEffect(effect, this.#parts, events);
    const onState = (state: SessionState): void =>
      this.#parts.seeker.isSettingUp(isOverRing(state) && state.link.kind === 'down');
    const { onLink } = events;
    this.#machine = new SessionMachine(
      { ...deps, log: this.#log, signal: this.#life.signal, run, onState, onLink },
      initialSession(peer, deps.clock.now(), rules, wanted),
    );
  }

  /** A link is wanted. */
  connect(): void {
    this.#drain.abort();
    this.#releasing = false;
    this.#machine.input({ kind: 'wanted' });
    const early = this.#early;
    this.#early = null;
    if (early !== null && this.#deps.clock.now() - early.atMs < earlyMs) {
      this.describe(early.description);
    }
  }

  /** A link is not wanted any more. `keep`: the session goes on over the ring if it can. */
  release(reason: string, keep: boolean): void {
    const wasOnRing = this.path.kind === 'ring';
    this.#machine.input({ kind: 'released', keep });
    if (wasOnRing) this.#events.onPathChanged(this.path); // the answer: it goes on as it did
    this.#drain.abort();
    this.#drain = new AbortController();
    if (!this.isUp) {
      this.#events.onUnused(reason);
      return;
    }
    this.#releasing = true;
    this.#deps.clock.after(drainMs, this.#drain.signal, () => {
      this.#releasing = false;
      const number = this.#machine.number;
      const { associations, path } = this.#parts;
      if (number !== null && associations.isOnRing(number)) path.shed(number);
      else this.#events.onUnused(reason);
    });
  }

  /** Something waits for the session. */
  need(): void {
    if (this.isUp) return;
    this.#deps.ring.seek(this.peer);
    this.#machine.input({ kind: 'needed' });
  }

  /** The ring's ways have changed. */
  waysChanged(): void {
    const number = this.#machine.number;
    const { associations, path } = this.#parts;
    // Nobody in sight leads there any more: only a search finds a way around.
    if (!path.follow() && number !== null && associations.isOnRing(number)) {
      this.#deps.ring.seek(this.peer);
    }
    const { link, ring, wanted } = this.#machine.state;
    const settled =
      link.kind === 'up'
        ? link.path === 'ring' || (link.suspectSinceMs === null && wanted)
        : ring.neededUntilMs <= this.#deps.clock.now();
    if (!settled) this.#machine.input({ kind: 'ways-changed' });
  }

  /** A datagram of a handshake came in an envelope that names the peer as its source. */
  ringDatagram({ id, datagram }: RingSetup): void {
    const counters = this.#parts.associations.counters(this.#machine.number);
    this.#machine.input({ kind: 'ring-heard', id, heardAgoMs: counters?.receivedAgoMs ?? -1 });
    this.#parts.seeker.heard();
    this.#parts.keys.feed(id, datagram);
  }

  /** Whether the peer is off the signalling server: it is asked sooner then. */
  setAway(away: boolean): void {
    if (this.#away && !away) this.#returned();
    this.#away = away;
  }

  /** The peer has signed in anew: if it was started anew, it does not know the keys of before. */
  #returned(): void {
    const { link, wanted } = this.#machine.state;
    if (link.kind === 'down' || link.path !== 'ring' || wanted) return;
    const agoMs = this.#parts.associations.counters(link.number)?.receivedAgoMs ?? -1;
    const doubtful = link.suspectSinceMs !== null || this.#isUnused();
    if (doubtful && (agoMs < 0 || agoMs >= goneMs)) this.ended('it has come anew');
  }

  /** Hands a message to the peer's controller; false when it has not said in time that it has it. */
  sendMessage(body: string): Promise<boolean> {
    this.#askedMs = this.#deps.clock.now();
    return this.#parts.messages.send(body);
  }

  ping(timeoutMs: number): Promise<Pinged> {
    this.#askedMs = this.#deps.clock.now();
    this.need();
    return this.#parts.overlayPings.ping(timeoutMs);
  }

  get isWanted(): boolean {
    return this.#machine.state.wanted;
  }
  /** A released link drains: its end is on its way. */
  get isReleasing(): boolean {
    return this.#releasing;
  }
  get isUp(): boolean {
    return this.#machine.state.link.kind === 'up';
  }
  get path(): PathSummary {
    return this.#parts.path.path;
  }
  /** A handshake over the ring is under way. */
  get isSettingUpOverRing(): boolean {
    return isOverRing(this.#machine.state);
  }
  /** Nothing is up, nothing is under way. */
  get isIdle(): boolean {
    const { link, rekey, standby, setup } = this.#machine.state;
    const resting = setup.kind === 'none' && rekey.kind === 'none' && standby === null;
    return resting && link.kind === 'down' && this.#parts.messages.waiting === 0;
  }
  /** Messages that wait for the peer's answer. */
  get waitingMessages(): number {
    return this.#parts.messages.waiting;
  }
  get refusedMessages(): number {
    return this.#parts.messages.refused;
  }
  get payloadBytes(): number {
    const { sent, received } = this.#parts.associations.payload();
    return sent + received;
  }
  /** Since a frame has crossed, both ways, or since the session was made. */
  payloadAgoMs(): number {
    return this.#parts.traffic.payloadAgoMs(this.payloadBytes, this.#deps.clock.now());
  }

  /** A verified description of the peer. */
  describe(description: SessionDescription): void {
    const { nonce, peerNonce, ufrag, password, candidates, directOnly = false } = description;
    const remote = { ufrag, password, candidates, directOnly };
    this.#machine.input({ kind: 'description', heard: { nonce, peerNonce }, remote });
  }

  /** Addresses or default routes of this host changed. */
  networkChanged(): void {
    this.#machine.input({ kind: 'network-changed' });
  }

  ended(reason: string): void {
    this.#machine.input({ kind: 'ended', reason });
  }

  /** Other certificates are trusted from now on: the peer's may not be among them any more. */
  trustChanged(): void {
    const { associations, keys, sender } = this.#parts;
    // Keys that are being replaced say nothing: the peer may have a new certificate since.
    for (const number of [this.#machine.number, this.#machine.state.standby?.number ?? null]) {
      const shown = number === null ? null : associations.certificateOf(number);
      if (shown === null) continue;
      const problem = keys.problemWith(shown);
      if (problem === null) continue;
      this.#log.warn('peer is trusted no more', { reason: problem });
      sender.bye();
      this.#machine.input({ kind: 'distrusted', reason: problem });
      return;
    }
  }

  /** How often keys were replaced inside the link. */
  get rekeys(): number {
    return this.#parts.path.rekeys;
  }

  /** Ends everything of this peer. Idempotent. */
  async close(reason: string): Promise<void> {
    if (this.#life.signal.aborted) return;
    const { sender, probe, keys, timers, associations, path, attempts } = this.#parts;
    sender.bye();
    this.#machine.input({ kind: 'unwanted', reason });
    this.#life.abort();
    this.#drain.abort();
    probe.end();
    keys.end();
    this.#machine.tellLink();
    timers.end();
    for (const number of associations.numbers) path.remove(number);
    await attempts.close();
  }

  /** Something was opened with an association of this peer. */
  heard(number: SessionNumber): void {
    if (number !== this.#machine.number) this.#machine.input({ kind: 'heard', number });
  }

  /** A control payload that was opened with an association of this peer. */
  control(number: SessionNumber, bytes: Uint8Array): void {
    this.heard(number);
    receiveControl(number, bytes, this.#parts, this.#ports);
  }

  #describedInBand(description: SessionDescription): void {
    if (this.isWanted) this.describe(description);
    else this.#early = { description, atMs: this.#deps.clock.now() };
  }

  /** `historyLimit`: newest transitions that are told. */
  status(historyLimit: number): SessionStatus {
    return sessionStatus(
      this.peer,
      this.#machine.state,
      this.#parts,
      this.#deps.clock,
      historyLimit,
    );
  }

  /** The far end of a trace: it is answered in the session, so that nobody between can. */
  answerTrace(nonce: bigint, hops: readonly NodeId[]): void {
    const traced = encodeControl({ kind: 'traced', nonce, hops });
    this.#parts.sender.send(this.#machine.number, traced);
  }

  #elapsed(id: TimerId): void {
    const { clock } = this.#deps;
    const number = this.#subjectOf(id);
    const { associations, traffic, probe, seeker } = this.#parts;
    const counters = associations.counters(number);
    const { link } = this.#machine.state;
    const onRing = link.kind === 'up' && link.path === 'ring';
    let calm = false;
    if (id === 'tick' && counters !== null) {
      calm = this.#isCalm();
      traffic.sample(counters, clock.now());
      probe.tick(counters.sentBytes, counters.sendErrors);
    }
    if (id === 'tick' && link.kind === 'up') {
      seeker.look(onRing, link.suspectSinceMs !== null && !(onRing && calm));
    }
    // Between attempts the ring is tried: a way may have to be searched for. What waits has it searched
    // for at once; nobody else searches for one who may just be away.
    if (id === 'pause' && !this.isUp) this.#deps.ring.seek(this.peer);
    const usedBytes = Math.max(counters?.sentBytes ?? 0, counters?.receivedBytes ?? 0);
    this.#machine.input({
      kind: 'timer',
      id,
      heardAgoMs: counters?.receivedAgoMs ?? -1,
      calm,
      away: this.#away,
      usedBytes,
    });
  }

  /** No frame has crossed for a while, and nobody has asked for the peer. */
  #isUnused(): boolean {
    return this.payloadAgoMs() >= restMs && this.#askedAgoMs() >= restMs;
  }

  /** No frame flows or waits for an answer, and nobody has asked for the peer. */
  #isCalm(): boolean {
    const { associations, traffic } = this.#parts;
    const use = traffic.useOf(associations.payload(), this.#deps.clock.now());
    return use !== 'used' && this.#askedAgoMs() >= restMs;
  }

  #askedAgoMs(): number {
    return this.#deps.clock.now() - this.#askedMs;
  }

  /** The association that a timer is about. */
  #subjectOf(id: TimerId): SessionNumber | null {
    if (id.startsWith('retire-')) return Number(id.slice('retire-'.length));
    return id === 'confirm' ? (this.#machine.state.standby?.number ?? null) : this.#machine.number;
  }
}
