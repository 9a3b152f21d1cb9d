/**
 * The associations of one peer in the datapath: what each leads over, how large a frame it takes, and
 * what has crossed them. Owns the datapath's session entries; decides nothing.
 */
import type { NodeId } from '../../base/ids.ts';
import type { Datapath, Path, SessionCounters, SessionNumber } from '../datapath/datapath.ts';
import type { Suite } from '../datapath/wire.ts';
import type { Notification } from '../protocol/schema.ts';
import type { Attempt } from './attempt.ts';
import { maxFrameBytes, pathKind, ringFrameBytes } from './core/path.ts';
import { type Secured, wipeKeys } from './handshake-drive.ts';
import type { RingPort, RingWay } from './ring-port.ts';
import type { Payload } from './traffic.ts';

export type PathSummary = Notification<'pathChanged'>['path'];
export const noPath: PathSummary = { kind: 'none', local: '', remote: '' };

interface Association {
  /** Whose sockets it uses; null: it has only the ring. */
  attempt: Attempt | null;
  readonly suite: Suite;
  readonly cipher: string;
  /** What the peer has proved to hold, to be judged again. */
  readonly certificate: Uint8Array;
  onRing: boolean;
  way: RingWay | null;
  /** Frames above it are answered. */
  limit: number;
}

export class Associations {
  readonly #peer: NodeId;
  readonly #datapath: Datapath;
  readonly #ring: RingPort;
  readonly #all = new Map<SessionNumber, Association>();
  /** Of associations that are gone. */
  #ended: Payload = { sent: 0, received: 0 };

  constructor(peer: NodeId, datapath: Datapath, ring: RingPort) {
    this.#peer = peer;
    this.#datapath = datapath;
    this.#ring = ring;
  }

