/**
 * ADD, DEL and STATUS of the CNI specification. Owns their order: first the record, then the kernel,
 * then the answer; back in reverse. One attachment is worked on by one call at a time, which the
 * caller sees to.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import type { Exec } from '../base/exec.ts';
import type { OverlayId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { attach, checkNetns, detach, isNetns, linkIn } from './attach.ts';
import { CniError, toCniError } from './cni-error.ts';
import {
  aliasOf,
  hostInterfaceOf,
  hostMac,
  type PodAddress,
  podMac,
  type Wiring,
} from './core/plan.ts';
import { type Attached, formatResult } from './core/result.ts';
import { type DelegateCall, delegate, find } from './delegate.ts';
import type { AttachmentRecord, AttachmentStore } from './ipam.ts';
import type { PodNetwork, PodNetworks } from './network.ts';
import { type NetConf, type PluginResult, parseArgs, parsePath } from './schema.ts';

export interface VerbDeps {
  readonly exec: Exec;
  readonly clock: Clock;
  readonly log: Logger;
  readonly store: AttachmentStore;
  readonly networks: PodNetworks;
  readonly bootId: string;
}

/** One call of a runtime, its parameters checked. */
export interface VerbCall {
  readonly conf: NetConf;
  /** The text that `conf` was read from, for delegated plugins. */
  readonly config: string;
  readonly containerId: string;
  readonly netns: string;
  readonly ifname: string;
  readonly args: string;
  readonly path: string;
}

/** Spec: an attachment is a container, an interface and a network. */
export const keyOf = (network: string, containerId: string, ifname: string): string =>
  createHash('sha256').update(`${network}\0${containerId}\0${ifname}`).digest('hex');

/** The result object of ADD. What it did is undone when it throws, or the signal aborts. */
export async function add(deps: VerbDeps, call: VerbCall, signal: AbortSignal): Promise<object> {
  const { conf, ifname } = call;
  const network = readyNetwork(deps, conf.overlay ?? null);
  const pod = parseArgs(call.args);
  parsePath(call.path);
  checkNetns(call.netns);
  const key = keyOf(conf.name, call.containerId, ifname);
  await clearLeftover(deps, key, call);
  const host = hostInterfaceOf(key);
  const type = delegatedType(conf);
  if (type !== null) find(type, call.path); // nothing was begun that it would have to take back
  const addresses = type === null ? ownAddresses(deps, network) : [];
  const record: AttachmentRecord = {
    version: 1,
    key,
    state: 'adding',
    bootId: deps.bootId,
    network: conf.name,
    overlay: network.overlay,
    containerId: call.containerId,
    ifname,
    netns: call.netns,
    hostInterface: host,
    mac: podMac(addresses, key),
    mtu: Math.min(conf.mtu ?? network.mtu, network.mtu),
    bridge: network.bridge,
    addresses: [...addresses],
    delegated: type === null ? null : { type, config: withoutResult(call.config), path: call.path },
    pod,
    addedAtMs: deps.clock.wallNow(),
  };
  deps.store.put(record);
  try {
    const done = await wire(deps, call, network, record);
    if (signal.aborted) throw new CniError('try-again-later', 'the runtime gave up');
    deps.store.put({ ...done, state: 'ready' });
    return formatResult(conf.cniVersion, attachedBy(done, conf), conf.prevResult ?? null);
  } catch (error) {
    await release(deps, deps.store.get(key) ?? record, call).catch((again: unknown) => {
      // The record stays: DEL, which follows, and reconciliation try again.
      deps.log.warn('attachment not taken back', {
        device: host,
        error: toCniError(again).message,
      });
    });
    throw error;
  }
}

/** Addresses of another plugin where one is named, then the pair of interfaces. */
async function wire(
  deps: VerbDeps,
  call: VerbCall,
  network: PodNetwork,
  record: AttachmentRecord,
): Promise<AttachmentRecord> {
  let whole = record;
  if (record.delegated !== null) {
    const given = await delegate(record.delegated.type, callOf('ADD', call), call.config);
    const addresses = delegatedAddresses(record.delegated.type, given, network);
    whole = { ...record, addresses, mac: podMac(addresses, record.key) };
    deps.store.put(whole);
  }
  const wiring = wiringOf(network, whole);
  try {
    await attach(deps.exec, wiring);
  } catch (error) {
    const { message, details } = toCniError(error);
    if (!/Cannot find device|Device does not exist|argument ".*" is wrong/.test(message + details))
      throw error;
    // Somebody removed the bridge of the pods, or the MTU's port: made again once.
    await detach(deps.exec, whole.hostInterface);
    await deps.networks.repair(network.overlay);
    await attach(deps.exec, wiring);
  }
  return whole;
}

/** A record of the same attachment: a second ADD is an error, what is left of a dead one goes. */
async function clearLeftover(deps: VerbDeps, key: string, call: VerbCall): Promise<void> {
  const old = deps.store.get(key);
  if (old === undefined) return;
  const lives = isNetns(old.netns) && (await linkIn(deps.exec, '', old.hostInterface)) !== null;
  if (lives && old.state === 'ready') {
    const message = `container ${call.containerId} has interface ${call.ifname} of network ${call.conf.name}`;
    throw new CniError('interface-exists', message);
  }
  await release(deps, old, call);
}

