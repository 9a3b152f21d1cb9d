/**
 * The host as the pods' plans see and change it, by ip(8), nft(8) and /proc/sys. Owns the parsing of
 * what they print; decides nothing.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { EvioError, messageOf } from '../../base/errors.ts';
import type { Exec } from '../../base/exec.ts';
import {
  type IpCommand,
  routeProtocol,
  type SeenDevice,
  type SeenRoute,
} from './core/host-plan.ts';

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

/** Runs the commands in one process, in order; the first failure ends it and is named. */
export async function runIp(exec: Exec, commands: readonly IpCommand[]): Promise<void> {
  if (commands.length === 0) return;
  const lines = commands.map((command) => command.join(' '));
  try {
    await exec(['ip', '-batch', '-'], { input: `${lines.join('\n')}\n` });
  } catch (error) {
    const code = error instanceof EvioError ? error.code : 'host.command-failed';
    const line = Number(/Command failed -:(\d+)/.exec(messageOf(error))?.[1] ?? '0');
    const text = `ip ${lines[line - 1] ?? 'batch'}: ${messageOf(error)}`;
    throw new EvioError(code, text, { cause: error });
  }
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

/**
 * Makes the host a router. IPv6 then ignores router advertisements where it obeyed them, which may
 * be how this host got its own default route: there it goes on to obey. Returns what could not be
 * set, as in a container whose /proc/sys may only be read: the host may forward for another reason.
 */
export async function forwardPackets(hasIpv6: boolean): Promise<readonly string[]> {
  const missing = [await setSysctl('ipv4/ip_forward', '1')];
  if (hasIpv6 && (await readSysctl('ipv6/conf/all/forwarding')) !== '1') {
    for (const device of await readdir('/proc/sys/net/ipv6/conf').catch(() => [])) {
      const name = `ipv6/conf/${device}/accept_ra`;
      if ((await readSysctl(name)) === '1') missing.push(await setSysctl(name, '2'));
    }
    missing.push(await setSysctl('ipv6/conf/all/forwarding', '1'));
  }
  return missing.filter((each) => each !== null);
}

/**
 * A service's packets may come and go by the overlay's device: whoever sent them must not be told to
 * take another way, which only this host's translation makes. The kernel ORs the setting of `all`
 * with the device's own, which the others keep.
 */
export async function sendNoRedirects(device: string): Promise<readonly string[]> {
  const names = ['all/send_redirects', `${device}/send_redirects`, `${device}/accept_redirects`];
  const missing: (string | null)[] = [];
  for (const name of names) missing.push(await setSysctl(`ipv4/conf/${name}`, '0'));
  return missing.filter((each) => each !== null);
}

const readSysctl = (name: string): Promise<string> =>
  readFile(`/proc/sys/net/${name}`, 'utf8').then(
    (text) => text.trim(),
    () => '', // not there: the kernel has no such family
  );

/** Null, or what is missing, in words. */
async function setSysctl(name: string, value: string): Promise<string | null> {
  if ((await readSysctl(name)) === value) return null;
  return writeFile(`/proc/sys/net/${name}`, value).then(
    () => null,
    (error: unknown) => `net/${name} cannot be set to ${value}: ${messageOf(error)}`,
  );
}
