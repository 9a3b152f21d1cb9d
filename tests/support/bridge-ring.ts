/**
 * Several complete bridge cores in one process over the in-memory datapath: real ICE and DTLS, no root.
 * Links between them can be cut, descriptions are carried by hand. Undoes what it makes by `defer`.
 */
import { systemClock } from '../../base/clock.ts';
import { InterfaceName, type Mac, macBytes, type NodeId, OverlayId } from '../../base/ids.ts';
import { silentLogger } from '../../base/log.ts';
import { type Bridge, createBridge } from '../../tincan-bridge/bridge.ts';
import { createMemoryDatapath, type MemoryDatapath } from '../../tincan-bridge/datapath/memory.ts';
import { MemoryNetwork } from '../../tincan-bridge/datapath/memory-network.ts';
import { createHandshake } from '../../tincan-bridge/datapath/native.ts';
import { decodeFlood } from '../../tincan-bridge/fabric/core/flood-codec.ts';
import { decodeOwnFrame } from '../../tincan-bridge/fabric/core/loop-frame.ts';
import { hostAddresses } from '../../tincan-bridge/ice/addresses.ts';
import type { Notification, Params, SessionStatus } from '../../tincan-bridge/protocol/schema.ts';
import { until } from './bridge-pair.ts';
import type { T } from './harness.ts';
import { newIdentity, type TestIdentity } from './identity.ts';

/** What a bridge has told, in order. */
export type Told =
  | ({ readonly kind: 'up' } & Notification<'sessionUp'>)
  | ({ readonly kind: 'path' } & Notification<'pathChanged'>)
  | ({ readonly kind: 'down' } & Notification<'sessionDown'>);

export interface RingBridge {
  readonly name: string;
  readonly identity: TestIdentity;
  readonly id: NodeId;
  readonly bridge: Bridge;
  readonly datapath: MemoryDatapath;
  readonly told: Told[];
  readonly messages: Array<Notification<'message'>>;
  readonly mtus: number[];
  /** Frames that came out of its TAP. */
  readonly frames: Uint8Array[];
  session(peer: NodeId): Promise<SessionStatus | undefined>;
  counter(name: string): Promise<number>;
  /** Kind of the path to the peer as last told, or `none`. */
  pathTo(peer: NodeId): string;
  /** No byte leaves it any more. */
  crash(): Promise<void>;
}

export class RingLab {
  readonly network = new MemoryNetwork();
  readonly bridges: RingBridge[] = [];
  /** Pairs of names whose datagrams are lost. */
  readonly #cut = new Set<string>();
  readonly #owners = new Map<number, string>();
  readonly #dead = new Set<string>();
  readonly #t: T;
  /** Descriptions are carried between these two, by signalling; in-band ones need no help. */
  signalling = true;
  /** Pairs whose host sides are one LAN, by a cable outside the overlay. */
  readonly #cables = new Set<readonly [RingBridge, RingBridge]>();
  /** Share of all datagrams that is lost. */
  loss = 0;
  /** Milliseconds that the clocks of all are ahead of the real one. */
  aheadMs = 0;

