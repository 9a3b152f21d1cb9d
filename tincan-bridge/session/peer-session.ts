/**
 * The shell of one peer session: stores the machine's state, carries its effects out in order, and
 * turns what happens into inputs. Owns the attempts, the associations in the datapath and the timers
 * of this peer; decides nothing.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import { type NodeId, SessionNonce } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type { Datapath, SessionNumber } from '../datapath/datapath.ts';
import type { Handshake, HandshakeOptions } from '../datapath/handshake.ts';
import type { DatagramRouter } from '../ice/router.ts';
import { SessionDescription } from '../protocol/description.ts';
import type { IceServers, Notification, SessionStatus } from '../protocol/schema.ts';
import { Attempt, type Secured } from './attempt.ts';
import { decodeControl, encodeControl } from './core/control.ts';
import { maxFrameBytes, pathKind } from './core/path.ts';
import { pathNote, unreachableNote } from './core/path-note.ts';
import { nextSession } from './core/session.ts';
import {
  type Effect,
  type Input,
  initialSession,
  phaseOf,
  type SessionState,
  type TimerId,
} from './core/session-state.ts';
import { handshakeRetransmitMs } from './core/timers.ts';
import { type PeerTrust, peerProblem } from './peer-certificate.ts';
import { Traffic } from './traffic.ts';

export type PathSummary = Notification<'pathChanged'>['path'];

/** DTLS datagrams stay below what any path of the Internet carries. */
const handshakeDatagramBytes = 1_200;
/** First description waits this long for all host candidates, later ones for more to come. */
const firstWordMs = 2;
const moreWordsMs = 30;
/** Longest description that any path carries in one record; candidates beyond it are left out. */
const inBandBytes = 1_200;
const historyLength = 64;
/** Pings whose answer may still come. */
const maxPings = 8;

export interface SessionSettings {
  readonly servers: IceServers;
  readonly ignoredInterfaces: readonly string[];
}

export interface SessionDeps {
  readonly me: NodeId;
  readonly certificate: string;
  readonly key: string;
  readonly datapath: Datapath;
  readonly router: DatagramRouter;
  readonly clock: Clock;
  readonly log: Logger;
  readonly createHandshake: (options: HandshakeOptions) => Handshake;
  readonly settings: () => SessionSettings;
  /** The overlay's CA and what it has revoked, or null where peers are pinned. */
  readonly trust: () => PeerTrust | null;
  readonly nextNumber: () => SessionNumber;
  /** Loopback addresses are candidates: tests only. */
  readonly loopback: boolean;
  readonly keyLog: (line: string) => void;
}

export interface SessionEvents {
  readonly onDescription: (description: SessionDescription) => void;
  /** An association carries frames of at most so many bytes from now on. */
  readonly onInstalled: (number: SessionNumber, maxFrameBytes: number) => void;
  readonly onRemoved: (number: SessionNumber) => void;
  readonly onUp: (path: PathSummary, setUpMs: number) => void;
  readonly onPathChanged: (path: PathSummary) => void;
  readonly onDown: (reason: string) => void;
}

const noPath: PathSummary = { kind: 'none', local: '', remote: '' };

/** Copies of a bye. */
const byeCopies = 3;

export class PeerSession {
  readonly peer: NodeId;
  readonly #deps: SessionDeps;
  readonly #events: SessionEvents;
  readonly #log: Logger;
  readonly #life = new AbortController();
  readonly #attempts = new Map<SessionNonce, Attempt>();
  /** Associations in the datapath and the attempts whose sockets they use. */
  readonly #installed = new Map<SessionNumber, Attempt>();
  readonly #closing = new Set<Promise<void>>();
  readonly #timers = new Map<TimerId, AbortController>();
  readonly #history: Array<{ readonly atMs: number; readonly what: string }> = [];
  readonly #pings = new Map<bigint, number>();
  readonly #traffic = new Traffic();
  readonly #queue: Input[] = [];
  #running = false;
  #path: PathSummary = noPath;
  #cipher: string | null = null;
  /** Why the last attempt that failed found no path. */
  #cause: string | null = null;
  #state: SessionState;

  constructor(peer: NodeId, deps: SessionDeps, events: SessionEvents) {
    this.peer = peer;
    this.#deps = deps;
    this.#events = events;
    this.#log = deps.log.child('session', { peer });
    this.#state = initialSession(peer, deps.clock.now());
  }

