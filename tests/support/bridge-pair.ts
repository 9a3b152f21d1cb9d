/**
 * Complete bridge cores in one process over the native datapath, each with a TAP of its own, and a
 * signalling in between that tests can delay, cut or change. Undoes what it makes through `defer`.
 */
import { strict as assert } from 'node:assert';
import { systemClock } from '../../base/clock.ts';
import { exec } from '../../base/exec.ts';
import { InterfaceName, type NodeId, OverlayId } from '../../base/ids.ts';
import { silentLogger } from '../../base/log.ts';
import { type Bridge, createBridge } from '../../tincan-bridge/bridge.ts';
import type { Datapath, RecordKeys } from '../../tincan-bridge/datapath/datapath.ts';
import { createHandshake, createNativeDatapath } from '../../tincan-bridge/datapath/native.ts';
import type { SessionDescription } from '../../tincan-bridge/protocol/description.ts';
import type {
  IceServers,
  Notification,
  Params,
  SessionStatus,
} from '../../tincan-bridge/protocol/schema.ts';
import type { T } from './harness.ts';
import type { TestIdentity } from './identity.ts';
import { patience } from './pace.ts';

type Ups = Notification<'sessionUp'>;

export interface TestBridge {
  readonly identity: TestIdentity;
  readonly tap: string;
  readonly bridge: Bridge;
  readonly ups: Ups[];
  readonly downs: Array<Notification<'sessionDown'>>;
  readonly paths: Array<Notification<'pathChanged'>>;
  readonly mtus: number[];
  /** Where descriptions go; a test may replace it. */
  deliver: (peer: NodeId, description: SessionDescription) => void;
  session(peer: NodeId): Promise<SessionStatus | undefined>;
  /** Ends it without a word to its peers, as a killed process does. */
  crash(): Promise<void>;
}

let made = 0;
export const noServers: IceServers = { stun: [], turn: [] };

/** A bridge with a TAP that exists until the test is over. */
export async function newBridge(
  t: T,
  identity: TestIdentity,
  servers: IceServers = noServers,
  trust: Params<'open'>['trust'] = null,
  more: Partial<Params<'open'>> & {
    readonly onKeys?: (keys: RecordKeys) => void;
    readonly preferChaCha?: boolean;
  } = {},
): Promise<TestBridge> {
  const { onKeys = () => {}, preferChaCha = false, ...open } = more;
  const tap = `evs${process.pid % 100_000}x${made++}`;
  await exec(['ip', 'tuntap', 'add', 'dev', tap, 'mode', 'tap', 'vnet_hdr']);
  t.defer(async () => {
    await exec(['ip', 'link', 'del', tap]);
  });
  await exec(['ip', 'link', 'set', tap, 'up']);
  let crashed = false;
  const self: TestBridge = {
    identity,
    tap,
    ups: [],
    downs: [],
    paths: [],
    mtus: [],
    deliver: () => {},
    bridge: createBridge({
      createDatapath: (options) => {
        const native = createNativeDatapath(options);
        const sendFrame: Datapath['sendFrame'] = (session, type, frame) =>
          !crashed && native.sendFrame(session, type, frame);
        const addSession: Datapath['addSession'] = (options) => {
          onKeys(options.keys);
          native.addSession(options);
        };
        return { ...native, sendFrame, addSession };
      },
      createHandshake,
      preferChaCha,
      clock: systemClock,
      log: silentLogger,
      loopback: true,
      onClosed: () => {},
      notify: (name, body) => notified(self, name, body),
    }),
    crash: async () => {
      crashed = true;
      await self.bridge.stop();
    },
    session: async (peer) => {
      const { sessions } = await self.bridge.handlers.status({});
      return sessions.find((s) => s.peer === peer);
    },
  };
  await self.bridge.handlers.open({
    overlay: OverlayId.parse('test'),
    nodeId: identity.nodeId,
    tap: InterfaceName.parse(tap),
    transit: true,
    offload: true,
    certificate: identity.certificate,
    key: identity.key,
    trust,
    servers,
    ignoredInterfaces: [],
    mtu: null,
    keyLogFile: null,
    ...open,
  });
  t.defer(() => self.bridge.stop());
  return self;
}

function notified(self: TestBridge, name: string, body: unknown): void {
  if (name === 'description') {
    const { peer, description } = body as Notification<'description'>;
    self.deliver(peer, structuredClone(description));
  }
  if (name === 'sessionUp') self.ups.push(body as Ups);
  if (name === 'sessionDown') self.downs.push(body as Notification<'sessionDown'>);
  if (name === 'pathChanged') self.paths.push(body as Notification<'pathChanged'>);
  if (name === 'mtuChanged') self.mtus.push((body as Notification<'mtuChanged'>).mtu);
}

/** Signalling from one to the other, after `delayMs`, as long as the target wants the sender. */
export function carry(t: T, from: TestBridge, to: TestBridge, delayMs = 5): void {
  from.deliver = (_peer, description) => {
    systemClock.after(delayMs, t.signal, () => {
      // Refused when the target does not want the session (yet): as in the controller, it is lost.
      to.bridge.handlers.describe({ peer: from.identity.nodeId, description }).catch(() => {});
    });
  };
}

export const connect = async (from: TestBridge, to: TestBridge): Promise<void> => {
  await from.bridge.handlers.connect({ peer: to.identity.nodeId });
};

/** Waits for a condition; the test's own time limit applies. */
export async function until(
  t: T,
  what: string,
  condition: () => boolean | Promise<boolean>,
  limitMs = 5_000,
): Promise<void> {
  const end = performance.now() + limitMs * patience;
  while (!(await condition())) {
    assert.ok(performance.now() < end, `not within ${limitMs * patience} ms: ${what}`);
    await new Promise<void>((resolve) => systemClock.after(10, t.signal, resolve));
  }
}
