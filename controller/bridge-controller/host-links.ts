/**
 * Network devices of the host by ip(8): what is there, and changes to it. Owns the parsing of
 * `ip -json`; decides nothing.
 */
import { access, constants, readFile, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { EvioError } from '../../base/errors.ts';
import type { Exec } from '../../base/exec.ts';
import type { InterfaceName } from '../../base/ids.ts';
import { find, type ObservedDevice } from './core/devices.ts';

/** The part of `ip -json -details address show` that is used; the rest is not ours to check. */
const IpDevice = z.object({
  ifname: z.string().optional(),
  ifalias: z.string().optional(),
  address: z.string().optional(),
  mtu: z.number().optional(),
  flags: z.array(z.string()).optional(),
  master: z.string().optional(),
  linkinfo: z
    .object({
      info_kind: z.string().optional(),
      info_data: z.object({ stp_state: z.number().optional() }).optional(),
    })
    .optional(),
  addr_info: z
    .array(
      z.object({
        local: z.string().optional(),
        prefixlen: z.number().optional(),
        scope: z.string().optional(),
      }),
    )
    .optional(),
});

export async function observeDevices(exec: Exec): Promise<readonly ObservedDevice[]> {
  const output = await exec(['ip', '-json', '-details', 'address', 'show']);
  return z
    .array(IpDevice)
    .parse(JSON.parse(output === '' ? '[]' : output))
    .filter((d) => d.ifname !== undefined)
    .map((d) => ({
      name: d.ifname ?? '',
      alias: d.ifalias ?? '',
      kind: d.linkinfo?.info_kind ?? '',
      mac: d.address ?? '',
      mtu: d.mtu ?? 0,
      up: d.flags?.includes('UP') ?? false,
      master: d.master ?? '',
      spanningTree: (d.linkinfo?.info_data?.stp_state ?? 0) !== 0,
      addresses: (d.addr_info ?? [])
        .filter((a) => a.local !== undefined && a.scope !== 'link')
        .map((a) => `${a.local}/${a.prefixlen}`),
    }));
}

/**
 * A new TAP's frames go into its own ring at once: a queueing discipline before it holds nothing and
 * costs some percent of a stream. One that an operator sets later stays. Without tc(8) the device is
 * only slower.
 */
export async function spareQueue(
  exec: Exec,
  tap: InterfaceName,
  before: readonly ObservedDevice[],
): Promise<void> {
  if (find(before, tap) !== undefined) return;
  await exec(['tc', 'qdisc', 'replace', 'dev', tap, 'root', 'noqueue']).catch(() => {});
}

/** Overlay peers must not give this host a default route: router advertisements are not accepted. */
export const refuseRouterAdvertisements = (device: InterfaceName): Promise<void> =>
  setSysctl(`ipv6/conf/${device}/accept_ra`, '0');

/**
 * The kernel's own stack sees each frame on the bridge below the one for applications too, and on a
 * port of Open vSwitch's userspace datapath, which reads by a packet socket: it would answer ARP
 * with the wrong address and deliver broadcasts twice. So there it answers for no address, and takes
 * nothing from sources that are routed another way, which all are.
 */
export async function keepStackOff(device: InterfaceName): Promise<void> {
  await setSysctl(`ipv4/conf/${device}/arp_ignore`, '8');
  await setSysctl(`ipv4/conf/${device}/rp_filter`, '1');
  await setSysctl(`ipv6/conf/${device}/disable_ipv6`, '1');
}

/** For a device that was so in an earlier configuration and holds the addresses now. */
export async function letStackOn(device: InterfaceName): Promise<void> {
  const conf = '/proc/sys/net/ipv4/conf';
  const was = await readFile(`${conf}/${device}/arp_ignore`, 'utf8').catch(() => '');
  if (was.trim() !== '8') return; // never was one, or is in a namespace that is not ours
  await setSysctl(`ipv4/conf/${device}/arp_ignore`, '0');
  await setSysctl(`ipv4/conf/${device}/rp_filter`, '0');
  await setSysctl(`ipv6/conf/${device}/disable_ipv6`, '0');
}

async function setSysctl(name: string, value: string): Promise<void> {
  try {
    await writeFile(`/proc/sys/net/${name}`, value);
  } catch (error) {
    // No IPv6 in this kernel or a read-only /proc (container): nothing that this process could change.
    if (!(error instanceof Error)) throw error;
  }
}

/**
 * Throws `host.no-tun` or `host.not-permitted` with the capability that is missing, before anything
 * on the host is touched.
 */
export async function checkHost(): Promise<void> {
  try {
    await access('/dev/net/tun', constants.F_OK);
  } catch (error) {
    throw new EvioError('host.no-tun', '/dev/net/tun does not exist', { cause: error });
  }
  const status = await readFile('/proc/self/status', 'utf8');
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? '0'}`);
  if ((effective & (1n << capNetAdmin)) === 0n) {
    throw new EvioError(
      'host.not-permitted',
      'CAP_NET_ADMIN is missing: it is needed for TAP devices, bridges and addresses',
    );
  }
  try {
    await access('/dev/net/tun', constants.R_OK | constants.W_OK);
  } catch (error) {
    throw new EvioError(
      'host.not-permitted',
      '/dev/net/tun cannot be opened for reading and writing',
      {
        cause: error,
      },
    );
  }
}

/** Bit of CAP_NET_ADMIN in the capability sets (capabilities(7)). */
const capNetAdmin = 12n;