  connect(): void {
    this.#input({ kind: 'wanted' });
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

  /** Ends everything of this peer. Idempotent. */
  async close(reason: string): Promise<void> {
    if (this.#life.signal.aborted) return;
    this.#sayBye();
    this.#input({ kind: 'unwanted', reason });
    this.#life.abort();
    for (const timer of this.#timers.values()) timer.abort();
    for (const number of [...this.#installed.keys()]) this.#remove(number);
    for (const own of [...this.#attempts.keys()]) this.#drop(own);
    await Promise.all(this.#closing);
  }

  /** A control payload that was opened with an association of this peer. */
  control(number: SessionNumber, bytes: Uint8Array): void {
    const control = decodeControl(bytes);
    if (control === null) return; // of a later version, or nonsense of an authenticated peer
    if (control.kind === 'ping') {
      this.#sendControl(number, encodeControl({ kind: 'pong', nonce: control.nonce }));
      return;
    }
    if (control.kind === 'bye') {
      // On an association that was replaced it says nothing about the session.
      if (number === this.#currentNumber()) this.ended('it was closed on the far side');
      return;
    }
    if (control.kind === 'description') {
      const heard = descriptionIn(control.json);
      if (heard !== null) this.describe(heard);
      return;
    }
    const sentMs = this.#pings.get(control.nonce);
    if (sentMs === undefined) return;
    this.#pings.delete(control.nonce);
    this.#traffic.measured(this.#deps.clock.now() - sentMs);
  }

  #currentNumber(): SessionNumber | null {
    const { link } = this.#state;
    return link.kind === 'up' ? link.number : null;
  }

  /** Spares the peer the wait for its liveness checks; some copies, since datagrams get lost. */
  #sayBye(): void {
    const number = this.#currentNumber();
    if (number === null) return;
    const bye = encodeControl({ kind: 'bye', nonce: 0n });
    for (let copy = 0; copy < byeCopies; copy += 1) this.#sendControl(number, bye);
  }

  status(): SessionStatus {
    const { link, lastError } = this.#state;
    const nowMs = this.#deps.clock.now();
    const up = link.kind === 'up' ? link : null;
    const counters = up === null ? null : this.#deps.datapath.sessionCounters(up.number);
    return {
      peer: this.peer,
      state: phaseOf(this.#state),
      path: up === null ? noPath : this.#path,
      rttMs: this.#traffic.rttMs,
      sentBytes: counters?.sentBytes ?? 0,
      receivedBytes: counters?.receivedBytes ?? 0,
      sentFrames: counters?.sentFrames ?? 0,
      receivedFrames: counters?.receivedFrames ?? 0,
      sentBitsPerSecond: this.#traffic.sentBitsPerSecond,
      receivedBitsPerSecond: this.#traffic.receivedBitsPerSecond,
      upSinceMs: up === null ? null : this.#deps.clock.wallNow() - (nowMs - up.sinceMs),
      lastError: this.#explained(lastError),
      cipher: this.#cipher,
      pathNote: this.#pathNote(),
      history: this.#history.map(({ atMs, what }) => ({ agoMs: Math.round(nowMs - atMs), what })),
    };
  }

  /** Of a peer that cannot be reached: what the last attempt has found out besides. */
  #explained(lastError: string | null): string | null {
    if (lastError === null) return null;
    const cause = this.#state.link.kind === 'up' ? null : this.#cause;
    return (cause === null ? lastError : `${lastError}: ${cause}`).slice(0, 300);
  }

  /** Of a session without a path: why the last attempt found none. */
  #pathNote(): string | null {
    if (this.#state.link.kind === 'down') return this.#cause?.slice(0, 300) ?? null;
    const number = this.#currentNumber();
    const attempt = number === null ? undefined : this.#installed.get(number);
    if (attempt?.selected == null) return null;
    return pathNote(pathKind(attempt.selected.facts), attempt.ice.diagnosis)?.slice(0, 300) ?? null;
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
      });
      this.#state = state;
      for (const effect of effects) this.#guarded(effect);
    }
    this.#running = false;
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
        this.#startHandshake(effect.own);
        return;
      case 'install':
        this.#install(effect.own, effect.number, effect.replaces);
        return;
      case 'remove':
        this.#remove(effect.number);
        return;
      case 'up':
        this.#cause = null;
        this.#events.onUp(this.#path, Math.round(effect.setUpMs));
        return;
      case 'path-changed':
        this.#events.onPathChanged(this.#path);
        return;
      case 'down':
        this.#events.onDown(effect.reason);
        return;
      case 'ask':
        this.#ask(effect.number);
        return;
      case 'timer':
        this.#schedule(effect.id, effect.atMs);
        return;
      case 'note':
        this.#note(effect.what);
        return;
    }
  }

  #startIce(own: SessionNonce, direct: boolean): void {
    const { servers, ignoredInterfaces } = this.#deps.settings();
    const options = {
      controlling: this.#deps.me < this.peer,
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
      onSecured: (secured) => this.#secured(own, secured),
      onInsecure: (reason) => this.#input({ kind: 'insecure', own, reason, refused: false }),
    });
    this.#attempts.set(own, attempt);
    attempt.start();
  }

  #secured(own: SessionNonce, { peerCertificate, keyLogLine }: Secured): void {
    const { clock, trust } = this.#deps;
    const problem = peerProblem(peerCertificate, this.peer, trust(), clock.wallNow());
    if (problem !== null) {
      this.#log.warn('peer was refused', { reason: problem });
      this.#input({ kind: 'insecure', own, reason: problem, refused: true });
      return;
    }
    if (keyLogLine !== null) this.#deps.keyLog(keyLogLine);
    const selected = this.#attempts.get(own)?.selected;
    const relayed = selected != null && pathKind(selected.facts) === 'turn';
    this.#input({ kind: 'secured', own, relayed });
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
    const number = this.#currentNumber();
    if (number === null) return;
    const { candidates } = description;
    for (let count = candidates.length; count > 0; count -= 1) {
      const json = JSON.stringify({ ...description, candidates: candidates.slice(0, count) });
      if (json.length > inBandBytes) continue;
      this.#sendControl(number, encodeControl({ kind: 'description', nonce: 0n, json }));
      return;
    }
  }

