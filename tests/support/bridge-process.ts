/**
 * Real `tincan-bridge` processes in network namespaces, driven over fd 3 as the controller does.
 * Undoes what it makes through `defer`; names carry the pid.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { exec } from '../../base/exec.ts';
import { InterfaceName, type NodeId, OverlayId } from '../../base/ids.ts';
import { type BridgeClient, createBridgeClient } from '../../tincan-bridge/client.ts';
import type { IceServers, Notification, Params } from '../../tincan-bridge/protocol/schema.ts';
import { until } from './bridge-pair.ts';
import type { T } from './harness.ts';
import { newIdentity, type TestIdentity } from './identity.ts';
import { waitRunning } from './netns.ts';

export const tap = InterfaceName.parse('ev-test');

/** A namespace with loopback up; gone after the test. */
export async function newNs(t: T, name: string): Promise<string> {
  const ns = `evs${process.pid}${name}`;
  await exec(['ip', 'netns', 'add', ns]);
  t.defer(async () => void (await exec(['ip', 'netns', 'del', ns])));
  await exec(['ip', '-n', ns, 'link', 'set', 'lo', 'up']);
  return ns;
}

/** A namespace with a persistent TAP that has the address. */
export async function newSite(t: T, name: string, overlayAddress: string): Promise<string> {
  const ns = await newNs(t, name);
  const inside = ['ip', '-n', ns];
  await exec([...inside, 'tuntap', 'add', 'dev', tap, 'mode', 'tap', 'vnet_hdr']);
  await exec([...inside, 'link', 'set', tap, 'mtu', '1420', 'up']);
  await exec([...inside, 'addr', 'add', overlayAddress, 'dev', tap]);
  return ns;
}

/** coturn on port 3478 of the addresses, relaying from the first; account u, password p. */
export async function startTurn(t: T, ns: string, addresses: readonly string[]): Promise<void> {
  const argv = ['netns', 'exec', ns, 'turnserver', '-n', '--listening-port=3478'];
  for (const address of addresses) argv.push(`--listening-ip=${address}`);
  argv.push(`--relay-ip=${addresses[0]}`, '--lt-cred-mech', '--realm=test', '--user=u:p');
  argv.push('--no-cli', '--no-tls', '--no-dtls', '--min-port=50000', '--max-port=50200');
  argv.push('--log-file=/dev/null', '--pidfile=');
  await addSink(ns);
  const child = spawn('ip', argv, { stdio: 'ignore' });
  t.defer(async () => {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  });
  await until(t, 'coturn listens', async () => {
    const listening = await exec(['ip', 'netns', 'exec', ns, 'ss', '-Hlnu', 'sport = :3478']);
    return listening.includes('3478');
  });
}

/** A default route to nowhere: coturn stops relaying after "network unreachable" for one peer. */
async function addSink(ns: string): Promise<void> {
  await exec(['ip', '-n', ns, 'link', 'add', 'evsink', 'type', 'veth', 'peer', 'evsink2']);
  await exec(['ip', '-n', ns, 'link', 'set', 'evsink', 'arp', 'off', 'up']);
  await exec(['ip', '-n', ns, 'link', 'set', 'evsink2', 'up']);
  await exec(['ip', '-n', ns, 'route', 'add', 'default', 'dev', 'evsink']);
}

/** One end of a cable. */
export interface CableEnd {
  readonly ns: string;
  readonly device: string;
  readonly address: string;
}

/** A cable between two namespaces. */
export async function cable(a: CableEnd, b: CableEnd): Promise<void> {
  const peer = ['type', 'veth', 'peer', b.device, 'netns', b.ns];
  await exec(['ip', '-n', a.ns, 'link', 'add', a.device, ...peer]);
  for (const { ns, device, address } of [a, b]) {
    await exec(['ip', '-n', ns, 'addr', 'add', address, 'dev', device]);
    await exec(['ip', '-n', ns, 'link', 'set', device, 'up']);
  }
  for (const { ns, device } of [a, b]) await waitRunning(ns, device);
}

/** One whose ends have the same name. */
export const wire = (
  a: readonly [ns: string, address: string],
  b: readonly [ns: string, address: string],
  device: string,
): Promise<void> => cable({ ns: a[0], device, address: a[1] }, { ns: b[0], device, address: b[1] });

