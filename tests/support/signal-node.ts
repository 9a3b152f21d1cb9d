/**
 * A node of signalling tests: identity in a temporary folder, a bus of its own, the signal module,
 * and everything that it published. Owns what it starts; undone by the scope.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../base/clock.ts';
import { type NodeId, OverlayId } from '../../base/ids.ts';
import { silentLogger } from '../../base/log.ts';
import { Secret } from '../../base/secret.ts';
import { Bus, type Port } from '../../controller/bus.ts';
import type { BusEvent, EventName, Events } from '../../controller/events.ts';
import { loadIdentity, PeerAuthority, PinStore } from '../../controller/identity/index.ts';
import type { PeerMessage } from '../../controller/peer-messages.ts';
import {
  createSignal,
  defaultPolicy,
  type OverlaySignalConfig,
  type Signal,
  type SignalPolicy,
} from '../../controller/signal/index.ts';
import { type Scope, waitFor } from './scope.ts';

export const overlay = OverlayId.parse('lab');

export interface NodeOptions {
  readonly user: string;
  readonly config: Partial<OverlaySignalConfig> & Pick<OverlaySignalConfig, 'host' | 'port'>;
  readonly policy?: Partial<SignalPolicy>;
  /** Keeps the identity of an earlier node. */
  readonly stateDirectory?: string;
}

export interface SignalNode {
  readonly id: NodeId;
  readonly name: string;
  readonly signal: Signal;
  readonly authority: PeerAuthority;
  readonly stateDirectory: string;
  /** Events of that name so far. */
  events<N extends EventName>(name: N): readonly Events[N][];
  /** Waits until one that matches was published; looks at those after the first `skip` ones. */
  expect<N extends EventName>(
    name: N,
    matches: (event: Events[N]) => boolean,
    timeoutMs?: number,
    skip?: number,
  ): Promise<Events[N]>;
  send(to: NodeId, message: PeerMessage): void;
  /** What the link manager would say. */
  readonly links: Port<'links'>;
}

/** Starts a node; it is stopped with the scope. */
export async function startNode(scope: Scope, options: NodeOptions): Promise<SignalNode> {
  const { user } = options;
  const stateDirectory = options.stateDirectory ?? mkdtempSync(join(tmpdir(), 'evio-signal-'));
  scope.defer(() => rmSync(stateDirectory, { recursive: true, force: true }));
  const identity = await loadIdentity({ stateDirectory, expectedNode: null, nowMs: Date.now() });
  const pins = await PinStore.open({
    stateDirectory,
    log: silentLogger,
    wallNow: () => Date.now(),
  });
  const authority = new PeerAuthority({
    identity,
    clock: systemClock,
    trust: () => pins,
    certificate: () => identity.certificateDer,
  });
  const bus = new Bus(silentLogger);
  const published: BusEvent[] = [];
  bus.tap(scope.signal, (event) => published.push(event));
  const links = bus.port('links');
  const signal = createSignal({
    port: bus.port('signal'),
    clock: systemClock,
    random: () => 0.5,
    log: silentLogger,
    self: identity.node,
    authority,
    policy: { ...defaultPolicy, ...options.policy },
    overlays: [
      {
        overlay,
        tls: 'starttls',
        username: `${user}@lab.test`,
        password: new Secret(`${user}-password`),
        clientCertificate: null,
        caPem: null,
        rosterGroup: null,
        nodeName: user,
        leaf: false,
        addresses: [],
        ...options.config,
      },
    ],
  });
  scope.defer(async () => {
    await signal.stop();
    await pins.flush();
  });
  signal.start();
  const events = <N extends EventName>(name: N): readonly Events[N][] =>
    published.filter((e) => e.name === name).map((e) => e.event as Events[N]);
  return {
    id: identity.node,
    name: user,
    signal,
    authority,
    stateDirectory,
    events,
    expect: (name, matches, timeoutMs = 5_000, skip = 0) =>
      waitFor(`${user}: ${name}`, () => events(name).slice(skip).find(matches), {
        timeoutMs,
        context: () => published.map((e) => JSON.stringify(e)).join('\n'),
      }),
    links,
    send: (to, message) => links.publish('links.messageReady', { overlay, to, message }),
  };
}

/** A small message that can be told from others. */
export const ended = (reason: string): PeerMessage => ({ kind: 'ended', reason });