  #startHandshake(own: SessionNonce): void {
    const { certificate, key, me } = this.#deps;
    this.#attempts.get(own)?.startHandshake(this.#deps.createHandshake, {
      role: me < this.peer ? 'server' : 'client',
      certificate,
      key,
      maxDatagramBytes: handshakeDatagramBytes,
      retransmitMs: handshakeRetransmitMs,
      preferChaCha: false,
    });
  }

  #install(own: SessionNonce, number: SessionNumber, replaces: SessionNumber | null): void {
    const attempt = this.#attempts.get(own);
    const { selected, secured } = attempt ?? {};
    if (attempt === undefined || selected == null || secured == null) return;
    const { datapath } = this.#deps;
    const kind = pathKind(selected.facts);
    const frame = maxFrameBytes(kind, selected.facts.family, secured.keys.suite);
    datapath.addSession({
      session: number,
      peer: this.peer,
      keys: secured.keys,
      path: selected.path,
      sockets: attempt.ice.sockets,
      maxFrameBytes: frame,
    });
    if (replaces !== null) datapath.replaceSession(replaces, number);
    this.#installed.set(number, attempt);
    this.#path = { kind, local: selected.local, remote: selected.remote };
    this.#cipher = secured.cipher.slice(0, 64);
    this.#events.onInstalled(number, frame);
  }

  #remove(number: SessionNumber): void {
    const attempt = this.#installed.get(number);
    this.#installed.delete(number);
    this.#deps.datapath.removeSession(number);
    this.#events.onRemoved(number);
    if (attempt !== undefined) this.#drop(attempt.own);
  }

  #ask(number: SessionNumber): void {
    const nonce = randomBytes(8).readBigUInt64BE();
    const oldest = this.#pings.keys().next();
    if (this.#pings.size >= maxPings && !oldest.done) this.#pings.delete(oldest.value);
    this.#pings.set(nonce, this.#deps.clock.now());
    this.#sendControl(number, encodeControl({ kind: 'ping', nonce }));
  }

  #sendControl(number: SessionNumber, bytes: Uint8Array): void {
    if (!this.#installed.has(number)) return;
    // One that is not sent is a lost one: the next tick asks again.
    this.#deps.datapath.sendFrame(number, 'control', { bytes, offload: null });
  }

  #schedule(id: TimerId, atMs: number): void {
    this.#timers.get(id)?.abort();
    const timer = new AbortController();
    this.#timers.set(id, timer);
    const { clock, datapath } = this.#deps;
    clock.after(Math.max(0, Math.ceil(atMs - clock.now())), timer.signal, () => {
      this.#timers.delete(id);
      const { link } = this.#state;
      const counters = link.kind === 'up' ? datapath.sessionCounters(link.number) : null;
      if (id === 'tick' && counters !== null) this.#traffic.sample(counters, clock.now());
      this.#input({ kind: 'timer', id, heardAgoMs: counters?.receivedAgoMs ?? -1 });
    });
  }

  #note(what: string): void {
    this.#log.info('session', { event: what });
    this.#history.push({ atMs: this.#deps.clock.now(), what: what.slice(0, 200) });
    if (this.#history.length > historyLength) this.#history.shift();
  }
}

/** A description that came in-band, or null when it is none. */
function descriptionIn(json: string): SessionDescription | null {
  try {
    return SessionDescription.safeParse(JSON.parse(json)).data ?? null;
  } catch {
    return null; // nonsense of an authenticated peer, or of a later version
  }
}
