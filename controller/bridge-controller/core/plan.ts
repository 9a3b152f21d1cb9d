/**
 * What has to be done on the host so that the devices of an overlay are as wanted: pure, from what
 * `ip -json` showed. Owns the commands and the refusals; runs nothing. Our devices are known by
 * their alias; a device of the same name without it is never touched.
 */
import type { InterfaceName, Mac, OverlayId } from '../../../base/ids.ts';
import { ownerAlias } from './names.ts';

/** How the operator wants the host side. Addresses are `address/prefix`. */
export interface DeviceWish {
  readonly overlay: OverlayId;
  readonly tap: InterfaceName;
  /** Null: the address is on the TAP itself (BridgeProvider VNIC). */
  readonly bridge: InterfaceName | null;
  readonly mac: Mac;
  readonly addresses: readonly string[];
  readonly mtu: number;
}

/** A device as `ip -json -details address show` lists it. */
export interface ObservedDevice {
  readonly name: string;
  readonly alias: string;
  /** `linkinfo.info_kind`: tun, bridge, veth …; empty for hardware. */
  readonly kind: string;
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  /** Name of the bridge that it is a port of, or empty. */
  readonly master: string;
  /** `address/prefix`, without link-local ones. */
  readonly addresses: readonly string[];
}

export interface Refusal {
  readonly code: 'host.device-foreign' | 'host.address-in-use';
  readonly message: string;
}

/** Arguments of `ip`, one command each, in order. */
export type IpCommand = readonly string[];

export type DevicePlan =
  | { readonly kind: 'do'; readonly commands: readonly IpCommand[] }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

export function planDevices(wish: DeviceWish, observed: readonly ObservedDevice[]): DevicePlan {
  const refusal = refuse(wish, observed);
  if (refusal !== null) return { kind: 'refused', refusal };
  const tap = observed.find((d) => d.name === wish.tap);
  const bridge = observed.find((d) => d.name === wish.bridge);
  const holder = wish.bridge === null ? tap : bridge;
  const commands = [
    ...planTap(wish, tap),
    ...(wish.bridge === null ? planAlone(wish, tap) : planBridge(wish, wish.bridge, tap, bridge)),
    ...planAddresses(wish.bridge ?? wish.tap, wish.addresses, holder?.addresses ?? []),
  ];
  return { kind: 'do', commands };
}

/** Removes our devices of the overlay, and nothing else. */
export function planRemoval(
  overlay: OverlayId,
  names: readonly InterfaceName[],
  observed: readonly ObservedDevice[],
): readonly IpCommand[] {
  return names
    .filter((name) => observed.some((d) => d.name === name && d.alias === ownerAlias(overlay)))
    .map((name) => ['link', 'delete', 'dev', name]);
}

function refuse(wish: DeviceWish, observed: readonly ObservedDevice[]): Refusal | null {
  const alias = ownerAlias(wish.overlay);
  const expected = [
    { name: wish.tap, kind: 'tun' },
    ...(wish.bridge === null ? [] : [{ name: wish.bridge, kind: 'bridge' }]),
  ];
  for (const { name, kind } of expected) {
    const device = observed.find((d) => d.name === name);
    if (device === undefined || (device.alias === alias && device.kind === kind)) continue;
    const what = device.kind === '' ? 'hardware' : device.kind;
    return {
      code: 'host.device-foreign',
      message: `device ${name} (${what}) exists and was not made by evio; remove it with "ip link delete ${name}" or rename the overlay`,
    };
  }
  const own = new Set<string>(expected.map((e) => e.name));
  for (const address of wish.addresses) {
    const bare = bareAddress(address);
    const other = observed.find(
      (d) => !own.has(d.name) && d.addresses.some((a) => bareAddress(a) === bare),
    );
    if (other !== undefined) {
      return {
        code: 'host.address-in-use',
        message: `address ${bare} of overlay ${wish.overlay} is in use on device ${other.name}`,
      };
    }
  }
  return null;
}

const bareAddress = (address: string): string => address.replace(/\/.*$/, '');

