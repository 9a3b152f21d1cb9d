/**
 * The host as the pods' plans see and change it, by ip(8), nft(8) and /proc/sys. Owns the parsing of
 * what they print; decides nothing.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { EvioError, messageOf } from '../../base/errors.ts';
import type { Exec } from '../../base/exec.ts';
import { routeProtocol, type SeenDevice, type SeenRoute } from './core/host-plan.ts';

const IpDevice = z.object({
  ifname: z.string(),
  ifalias: z.string().optional(),
  mtu: z.number().optional(),
  flags: z.array(z.string()).optional(),
  addr_info: z
    .array(z.object({ local: z.string(), prefixlen: z.number(), scope: z.string().optional() }))
    .optional(),
});

const jsonArray = (output: string): readonly unknown[] =>
  z.array(z.unknown()).parse(JSON.parse(output.trim() === '' ? '[]' : output));

export async function seeDevices(exec: Exec): Promise<readonly SeenDevice[]> {
  return jsonArray(await exec(['ip', '-json', '-details', 'address', 'show']))
    .map((each) => IpDevice.safeParse(each))
    .flatMap((each) => (each.success ? [each.data] : []))
    .map((device) => ({
      name: device.ifname,
      alias: device.ifalias ?? '',
      mtu: device.mtu ?? 0,
      isUp: device.flags?.includes('UP') ?? false,
      addresses: (device.addr_info ?? [])
        .filter(({ scope }) => scope !== 'link')
        .map(({ local, prefixlen }) => `${local}/${prefixlen}`),
    }));
}

const IpRoute = z.object({
  dst: z.string(),
  gateway: z.string().optional(),
  dev: z.string().optional(),
});

/** Our routes by one device. */
export async function seeRoutes(exec: Exec, device: string): Promise<readonly SeenRoute[]> {
  const routes: SeenRoute[] = [];
  for (const family of ['-4', '-6']) {
    const filter = ['proto', String(routeProtocol), 'dev', device];
    const output = await exec(['ip', '-json', family, 'route', 'show', ...filter]);
    for (const each of jsonArray(output)) {
      const { dst, gateway = null } = IpRoute.parse(each);
      const length = family === '-4' ? 32 : 128;
      routes.push({ dst: dst.includes('/') ? dst : `${dst}/${length}`, gateway, device });
    }
  }
  return routes;
}

export async function loadRules(exec: Exec, rules: string): Promise<void> {
  try {
    await exec(['nft', '-f', '-'], { input: rules });
  } catch (error) {
    if (!/ENOENT/.test(messageOf(error))) throw error;
    const message = 'nft is not installed (package nftables); it is needed to masquerade';
    throw new EvioError('host.command-failed', message, { cause: error });
  }
}

/** Settings of the kernel below /proc/sys/net, so that tests need not change those of a machine. */
export interface Sysctls {
  /** Empty where the kernel has no such setting. */
  read(name: string): Promise<string>;
  /** Throws where it may only be read, as in a container. */
  write(name: string, value: string): Promise<void>;
  /** Names of the devices that IPv6 knows. */
  devices(): Promise<readonly string[]>;
}

export const hostSysctls: Sysctls = {
  read: (name) =>
    readFile(`/proc/sys/net/${name}`, 'utf8').then(
      (text) => text.trim(),
      () => '', // the kernel has no such family
    ),
  write: (name, value) => writeFile(`/proc/sys/net/${name}`, value),
  devices: () => readdir('/proc/sys/net/ipv6/conf').catch(() => []),
};

/**
 * Makes the host a router. IPv6 then ignores router advertisements where it obeyed them, which may
 * be how this host got its own default route: there it goes on to obey. Returns what could not be
 * set: the host may forward for another reason.
 */
export async function forwardPackets(
  sysctls: Sysctls,
  hasIpv6: boolean,
): Promise<readonly string[]> {
  const missing = [await set(sysctls, 'ipv4/ip_forward', '1')];
  if (hasIpv6 && (await sysctls.read('ipv6/conf/all/forwarding')) !== '1') {
    for (const device of await sysctls.devices()) {
      const name = `ipv6/conf/${device}/accept_ra`;
      if ((await sysctls.read(name)) === '1') missing.push(await set(sysctls, name, '2'));
    }
    missing.push(await set(sysctls, 'ipv6/conf/all/forwarding', '1'));
  }
  return missing.filter((each) => each !== null);
}

/**
 * A service's packets may come and go by the overlay's device: whoever sent them must not be told to
 * take another way, which only this host's translation makes. The kernel ORs the setting of `all`
 * with the device's own, which the others keep.
 */
export async function sendNoRedirects(
  sysctls: Sysctls,
  device: string,
): Promise<readonly string[]> {
  const names = ['all/send_redirects', `${device}/send_redirects`, `${device}/accept_redirects`];
  const missing: (string | null)[] = [];
  for (const name of names) missing.push(await set(sysctls, `ipv4/conf/${name}`, '0'));
  return missing.filter((each) => each !== null);
}

/** Null, or what is missing, in words. */
async function set(sysctls: Sysctls, name: string, value: string): Promise<string | null> {
  if ((await sysctls.read(name)) === value) return null;
  return sysctls.write(name, value).then(
    () => null,
    (error: unknown) => `net/${name} cannot be set to ${value}: ${messageOf(error)}`,
  );
}
