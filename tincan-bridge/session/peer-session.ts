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
import { Attempt } from './attempt.ts';
import {
  controlBytes,
  decodeControl,
  encodeControl,
  handshakeId,
  handshakeNonce,
} from './core/control.ts';
import { ethernetHeaderBytes, maxFrameBytes, pathKind } from './core/path.ts';
import { pathNote, unreachableNote } from './core/path-note.ts';
import { nextSession } from './core/session.ts';
import {
  type Effect,
  type Input,
  initialSession,
  phaseOf,
  type RekeyRules,
  type SessionState,
  type TimerId,
} from './core/session-state.ts';
import { handshakeRetransmitMs } from './core/timers.ts';
import { HandshakeDrive, type Secured, wipeKeys } from './handshake-drive.ts';
import { PathProbe } from './path-probe.ts';
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
  /** This machine has no instructions for AES. */
  readonly preferChaCha: boolean;
  readonly settings: () => SessionSettings;
  /** The overlay's CA and what it has revoked, or null where peers are pinned. */
  readonly trust: () => PeerTrust | null;
  readonly nextNumber: () => SessionNumber;
  /** When keys are to be replaced. */
  readonly rekey: Omit<RekeyRules, 'begins'>;
  /** Loopback addresses are candidates: tests only. */
  readonly loopback: boolean;
  readonly keyLog: (line: string) => void;
}

export interface SessionEvents {
  readonly onDescription: (description: SessionDescription) => void;
  /** An association receives from now on. */
  readonly onInstalled: (number: SessionNumber) => void;
  /**
   * The association carries frames of at most so many bytes from now on. `settled`: the MTU of the
   * devices should follow; else the size is a passing one, of a search.
   */
  readonly onUsed: (number: SessionNumber, maxFrameBytes: number, settled: boolean) => void;
  readonly onRemoved: (number: SessionNumber) => void;
  readonly onUp: (path: PathSummary, setUpMs: number) => void;
  readonly onPathChanged: (path: PathSummary) => void;
  readonly onDown: (reason: string) => void;
}

const noPath: PathSummary = { kind: 'none', local: '', remote: '' };

/** Copies of a bye. */
const byeCopies = 3;

/** An association in the datapath, and the attempt whose sockets it uses. */
interface Association {
  readonly attempt: Attempt;
  readonly path: PathSummary;
  readonly cipher: string;
  /** What the peer has proved to hold, to be judged again. */
  readonly certificate: Uint8Array;
  /** Largest frame that the kind of path allows. */
  readonly most: number;
}

export class PeerSession {
  readonly peer: NodeId;
  readonly #deps: SessionDeps;
  readonly #events: SessionEvents;
  readonly #log: Logger;
  readonly #life = new AbortController();
  readonly #attempts = new Map<SessionNonce, Attempt>();
  readonly #installed = new Map<SessionNumber, Association>();
  readonly #closing = new Set<Promise<void>>();
  readonly #timers = new Map<TimerId, AbortController>();
  readonly #history: Array<{ readonly atMs: number; readonly what: string }> = [];
  readonly #pings = new Map<bigint, number>();
  readonly #traffic = new Traffic();
  readonly #probe: PathProbe;
  /** The last handshake inside the link; a done one lingers, to answer a peer that lost its end. */
  #rekey: { readonly id: SessionNonce; readonly drive: HandshakeDrive } | null = null;
  readonly #queue: Input[] = [];
  #running = false;
  #path: PathSummary = noPath;
  #cipher: string | null = null;
  #rekeys = 0;
  /** Why the last attempt that failed found no path. */
  #cause: string | null = null;
  #state: SessionState;

