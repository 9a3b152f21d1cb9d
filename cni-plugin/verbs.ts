/**
 * ADD, DEL, CHECK, GC and STATUS of the CNI specification. Owns their order: first the record, then
 * the kernel, then the answer; back in reverse. One attachment is worked on by one call at a time,
 * which the caller sees to.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import type { Exec } from '../base/exec.ts';
import type { OverlayId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import {
  attach,
  checkNetns,
  defaultRoutesIn,
  detach,
  hostLinks,
  type IpLink,
  isNetns,
  join,
  linkIn,
} from './attach.ts';
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

/** Throws what differs between the result of ADD and what is there. */
export async function check(deps: VerbDeps, call: VerbCall): Promise<void> {
  const { conf, ifname, netns } = call;
  const expected = conf.prevResult ?? null;
  if (expected === null) throw new CniError('invalid-config', 'prevResult: is required for CHECK');
  checkNetns(netns);
  const key = keyOf(conf.name, call.containerId, ifname);
  const record = deps.store.get(key);
  if (record === undefined) throw differs(`container ${call.containerId} is not attached`);
  const [host, inside] = await Promise.all([
    linkIn(deps.exec, '', record.hostInterface),
    linkIn(deps.exec, netns, ifname),
  ]);
  if (host === null) throw differs(`interface ${record.hostInterface} is not on the host`);
  if (host.master !== record.bridge) {
    throw differs(`interface ${record.hostInterface} is not a port of ${record.bridge}`);
  }
  if (inside === null) throw differs(`interface ${ifname} is not in ${netns}`);
  if (inside.flags?.includes('UP') !== true) throw differs(`interface ${ifname} is down`);
  if (inside.address !== record.mac)
    throw differs(`interface ${ifname} has mac ${inside.address}, not ${record.mac}`);
  const present = new Set(inside.addr_info?.map((a) => `${a.local}/${a.prefixlen}`));
  for (const { address } of ownIps(expected, ifname)) {
    if (!present.has(address))
      throw differs(`interface ${ifname} does not have address ${address}`);
  }
  for (const { gateway } of record.addresses) {
    const routes = await defaultRoutesIn(deps.exec, netns, gateway.includes(':') ? 6 : 4);
    if (!routes.some((route) => route.gateway === gateway))
      throw differs(`no default route via ${gateway}`);
  }
  const type = delegatedType(conf);
  if (type !== null) await delegate(type, callOf('CHECK', call), call.config);
}

const differs = (what: string): CniError => new CniError('check-failed', what);

/** The addresses of a result that are of our interface: others of the chain may have added theirs. */
function ownIps(result: PluginResult, ifname: string): readonly { readonly address: string }[] {
  const index = result.interfaces?.findLastIndex(
    (each) => each.name === ifname && (each.sandbox ?? '') !== '',
  );
  return (result.ips ?? []).filter((ip) => ip.interface === undefined || ip.interface === index);
}

/** Releases what is not among the valid attachments. Without a list only what is dead goes. */
export async function collect(
  deps: VerbDeps,
  call: VerbCall,
  isBusy: (key: string) => boolean,
): Promise<void> {
  const { conf } = call;
  const given = conf['cni.dev/valid-attachments'] ?? conf['cni.dev/attachments'] ?? null;
  const valid =
    given === null ? null : new Set(given.map((a) => keyOf(conf.name, a.containerID, a.ifname)));
  const failures: unknown[] = [];
  if (valid !== null) {
    for (const record of deps.store.list().filter((each) => each.network === conf.name)) {
      if (valid.has(record.key) || isBusy(record.key)) continue;
      await release(deps, record, null).catch((error: unknown) => failures.push(error));
    }
  }
  await reconcile(deps, isBusy);
  const type = delegatedType(conf);
  if (type !== null && valid !== null) await delegate(type, callOf('GC', call), call.config);
  if (failures.length > 0) throw failures[0];
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

/**
 * Brings records and kernel together: frees what ADD had begun when we ended, and what no namespace
 * holds any more; removes interfaces of ours that nobody knows. Returns how many were released.
 * A record lives as long as its interface or its namespace is there.
 */
export async function reconcile(deps: VerbDeps, isBusy: (key: string) => boolean): Promise<number> {
  const links = await hostLinks(deps.exec);
  const present = new Set(links.map(({ ifname }) => ifname));
  let released = 0;
  for (const record of deps.store.list()) {
    if (isBusy(record.key)) continue;
    const isOfThisBoot = record.bootId === deps.bootId;
    const isBegun = record.state === 'adding';
    const lives = isOfThisBoot && (present.has(record.hostInterface) || isNetns(record.netns));
    if (lives && !isBegun) continue;
    try {
      await release(deps, record, null);
      released += 1;
      deps.log.info('attachment released', {
        device: record.hostInterface,
        name: record.pod?.name ?? record.containerId,
        reason: isBegun ? 'it was never answered' : 'its namespace is gone',
      });
    } catch (error) {
      deps.log.warn('attachment not released', {
        device: record.hostInterface,
        error: toCniError(error).message,
      });
    }
  }
  await putBack(deps, links);
  const known = new Set(deps.store.list().map(({ hostInterface }) => hostInterface));
  for (const { ifname, ifalias } of links) {
    const key = /^evio:cni:([0-9a-f]{64})$/.exec(ifalias ?? '')?.[1];
    if (key === undefined || known.has(ifname) || isBusy(key) || deps.store.get(key) !== undefined)
      continue;
    await detach(deps.exec, ifname);
    deps.log.info('interface of no attachment removed', { device: ifname });
  }
  return released;
}

/** A bridge that was removed and made again has lost its ports: the pods' are put back. */
async function putBack(deps: VerbDeps, links: readonly IpLink[]): Promise<void> {
  for (const { hostInterface, bridge } of deps.store.list()) {
    const link = links.find(({ ifname }) => ifname === hostInterface);
    if (link === undefined || link.master === bridge) continue;
    try {
      await join(deps.exec, hostInterface, bridge);
      deps.log.info('interface put back on its bridge', { device: hostInterface });
    } catch (error) {
      // The bridge may not be there yet; the next time it is.
      deps.log.debug('interface not put back', {
        device: hostInterface,
        error: toCniError(error).details,
      });
    }
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

const delegatedType = (conf: NetConf): string | null => {
  const type = conf.ipam?.type;
  return type === undefined || type === 'evio' || type === conf.type ? null : type;
};

const callOf = (command: string, call: VerbCall): DelegateCall => ({
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
