/**
 * Commands for single devices, the same for every provider: from what is there to what is wanted.
 * Owns the arguments of `ip`; decides nothing about which devices there are.
 */
import type { InterfaceName, OverlayId } from '../../../base/ids.ts';
import type { IpCommand, ObservedDevice } from './devices.ts';
import { ownerAlias } from './names.ts';

type Seen = ObservedDevice | undefined;

const set = (name: InterfaceName, ...what: readonly string[]): IpCommand => [
  ...['link', 'set', 'dev', name],
  ...what,
];

export const planTap = (overlay: OverlayId, name: InterfaceName, seen: Seen): IpCommand[] =>
  seen === undefined
    ? [['tuntap', 'add', 'dev', name, 'mode', 'tap', 'vnet_hdr'], planAlias(overlay, name)]
    : [];

export const planAlias = (overlay: OverlayId, name: InterfaceName): IpCommand =>
  set(name, 'alias', ownerAlias(overlay));

export const planMac = (name: InterfaceName, mac: string, seen: Seen): IpCommand[] =>
  seen?.mac === mac ? [] : [set(name, 'address', mac)];

export const planMtu = (name: InterfaceName, mtu: number, seen: Seen): IpCommand[] =>
  seen?.mtu === mtu ? [] : [set(name, 'mtu', String(mtu))];

/**
 * A bridge drops what is wider than a port of it, in silence. So the TAP, and what patches bridges to
 * each other, take what any guest sends, and the switch behind the TAP answers "too big"; and they
 * take what comes from a node whose paths carry more than ours. The bridge device, by which this host
 * itself sends, has the MTU of the paths.
 */
export const portMtu = (mtu: number): number => Math.max(mtu, 9_000);

export const planUp = (name: InterfaceName, seen: Seen): IpCommand[] =>
  seen?.up === true ? [] : [set(name, 'up')];

/** A device that stands alone leaves the bridge of an earlier configuration. */
export const planNoBridge = (name: InterfaceName, seen: Seen): IpCommand[] =>
  seen === undefined || seen.master === '' ? [] : [set(name, 'nomaster')];

/** A port needs no link-local address; the port's own would only confuse the neighbours. */
export const planPort = (name: InterfaceName, bridge: InterfaceName, seen: Seen): IpCommand[] =>
  seen?.master === bridge
    ? []
    : [set(name, 'addrgenmode', 'none'), set(name, 'master', bridge), flush(name)];

export const flush = (name: InterfaceName): IpCommand => ['address', 'flush', 'dev', name];

/**
 * Adds what is missing and removes what an earlier configuration left. Link-local addresses, and
 * the /32 and /128 ones that other programs put on a device, are not ours to remove.
 */
export function planAddresses(
  name: InterfaceName,
  wanted: readonly string[],
  present: readonly string[],
): IpCommand[] {
  const host = (a: string): boolean => a.endsWith('/32') || a.endsWith('/128');
  return [
    ...present
      .filter((a) => !wanted.includes(a) && !host(a))
      .map((a) => ['address', 'delete', a, 'dev', name]),
    ...wanted
      .filter((a) => !present.includes(a))
      .map((a) => [
        ...['address', 'add', a, 'dev', name],
        // Addresses are the operator's; detection would hold IPv6 back until a carrier has been seen.
        ...(a.includes(':') ? ['nodad'] : []),
      ]),
  ];
}