  constructor(peer: NodeId, deps: SessionDeps, events: SessionEvents) {
    this.peer = peer;
    this.#deps = deps;
    this.#events = events;
    this.#log = deps.log.child('session', { peer });
    const rules = { ...deps.rekey, begins: !this.#isServer };
    this.#state = initialSession(peer, deps.clock.now(), rules);
    this.#probe = new PathProbe({
      clock: deps.clock,
      send: (payload) => this.#sendControl(this.#currentNumber(), payload),
      onFits: (bytes, settled) => this.#fits(bytes, settled),
    });
  }

  /** The smaller node id is DTLS server, of attempts and inside the link. */
  get #isServer(): boolean {
    return this.#deps.me < this.peer;
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

  /** Other certificates are trusted from now on: the peer's may not be among them any more. */
  trustChanged(): void {
    const { clock, trust } = this.#deps;
    // Keys that are being replaced say nothing: the peer may have a new certificate since.
    for (const number of [this.#currentNumber(), this.#state.standby?.number ?? null]) {
      const shown = number === null ? undefined : this.#installed.get(number)?.certificate;
      if (shown === undefined) continue;
      const problem = peerProblem(shown, this.peer, trust(), clock.wallNow());
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
    this.#probe.end();
    this.#stopRekey();
    for (const timer of this.#timers.values()) timer.abort();
    for (const number of [...this.#installed.keys()]) this.#remove(number);
    for (const own of [...this.#attempts.keys()]) this.#drop(own);
    await Promise.all(this.#closing);
  }

  /** A control payload that was opened with an association of this peer. */
  control(number: SessionNumber, bytes: Uint8Array): void {
    if (number !== this.#currentNumber()) this.#input({ kind: 'heard', number });
    const control = decodeControl(bytes);
    if (control === null) return; // of a later version, or nonsense of an authenticated peer
    switch (control.kind) {
      case 'ping':
        this.#sendControl(number, encodeControl({ kind: 'pong', nonce: control.nonce }));
        return;
      case 'bye':
        // On an association that was replaced it says nothing about the session.
        if (number === this.#currentNumber()) this.ended('it was closed on the far side');
        return;
      case 'rekey': {
        const id = handshakeId(control.nonce);
        this.#input({ kind: 'rekey-heard', number, id });
        if (id !== null && this.#rekey?.id === id) this.#rekey.drive.feed(control.datagram);
        return;
      }
      case 'description': {
        const heard = descriptionIn(control.json);
        if (heard !== null) this.describe(heard);
        return;
      }
      case 'pong':
        this.#answered(control.nonce);
    }
  }

  #answered(nonce: bigint): void {
    if (this.#probe.answered(nonce)) return;
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
      for (const number of this.#installed.keys()) this.#sendControl(number, bye);
    }
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
      mtu: up === null ? null : this.#probe.fits - ethernetHeaderBytes,
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
    const attempt = number === null ? undefined : this.#installed.get(number)?.attempt;
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
        this.#install(effect.own, effect.number, effect.rekey);
        return;
      case 'use':
        this.#use(effect.number, effect.from);
        return;
      case 'start-rekey':
        this.#startRekey(effect.id, effect.base);
        return;
      case 'stop-rekey':
        if (this.#rekey?.id === effect.id) this.#stopRekey();
        return;
      case 'ask-rekey':
        this.#sendRekey(effect.number, null, new Uint8Array(0));
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
        this.#probe.end();
        this.#stopRekey();
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
      controlling: this.#isServer,
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
        const problem = this.#problemOf(secured);
        if (problem === null) this.#input({ kind: 'secured', own, relayed: isRelayed(attempt) });
        else this.#input({ kind: 'insecure', own, reason: problem, refused: true });
      },
      onInsecure: (reason) => this.#input({ kind: 'insecure', own, reason, refused: false }),
    });
    this.#attempts.set(own, attempt);
    attempt.start();
  }

  #problemOf({ peerCertificate, keyLogLine }: Secured): string | null {
    const { clock, trust } = this.#deps;
    const problem = peerProblem(peerCertificate, this.peer, trust(), clock.wallNow());
    if (problem !== null) this.#log.warn('peer was refused', { reason: problem });
    else if (keyLogLine !== null) this.#deps.keyLog(keyLogLine);
    return problem;
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
    const options = this.#handshakeOptions(handshakeDatagramBytes);
    this.#attempts.get(own)?.startHandshake(this.#deps.createHandshake, options);
  }

  #handshakeOptions(maxDatagramBytes: number): HandshakeOptions {
    const { certificate, key, preferChaCha } = this.#deps;
    return {
      role: this.#isServer ? 'server' : 'client',
      certificate,
      key,
      maxDatagramBytes,
      retransmitMs: handshakeRetransmitMs,
      preferChaCha,
    };
  }

  /** A handshake whose datagrams are control payloads of the association `base`. */
  #startRekey(id: SessionNonce, base: SessionNumber): void {
    this.#stopRekey();
    const room = this.#probe.fits - controlBytes;
    const options = this.#handshakeOptions(Math.min(handshakeDatagramBytes, room));
    const drive = new HandshakeDrive(this.#deps.createHandshake(options), this.#deps.clock, {
      send: (datagram) => this.#sendRekey(base, id, datagram),
      onSecured: (secured) => {
        const problem = this.#problemOf(secured);
        if (problem === null) this.#input({ kind: 'rekey-secured', id });
        else this.#input({ kind: 'rekey-failed', id, reason: problem });
      },
      onInsecure: (reason) => this.#input({ kind: 'rekey-failed', id, reason }),
    });
    this.#rekey = { id, drive };
    if (!this.#isServer) drive.start();
  }

  #sendRekey(number: SessionNumber, id: SessionNonce | null, datagram: Uint8Array): void {
    const nonce = handshakeNonce(id);
    this.#sendControl(number, encodeControl({ kind: 'rekey', nonce, datagram }));
  }

  #stopRekey(): void {
    this.#rekey?.drive.close();
    this.#rekey = null;
  }

  #install(own: SessionNonce, number: SessionNumber, rekey: SessionNonce | null): void {
    const attempt = this.#attempts.get(own);
    const drive = rekey !== null && this.#rekey?.id === rekey ? this.#rekey.drive : attempt;
    const selected = attempt?.selected ?? null;
    const secured = drive?.secured ?? null;
    if (attempt === undefined || selected === null || secured === null) return;
    const kind = pathKind(selected.facts);
    const most = maxFrameBytes(kind, selected.facts.family, secured.keys.suite);
    this.#deps.datapath.addSession({
      session: number,
      peer: this.peer,
      keys: secured.keys,
      path: selected.path,
      sockets: attempt.ice.sockets,
      maxFrameBytes: most,
    });
    wipeKeys(secured.keys);
    const path = { kind, local: selected.local, remote: selected.remote };
    const [certificate, cipher] = [secured.peerCertificate, secured.cipher.slice(0, 64)];
    this.#installed.set(number, { attempt, path, most, cipher, certificate });
    this.#events.onInstalled(number);
  }

  /** Frames go over the association; what was found out about its path holds for its new keys. */
  #use(number: SessionNumber, from: SessionNumber | null): void {
    const next = this.#installed.get(number);
    if (next === undefined) return;
    const samePath = from !== null && this.#installed.get(from)?.attempt === next.attempt;
    this.#path = next.path;
    this.#cipher = next.cipher;
    const { fits, settled } = samePath ? this.#probe : { fits: next.most, settled: true };
    if (samePath) {
      this.#rekeys += 1;
      this.#limit(number, fits);
    }
    if (from !== null) this.#deps.datapath.replaceSession(from, number);
    this.#events.onUsed(number, fits, settled);
    if (!samePath) this.#probe.begin(next.most);
  }

  #fits(bytes: number, settled: boolean): void {
    const number = this.#currentNumber();
    if (number === null) return;
    this.#limit(number, bytes);
    this.#events.onUsed(number, bytes, settled);
  }

  #limit(number: SessionNumber, bytes: number): void {
    const { attempt } = this.#installed.get(number) ?? {};
    const path = attempt?.selected?.path;
    if (attempt === undefined || path === undefined) return;
    this.#deps.datapath.setPath(number, path, attempt.ice.sockets, bytes);
  }

  #remove(number: SessionNumber): void {
    const gone = this.#installed.get(number);
    this.#installed.delete(number);
    this.#deps.datapath.removeSession(number);
    this.#events.onRemoved(number);
    const used = [...this.#installed.values()].some(({ attempt }) => attempt === gone?.attempt);
    if (gone !== undefined && !used) this.#drop(gone.attempt.own);
  }

  #ask(number: SessionNumber): void {
    const nonce = randomBytes(8).readBigUInt64BE();
    const oldest = this.#pings.keys().next();
    if (this.#pings.size >= maxPings && !oldest.done) this.#pings.delete(oldest.value);
    this.#pings.set(nonce, this.#deps.clock.now());
    this.#sendControl(number, encodeControl({ kind: 'ping', nonce }));
  }

  #sendControl(number: SessionNumber | null, bytes: Uint8Array): boolean {
    if (number === null || !this.#installed.has(number)) return false;
    // One that is not sent is a lost one: it is repeated.
    return this.#deps.datapath.sendFrame(number, 'control', { bytes, offload: null });
  }

  #schedule(id: TimerId, atMs: number): void {
    this.#timers.get(id)?.abort();
    const timer = new AbortController();
    this.#timers.set(id, timer);
    const { clock } = this.#deps;
    clock.after(Math.max(0, Math.ceil(atMs - clock.now())), timer.signal, () => {
      this.#timers.delete(id);
      this.#elapsed(id);
    });
  }

  #elapsed(id: TimerId): void {
    const { datapath, clock } = this.#deps;
    const number = this.#subjectOf(id);
    const counters = number === null ? null : datapath.sessionCounters(number);
    if (id === 'tick' && counters !== null) {
      this.#traffic.sample(counters, clock.now());
      this.#probe.tick(counters.sentBytes, counters.sendErrors);
    }
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

/** A description that came in-band, or null when it is none. */
function descriptionIn(json: string): SessionDescription | null {
  try {
    return SessionDescription.safeParse(JSON.parse(json)).data ?? null;
  } catch {
    return null; // nonsense of an authenticated peer, or of a later version
  }
}
