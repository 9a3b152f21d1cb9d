/**
 * The kernel's side of an attachment: veth pair, addresses, routes; and what of it is there. Carries
 * out `core/plan.ts` with as few processes as can be: a pod waits for each. Decides nothing.
 */
import { readFileSync, statfsSync, statSync } from 'node:fs';
import { z } from 'zod';
import { messageOf } from '../base/errors.ts';
import type { Exec } from '../base/exec.ts';
import { runIp } from '../base/ip-batch.ts';
import { CniError } from './cni-error.ts';
import {
  hostInterfacePrefix,
  type IpCommand,
  planDetach,
  planHost,
  planPod,
  planPort,
  type Wiring,
} from './core/plan.ts';

/** Longest time for one batch: the kernel's lock on networking may be held by others. */
const timeoutMs = 15_000;
/** Magic number of the file system of namespaces (statfs(2)). */
const nsfsMagic = 0x6e736673;

/** Of this boot of the kernel. */
export const readBootId = (): string =>
  readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();

/** Throws unless the path is a network namespace other than this one. */
export function checkNetns(path: string): void {
  if (path === '') throw new CniError('invalid-environment', 'CNI_NETNS is not set');
  if (!/^\/[^\s"'\\#]{1,4000}$/.test(path)) {
    throw new CniError(
      'invalid-environment',
      `CNI_NETNS is ${JSON.stringify(path.slice(0, 120))}, not an absolute path without spaces`,
    );
  }
  let kind: number;
  try {
    kind = statfsSync(path).type;
  } catch (error) {
    throw new CniError(
      'unknown-container',
      `network namespace ${path} does not exist`,
      messageOf(error),
      { cause: error },
    );
  }
  if (kind !== nsfsMagic) {
    throw new CniError('unknown-container', `${path} is not a network namespace`);
  }
  if (isOwnNetns(path)) {
    throw new CniError(
      'invalid-environment',
      `CNI_NETNS ${path} is the network namespace of the host`,
    );
  }
}

function isOwnNetns(path: string): boolean {
  const [theirs, own] = [statSync(path), statSync('/proc/self/ns/net')];
  return theirs.ino === own.ino && theirs.dev === own.dev;
}

/** Whether the path is (still) a namespace. */
export function isNetns(path: string): boolean {
  try {
    return statfsSync(path).type === nsfsMagic;
  } catch {
    return false; // it is gone, which is the answer
  }
}

/** Makes the pair and sets the pod's end up. What a failure leaves, `detach` removes. */
export async function attach(exec: Exec, wiring: Wiring): Promise<void> {
  await addPair(exec, wiring);
  try {
    await setUpPod(exec, wiring);
  } catch (error) {
    const hasIpv6 = wiring.addresses.some(({ address }) => address.includes(':'));
    if (!hasIpv6 || !/Permission denied|IPv6 is disabled/.test(messageOf(error))) throw error;
    await allowIpv6(exec, wiring);
    await setUpPod(exec, wiring);
  }
}

const inside = (netns: string): readonly string[] => ['nsenter', `--net=${netns}`, '--'];

const setUpPod = (exec: Exec, wiring: Wiring): Promise<void> =>
  runIp(exec, planPod(wiring), { before: inside(wiring.netns), timeoutMs });

/** Some runtimes make namespaces with IPv6 off. /proc/sys/net is that of who opens it. */
async function allowIpv6(exec: Exec, { netns, ifname }: Wiring): Promise<void> {
  const file = `/proc/sys/net/ipv6/conf/${ifname}/disable_ipv6`;
  await exec([...inside(netns), 'sh', '-c', 'echo 0 >"$1"', 'sh', file], { timeoutMs });
}

async function addPair(exec: Exec, wiring: Wiring): Promise<void> {
  try {
    await runIp(exec, planHost(wiring), { timeoutMs });
  } catch (error) {
    if (!isFirstCommand(error) || !/File exists/.test(messageOf(error))) throw error;
    const message = `interface ${wiring.ifname} exists in ${wiring.netns}`;
    throw new CniError('interface-exists', message, '', { cause: error });
  }
}

/** `ip` names the line of a batch that failed. */
const isFirstCommand = (error: unknown): boolean => /Command failed -:1\b/.test(messageOf(error));

/** Removes the pair by its host end; no error when there is none. */
export async function detach(exec: Exec, hostInterface: string): Promise<void> {
  try {
    await exec(['ip', ...planDetach(hostInterface)], { timeoutMs });
  } catch (error) {
    if (!/Cannot find device/.test(messageOf(error))) throw error;
  }
}

/** Makes a host end a port of its bridge (again). */
export const join = (exec: Exec, hostInterface: string, bridge: string): Promise<void> =>
  runIp(exec, planPort(hostInterface, bridge), { timeoutMs });

/** Changes the MTU of both ends. */
export async function setMtu(
  exec: Exec,
  { hostInterface, netns, ifname }: { hostInterface: string; netns: string; ifname: string },
  mtu: number,
): Promise<void> {
  const set = (device: string): IpCommand => ['link', 'set', 'dev', device, 'mtu', String(mtu)];
  await runIp(exec, [set(hostInterface)], { timeoutMs });
  await runIp(exec, [set(ifname)], { before: inside(netns), timeoutMs });
}

const IpLink = z.object({
  ifname: z.string(),
  ifalias: z.string().optional(),
  address: z.string().optional(),
  mtu: z.number().optional(),
  master: z.string().optional(),
  flags: z.array(z.string()).optional(),
  addr_info: z
    .array(z.object({ local: z.string().optional(), prefixlen: z.number().optional() }))
    .optional(),
});
export type IpLink = z.infer<typeof IpLink>;

const parseLinks = (output: string): readonly IpLink[] =>
  z
    .array(z.unknown())
    .parse(JSON.parse(output === '' ? '[]' : output))
    .map((each) => IpLink.safeParse(each))
    .flatMap((each) => (each.success ? [each.data] : [])); // ip prints {} for what it filtered

/** Our veths on the host, each with its alias. */
export async function hostLinks(exec: Exec): Promise<readonly IpLink[]> {
  const links = parseLinks(
    await exec(['ip', '-json', 'link', 'show', 'type', 'veth'], { timeoutMs }),
  );
  return links.filter(({ ifname }) => ifname.startsWith(hostInterfacePrefix));
}

/** An interface with its addresses, of the host or of a namespace; null when it is not there. */
export async function linkIn(exec: Exec, netns: string, name: string): Promise<IpLink | null> {
  const before = netns === '' ? [] : inside(netns);
  try {
    const output = await exec([...before, 'ip', '-json', 'address', 'show', 'dev', name], {
      timeoutMs,
    });
    return parseLinks(output)[0] ?? null;
  } catch (error) {
    if (/does not exist|Cannot find device/.test(messageOf(error))) return null;
    throw error;
  }
}

const IpRoute = z.object({
  dst: z.string(),
  gateway: z.string().optional(),
  dev: z.string().optional(),
});

/** Default routes of a namespace. */
export async function defaultRoutesIn(
  exec: Exec,
  netns: string,
  family: 4 | 6,
): Promise<readonly z.infer<typeof IpRoute>[]> {
  const command = [
    'nsenter',
    `--net=${netns}`,
    '--',
    'ip',
    '-json',
    `-${family}`,
    'route',
    'show',
    'default',
  ];
  const output = await exec(command, { timeoutMs });
  return z.array(IpRoute).parse(JSON.parse(output.trim() === '' ? '[]' : output));
}