/** Success when there is nothing (any more). A failure leaves the record for the next try. */
export async function del(deps: VerbDeps, call: VerbCall): Promise<void> {
  const key = keyOf(call.conf.name, call.containerId, call.ifname);
  const record = deps.store.get(key);
  if (record !== undefined) {
    await release(deps, record, call);
    return;
  }
  // The state may have been lost: the interface's name follows from the call alone.
  await detach(deps.exec, hostInterfaceOf(key));
  const type = delegatedType(call.conf);
  if (type !== null) await delegate(type, callOf('DEL', call), call.config);
}

/** Interfaces first: an address is free when nobody can use it any more. */
export async function release(
  deps: VerbDeps,
  record: AttachmentRecord,
  call: Pick<VerbCall, 'args'> | null,
): Promise<void> {
  await detach(deps.exec, record.hostInterface);
  if (record.delegated !== null) {
    const { type, config, path } = record.delegated;
    const { containerId, ifname } = record;
    const netns = isNetns(record.netns) ? record.netns : '';
    const args = call?.args ?? '';
    await delegate(type, { command: 'DEL', containerId, netns, ifname, args, path }, config);
  }
  deps.store.remove(record.key);
}

/** Whether ADD would succeed now. 50: no; 51: and what is attached is cut off too. */
export async function status(deps: VerbDeps, call: VerbCall): Promise<void> {
  const { conf } = call;
  const network = deps.networks.find(conf.overlay ?? null);
  if ('notYet' in network) throw new CniError('not-available', network.notYet);
  if (!network.isUp) {
    throw new CniError(
      'limited-connectivity',
      `overlay ${network.overlay} is down: its tunnels do not serve`,
    );
  }
  const type = delegatedType(conf);
  if (type !== null) await delegate(type, callOf('STATUS', call), call.config);
  else if (!deps.store.hasFree(network.ranges.map(({ range }) => range))) {
    throw new CniError(
      'not-available',
      `no address is free in a range of overlay ${network.overlay}`,
    );
  }
}

function readyNetwork(deps: VerbDeps, overlay: OverlayId | null): PodNetwork {
  const network = deps.networks.find(overlay);
  if ('notYet' in network) throw new CniError('try-again-later', network.notYet);
  return network;
}

/** Addresses of our own, one of each range, and where they go. */
function ownAddresses(deps: VerbDeps, network: PodNetwork): readonly PodAddress[] {
  const chosen = deps.store.choose(network.ranges.map(({ range }) => range));
  return network.ranges.map(({ gateway, onLink }, index) => ({
    address: `${chosen[index]}/${onLink}`,
    gateway,
  }));
}

/** A plugin that names no gateway leaves it to us: ours, of the family. */
function delegatedAddresses(type: string, given: PluginResult, network: PodNetwork): PodAddress[] {
  const addresses = (given.ips ?? []).map(({ address, gateway }) => {
    const six = address.includes(':');
    const own = network.ranges.find(({ range }) => (range.family === 6) === six)?.gateway;
    return { address, gateway: gateway ?? own ?? '' };
  });
  if (addresses.length === 0 || addresses.some(({ gateway }) => gateway === '')) {
    throw new CniError('delegated-ipam', `${type} gave no address with a gateway`);
  }
  return addresses;
}

/** The address plugin that is not ours, or null. */
export const delegatedType = (conf: NetConf): string | null => {
  const type = conf.ipam?.type;
  return type === undefined || type === 'evio' || type === conf.type ? null : type;
};

export const callOf = (command: string, call: VerbCall): DelegateCall => ({
  command,
  containerId: call.containerId,
  netns: call.netns,
  ifname: call.ifname,
  args: call.args,
  path: call.path,
});

/** What frees addresses later needs no result, which may be large. */
function withoutResult(config: string): string {
  const value: unknown = JSON.parse(config);
  return JSON.stringify(value, (key, inner: unknown) => (key === 'prevResult' ? undefined : inner));
}

const wiringOf = (network: PodNetwork, record: AttachmentRecord): Wiring => ({
  hostInterface: record.hostInterface,
  hostMac: hostMac(record.key),
  ifname: record.ifname,
  mac: record.mac,
  netns: record.netns,
  bridge: network.bridge,
  mtu: record.mtu,
  alias: aliasOf(record.key),
  addresses: record.addresses,
});

const attachedBy = (record: AttachmentRecord, conf: NetConf): Attached => ({
  interfaces: [
    { name: record.hostInterface, mac: hostMac(record.key), mtu: record.mtu, sandbox: '' },
    { name: record.ifname, mac: record.mac, mtu: record.mtu, sandbox: record.netns },
  ],
  ips: record.addresses,
  routes: record.addresses.map(({ gateway }) => ({
    dst: gateway.includes(':') ? '::/0' : '0.0.0.0/0',
    gw: gateway,
  })),
  dns: conf.dns ?? {},
});