  constructor(t: T) {
    this.#t = t;
    this.network.filter = (from, to) => {
      const [a, b] = [this.#owners.get(from.port), this.#owners.get(to.port)];
      if (a === undefined || b === undefined) return false;
      if (this.#dead.has(a) || this.#dead.has(b)) return false;
      return !this.#cut.has(pair(a, b)) && Math.random() >= this.loss;
    };
  }

  cut(a: RingBridge, b: RingBridge): void {
    this.#cut.add(pair(a.name, b.name));
  }

  mend(a: RingBridge, b: RingBridge): void {
    this.#cut.delete(pair(a.name, b.name));
  }

  /** Joins the host sides of two until the function that comes back is called. */
  plug(a: RingBridge, b: RingBridge): () => void {
    const cable = [a, b] as const;
    this.#cables.add(cable);
    return () => void this.#cables.delete(cable);
  }

  /** A frame of a host behind the bridge: everybody on its LAN sees it. */
  host(at: RingBridge, bytes: Uint8Array): void {
    at.datapath.inject({ bytes, offload: null });
    this.#spill(at, bytes);
  }

  /** What one TAP has put on the LAN reaches the other TAP, as bridges hand it on. */
  #spill(from: RingBridge, bytes: Uint8Array): void {
    const copy = bytes.slice();
    for (const [a, b] of this.#cables) {
      if (a !== from && b !== from) continue;
      setImmediate(() => (a === from ? b : a).datapath.inject({ bytes: copy, offload: null }));
    }
  }

  async add(
    name: string,
    more: Partial<Params<'open'>> & {
      readonly identity?: TestIdentity;
      /** What others' frames come to while it says so: it takes them and sends none on. */
      readonly swallows?: () => boolean;
    } = {},
  ): Promise<RingBridge> {
    const { identity = await newIdentity(name), swallows, ...open } = more;
    const life = `${name}${this.bridges.length}`;
    const frames: Uint8Array[] = [];
    let datapath: MemoryDatapath | null = null;
    const bridge = createBridge({
      createDatapath: (options) => {
        const made = createMemoryDatapath({
          ...options,
          network: this.network,
          addresses: hostAddresses([], true),
          onFrame: (frame) => {
            if (decodeOwnFrame(frame.bytes) === null) frames.push(frame.bytes);
            this.#spill(self, frame.bytes);
          },
        });
        if (swallows !== undefined) swallowing(made, identity.nodeId, swallows);
        datapath = made;
        const openSocket = made.openSocket.bind(made);
        made.openSocket = (...args) => {
          const opened = openSocket(...args);
          this.#owners.set(opened.port, life);
          return opened;
        };
        return made;
      },
      createHandshake,
      clock: { ...systemClock, now: () => systemClock.now() + this.aheadMs },
      log: silentLogger,
      loopback: true,
      preferChaCha: false,
      onClosed: () => {},
      notify: (what, body) => this.#notified(self, what, body),
    });
    const told: Told[] = [];
    const self: RingBridge = {
      name: life,
      identity,
      id: identity.nodeId,
      bridge,
      get datapath() {
        if (datapath === null) throw new Error('not open');
        return datapath;
      },
      told,
      messages: [],
      mtus: [],
      frames,
      session: async (peer) =>
        (await bridge.handlers.status({})).sessions.find((s) => s.peer === peer),
      counter: async (key) => (await bridge.handlers.status({})).counters[key] ?? 0,
      pathTo: (peer) => {
        const last = told.filter((each) => each.peer === peer).at(-1);
        return last === undefined || last.kind === 'down' ? 'none' : last.path.kind;
      },
      crash: async () => {
        this.#dead.add(life);
        await bridge.stop();
      },
    };
    await bridge.handlers.open({
      overlay: OverlayId.parse('test'),
      nodeId: identity.nodeId,
      tap: InterfaceName.parse('none'),
      transit: true,
      offload: true,
      certificate: identity.certificate,
      key: identity.key,
      trust: null,
      servers: { stun: [], turn: [] },
      ignoredInterfaces: [],
      mtu: null,
      keyLogFile: null,
      ...open,
    });
    this.#t.defer(() => bridge.stop());
    this.bridges.push(self);
    return self;
  }

  /** Everybody knows everybody. */
  async members(all: readonly RingBridge[], leaves: readonly RingBridge[] = []): Promise<void> {
    const members = all.map(({ id }) => id);
    for (const { bridge } of all) {
      await bridge.handlers.setMembers({
        members,
        leaves: leaves.map(({ id }) => id),
        away: [],
        addresses: [],
      });
    }
  }

  /** Both want a link; waits until it has a path of its own. */
  async link(a: RingBridge, b: RingBridge): Promise<void> {
    await this.want(a, b);
    await until(
      this.#t,
      `${a.name} and ${b.name} are linked`,
      () => isOwn(a.pathTo(b.id)) && isOwn(b.pathTo(a.id)),
      10_000,
    );
  }

  async want(a: RingBridge, b: RingBridge): Promise<void> {
    await a.bridge.handlers.connect({ peer: b.id });
    await b.bridge.handlers.connect({ peer: a.id });
  }

  #notified(self: RingBridge, name: string, body: unknown): void {
    if (name === 'description' && this.signalling) {
      const { peer, description } = body as Notification<'description'>;
      const copy = structuredClone(description);
      const to = this.bridges.findLast(({ id }) => id === peer);
      systemClock.after(2, this.#t.signal, () => {
        to?.bridge.handlers.describe({ peer: self.id, description: copy }).catch(() => {});
      });
    }
    if (name === 'sessionUp')
      self.told.push({ kind: 'up', ...(body as Notification<'sessionUp'>) });
    if (name === 'pathChanged') {
      self.told.push({ kind: 'path', ...(body as Notification<'pathChanged'>) });
    }
    if (name === 'sessionDown') {
      self.told.push({ kind: 'down', ...(body as Notification<'sessionDown'>) });
    }
    if (name === 'message') self.messages.push(body as Notification<'message'>);
    if (name === 'mtuChanged') self.mtus.push((body as Notification<'mtuChanged'>).mtu);
  }
}

/** A member that drops what it should send on; its own links and sessions are as good as anybody's. */
function swallowing(made: MemoryDatapath, self: NodeId, when: () => boolean): void {
  const sendEnvelope = made.sendEnvelope.bind(made);
  const sendFrame = made.sendFrame.bind(made);
  made.setRelay = () => {}; // so that every envelope comes up
  made.sendEnvelope = (via, source, ...rest) =>
    source !== self && when() ? true : sendEnvelope(via, source, ...rest);
  made.sendFrame = (session, type, frame) => {
    const others = type === 'flood' && decodeFlood(frame.bytes)?.header.origin !== self;
    return others && when() ? true : sendFrame(session, type, frame);
  };
}

export const isOwn = (kind: string): boolean => kind !== 'ring' && kind !== 'none';
const pair = (a: string, b: string): string => (a < b ? `${a} ${b}` : `${b} ${a}`);

/** An Ethernet frame of an experimental type (IEEE 802, 0x88b5) with a number in it. */
export function testFrame(to: Mac | 'all', from: Mac, number: number, bytes = 60): Uint8Array {
  const frame = new Uint8Array(bytes);
  frame.set(to === 'all' ? new Uint8Array(6).fill(0xff) : macBytes(to), 0);
  frame.set(macBytes(from), 6);
  frame.set([0x88, 0xb5], 12);
  new DataView(frame.buffer).setUint32(14, number);
  return frame;
}

/** The numbers of test frames that came out, in order. */
export const numbersOf = (frames: readonly Uint8Array[]): number[] =>
  frames.map((frame) => new DataView(frame.buffer, frame.byteOffset).getUint32(14));