  get numbers(): readonly SessionNumber[] {
    return [...this.#all.keys()];
  }

  has(number: SessionNumber): boolean {
    return this.#all.has(number);
  }

  attemptOf(number: SessionNumber): Attempt | null {
    return this.#all.get(number)?.attempt ?? null;
  }

  isOnRing(number: SessionNumber): boolean {
    return this.#all.get(number)?.onRing === true;
  }

  cipherOf(number: SessionNumber): string | null {
    return this.#all.get(number)?.cipher ?? null;
  }

  certificateOf(number: SessionNumber): Uint8Array | null {
    return this.#all.get(number)?.certificate ?? null;
  }

  /** Takes the keys over; the copy of the handshake is wiped. */
  install(
    number: SessionNumber,
    attempt: Attempt | null,
    { keys, cipher, peerCertificate: certificate }: Secured,
    onRing: boolean,
  ): void {
    const { suite } = keys;
    const made: Association = {
      attempt,
      suite,
      cipher: cipher.slice(0, 64),
      certificate,
      onRing,
      way: onRing ? this.#ring.way(this.#peer) : null,
      limit: 0,
    };
    made.limit = mostOf(made);
    this.#datapath.addSession({
      session: number,
      peer: this.#peer,
      keys,
      path: pathOf(made),
      sockets: attempt?.ice.sockets ?? [],
      maxFrameBytes: made.limit,
    });
    wipeKeys(keys);
    this.#all.set(number, made);
  }

  /** Largest frame that its kind of path allows. */
  most(number: SessionNumber): number {
    const entry = this.#all.get(number);
    return entry === undefined ? 0 : mostOf(entry);
  }

  summary(number: SessionNumber): PathSummary {
    const entry = this.#all.get(number);
    if (entry === undefined) return noPath;
    if (entry.onRing) return { kind: 'ring', local: '', remote: entry.way?.via ?? '' };
    const selected = entry.attempt?.selected;
    if (selected == null) return noPath;
    return { kind: pathKind(selected.facts), local: selected.local, remote: selected.remote };
  }

  /** Both lead the same way: what was found out about one path holds for the other. */
  areAlike(one: SessionNumber, other: SessionNumber): boolean {
    const [a, b] = [this.#all.get(one), this.#all.get(other)];
    if (a === undefined || b === undefined || a.onRing !== b.onRing) return false;
    return a.onRing || a.attempt === b.attempt;
  }

  limit(number: SessionNumber, bytes: number): void {
    const entry = this.#all.get(number);
    if (entry === undefined) return;
    entry.limit = bytes;
    this.#write(number, entry);
  }

  useRing(number: SessionNumber): void {
    const entry = this.#all.get(number);
    if (entry === undefined) return;
    entry.onRing = true;
    entry.way = this.#ring.way(this.#peer);
    entry.limit = mostOf(entry);
    this.#write(number, entry);
  }

  /** Follows the ring's ways. True: `number` has another next hop now. */
  follow(number: SessionNumber | null): boolean {
    let changed = false;
    for (const [each, entry] of this.#all) {
      if (!entry.onRing) continue;
      // Without a way the old one stays: it may be as good as none, and is no worse.
      const way = this.#ring.way(this.#peer) ?? entry.way;
      const other = way?.via !== entry.way?.via;
      const same = way?.session === entry.way?.session && way?.ttl === entry.way?.ttl;
      if (!other && same) continue;
      entry.way = way;
      if (other) entry.limit = mostOf(entry);
      this.#write(each, entry);
      if (other && each === number) changed = true;
    }
    return changed;
  }

  /** Its sockets are not needed any more; returns the attempt if nothing else uses it. */
  shed(number: SessionNumber): Attempt | null {
    const entry = this.#all.get(number);
    if (entry === undefined || !entry.onRing) return null;
    const { attempt } = entry;
    entry.attempt = null;
    this.#write(number, entry);
    return this.#unused(attempt);
  }

  /** Wipes the keys; returns the attempt if nothing else uses it. */
  remove(number: SessionNumber): Attempt | null {
    const gone = this.#all.get(number);
    this.#ended = sumOf(this.#ended, this.#payloadOf(number));
    this.#all.delete(number);
    this.#datapath.removeSession(number);
    return this.#unused(gone?.attempt ?? null);
  }

  /** One that is not sent is a lost one: whoever needs it repeats it. */
  send(number: SessionNumber | null, type: 'control', bytes: Uint8Array): boolean {
    if (number === null || !this.#all.has(number)) return false;
    return this.#datapath.sendFrame(number, type, { bytes, offload: null });
  }

  counters(number: SessionNumber | null): SessionCounters | null {
    return number === null ? null : this.#datapath.sessionCounters(number);
  }

  /** Frames since the session was made. */
  payload(): Payload {
    let sum = this.#ended;
    for (const number of this.#all.keys()) sum = sumOf(sum, this.#payloadOf(number));
    return sum;
  }

  #payloadOf(number: SessionNumber): Payload {
    const counters = this.#all.has(number) ? this.#datapath.sessionCounters(number) : null;
    return {
      sent: counters?.sentPayloadBytes ?? 0,
      received: counters?.receivedPayloadBytes ?? 0,
    };
  }

  #unused(attempt: Attempt | null): Attempt | null {
    const used = [...this.#all.values()].some((other) => other.attempt === attempt);
    return used ? null : attempt;
  }

  #write(number: SessionNumber, entry: Association): void {
    const sockets = entry.attempt?.ice.sockets ?? [];
    this.#datapath.setPath(number, pathOf(entry), sockets, entry.limit);
  }
}

function pathOf({ onRing, way, attempt }: Association): Path {
  if (!onRing) return attempt?.selected?.path ?? { kind: 'none' };
  return way === null ? { kind: 'none' } : { kind: 'ring', via: way.session, ttl: way.ttl };
}

function mostOf({ onRing, way, attempt, suite }: Association): number {
  if (onRing) return ringFrameBytes(way?.maxFrameBytes ?? Number.POSITIVE_INFINITY, suite);
  const facts = attempt?.selected?.facts;
  return facts === undefined ? 0 : maxFrameBytes(pathKind(facts), facts.family, suite);
}

const sumOf = (a: Payload, b: Payload): Payload => ({
  sent: a.sent + b.sent,
  received: a.received + b.received,
});