function planTap(wish: DeviceWish, tap: ObservedDevice | undefined): IpCommand[] {
  if (tap !== undefined) return [];
  return [
    ['tuntap', 'add', 'dev', wish.tap, 'mode', 'tap', 'vnet_hdr'],
    ['link', 'set', 'dev', wish.tap, 'alias', ownerAlias(wish.overlay)],
  ];
}

/** The address is on the TAP itself. */
function planAlone(wish: DeviceWish, tap: ObservedDevice | undefined): IpCommand[] {
  const commands: IpCommand[] = [];
  if (tap !== undefined && tap.master !== '') {
    commands.push(['link', 'set', 'dev', wish.tap, 'nomaster']);
  }
  if (tap?.mac !== wish.mac) commands.push(['link', 'set', 'dev', wish.tap, 'address', wish.mac]);
  if (tap?.mtu !== wish.mtu) {
    commands.push(['link', 'set', 'dev', wish.tap, 'mtu', String(wish.mtu)]);
  }
  if (tap?.up !== true) commands.push(['link', 'set', 'dev', wish.tap, 'up']);
  return commands;
}

/**
 * A Linux bridge drops what is wider than the port that it must leave by, in silence. So the TAP takes
 * what any guest sends, and the switch behind it answers "too big"; the bridge device, by which this
 * host itself sends, has the MTU of the paths.
 */
const widestPort = 9_000;

function planBridge(
  wish: DeviceWish,
  name: InterfaceName,
  tap: ObservedDevice | undefined,
  bridge: ObservedDevice | undefined,
): IpCommand[] {
  const commands: IpCommand[] = [];
  if (bridge === undefined) {
    commands.push(
      // No spanning tree and no forwarding delay: the overlay behind the TAP has no loops of its own.
      [
        'link',
        'add',
        'name',
        name,
        'address',
        wish.mac,
        'type',
        'bridge',
        'stp_state',
        '0',
        'forward_delay',
        '0',
      ],
      ['link', 'set', 'dev', name, 'alias', ownerAlias(wish.overlay)],
    );
  } else if (bridge.mac !== wish.mac) {
    commands.push(['link', 'set', 'dev', name, 'address', wish.mac]);
  }
  if (tap === undefined || tap.master !== name) {
    // A port needs no link-local address; the TAP's own would only confuse the neighbours.
    commands.push(['link', 'set', 'dev', wish.tap, 'addrgenmode', 'none']);
    commands.push(['link', 'set', 'dev', wish.tap, 'master', name]);
    commands.push(['address', 'flush', 'dev', wish.tap]);
  }
  const portMtu = Math.max(wish.mtu, widestPort);
  if (tap?.mtu !== portMtu) {
    commands.push(['link', 'set', 'dev', wish.tap, 'mtu', String(portMtu)]);
  }
  if (bridge?.mtu !== wish.mtu) {
    commands.push(['link', 'set', 'dev', name, 'mtu', String(wish.mtu)]);
  }
  if (tap?.up !== true) commands.push(['link', 'set', 'dev', wish.tap, 'up']);
  if (bridge?.up !== true) commands.push(['link', 'set', 'dev', name, 'up']);
  return commands;
}

/**
 * Adds what is missing and removes what an earlier configuration left. Link-local addresses, and
 * the /32 and /128 ones that other programs put on a device, are not ours to remove.
 */
function planAddresses(
  device: InterfaceName,
  wanted: readonly string[],
  present: readonly string[],
): IpCommand[] {
  const host = (a: string): boolean => a.endsWith('/32') || a.endsWith('/128');
  return [
    ...present
      .filter((a) => !wanted.includes(a) && !host(a))
      .map((a) => ['address', 'delete', a, 'dev', device]),
    ...wanted
      .filter((a) => !present.includes(a))
      .map((a) => [
        'address',
        'add',
        a,
        'dev',
        device,
        // Addresses are the operator's; detection would hold IPv6 back until a carrier has been seen.
        ...(a.includes(':') ? ['nodad'] : []),
      ]),
  ];
}