export interface BridgeProcess {
  readonly client: BridgeClient;
  readonly pid: number;
  readonly ups: Array<Notification<'sessionUp'>>;
  readonly downs: Array<Notification<'sessionDown'>>;
  readonly paths: Array<Notification<'pathChanged'>>;
  readonly messages: Array<Notification<'message'>>;
  readonly mtus: number[];
  /** Kind of the path to the peer as last told, or `none`. */
  pathTo(peer: NodeId): string;
  readonly logs: Array<Notification<'log'>>;
  onDescription: (body: Notification<'description'>) => void;
  /** Exit status, or -1 when a signal ended it. */
  readonly exited: Promise<number>;
  kill(signal: NodeJS.Signals): void;
}

export async function startBridge(
  t: T,
  ns: string,
  identity: TestIdentity,
  servers: IceServers,
  more: Partial<Params<'open'>> = {},
  env: Readonly<Record<string, string>> = {},
): Promise<BridgeProcess> {
  const main = join(import.meta.dirname, '..', '..', 'tincan-bridge', 'main.js');
  const argv = ['netns', 'exec', ns, process.execPath, main];
  const child = spawn('ip', argv, {
    stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
    env: { ...process.env, ...env },
  });
  const exited = once(child, 'exit').then(([code]) => (typeof code === 'number' ? code : -1));
  t.defer(async () => {
    child.kill('SIGKILL');
    await exited;
  });
  const stream: unknown = child.stdio[3];
  if (!(stream instanceof Duplex)) throw new Error('fd 3 is no socket');
  const kinds = new Map<NodeId, string>();
  const self: BridgeProcess = {
    paths: [],
    messages: [],
    mtus: [],
    pathTo: (peer) => kinds.get(peer) ?? 'none',
    pid: child.pid ?? 0,
    ups: [],
    downs: [],
    logs: [],
    onDescription: () => {},
    exited,
    kill: (signal) => void child.kill(signal),
    client: createBridgeClient(stream, {
      readyTimeoutMs: 30_000,
      onClosed: () => {},
      onNotification: (message) => {
        if (message.notification === 'sessionUp') self.ups.push(message.body);
        if (message.notification === 'sessionDown') self.downs.push(message.body);
        if (message.notification === 'pathChanged') self.paths.push(message.body);
        if (message.notification === 'message') self.messages.push(message.body);
        if (message.notification === 'mtuChanged') self.mtus.push(message.body.mtu);
        if (message.notification === 'sessionUp' || message.notification === 'pathChanged') {
          kinds.set(message.body.peer, message.body.path.kind);
        }
        if (message.notification === 'sessionDown') kinds.delete(message.body.peer);
        if (message.notification === 'log') self.logs.push(message.body);
        if (message.notification === 'description') self.onDescription(message.body);
      },
    }),
  };
  t.defer(() => self.client.close());
  await self.client.ready;
  await self.client.call(
    'open',
    {
      overlay: OverlayId.parse('test'),
      nodeId: identity.nodeId,
      tap,
      transit: true,
      offload: true,
      certificate: identity.certificate,
      key: identity.key,
      servers,
      ignoredInterfaces: [],
      mtu: null,
      trust: null,
      keyLogFile: null,
      ...more,
    },
    30_000,
  );
  return self;
}

/** Descriptions of one go to the other, for as long as that one lives. */
export function carryBetween(
  from: BridgeProcess,
  sender: TestIdentity,
  to: () => BridgeProcess,
): void {
  from.onDescription = ({ description }) => {
    const call = to().client.call('describe', { peer: sender.nodeId, description }, 10_000);
    call.catch(() => {}); // refused while the other does not want it, or is gone: lost, as in XMPP
  };
}

/** A tunnel process in each namespace; both want the other, and are online. */
export async function startOnline(
  t: T,
  namespaces: readonly [string, string],
  servers: readonly [IceServers, IceServers],
  open: Partial<Params<'open'>> = {},
): Promise<readonly [BridgeProcess, BridgeProcess]> {
  const ids = [await newIdentity('a'), await newIdentity('b')] as const;
  const one = await startBridge(t, namespaces[0], ids[0], servers[0], open);
  const two = await startBridge(t, namespaces[1], ids[1], servers[1], open);
  carryBetween(one, ids[0], () => two);
  carryBetween(two, ids[1], () => one);
  await one.client.call('connect', { peer: ids[1].nodeId }, 10_000);
  await two.client.call('connect', { peer: ids[0].nodeId }, 10_000);
  await until(t, 'online', () => one.ups.length > 0 && two.ups.length > 0, 15_000);
  return [one, two];
}
