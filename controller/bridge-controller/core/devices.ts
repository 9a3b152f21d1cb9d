/**
 * The words of the plans: what is wanted on the host, what was seen there, what is to be done. Owns
 * the refusals that all providers share; plans nothing.
 */
import type { InterfaceName, Mac, OverlayId } from '../../../base/ids.ts';
import { appBridgeName, bridgeName, ownerAlias, patchNames, tapName } from './names.ts';

/** A bridge that is wanted. */
export interface BridgeWish {
  readonly name: InterfaceName;
  readonly mac: Mac;
  readonly mtu: number;
  /** IEEE 802.1D spanning tree. */
  readonly spanningTree: boolean;
}

/** How the operator wants the host side. */
export interface DeviceWish {
  readonly overlay: OverlayId;
  readonly tap: InterfaceName;
  readonly mtu: number;
  /** Of the device that holds the host's addresses. */
  readonly mac: Mac;
  /** The bridge that the TAP is a port of; null: none (BridgeProvider VNIC). */
  readonly bridge: BridgeWish | null;
  /** The bridge for applications, patched to it; it then holds the host's addresses. */
  readonly app: BridgeWish | null;
  /** `address/prefix` of the host. */
  readonly addresses: readonly string[];
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
  /** Of a Linux bridge. */
  readonly spanningTree: boolean;
  /** `address/prefix`, without link-local ones. */
  readonly addresses: readonly string[];
}

export interface Refusal {
  readonly code: 'host.device-foreign' | 'host.address-in-use';
  readonly message: string;
}

/** Arguments of `ip`, one command each, in order. */
export type IpCommand = readonly string[];

/** The device that holds the host's addresses. */
export const holderOf = ({ app, bridge, tap }: DeviceWish): InterfaceName =>
  app?.name ?? bridge?.name ?? tap;

/** All names that devices of the overlay may have; of a veth pair one end stands for both. */
export const ownNames = (overlay: OverlayId): readonly InterfaceName[] => [
  patchNames(overlay).inner,
  patchNames(overlay).outer,
  appBridgeName(overlay),
  bridgeName(overlay),
  tapName(overlay),
];

export const isOurs = (device: ObservedDevice | undefined, overlay: OverlayId): boolean =>
  device?.alias === ownerAlias(overlay);

export function foreignDevice(device: ObservedDevice, hint: string): Refusal {
  const what = device.kind === '' ? 'hardware' : device.kind;
  return {
    code: 'host.device-foreign',
    message: `device ${device.name} (${what}) exists and was not made by evio; remove it with "${hint}" or rename the overlay`,
  };
}

/** Refuses an address that a device other than `own` has. */
export function refuseAddresses(
  wish: DeviceWish,
  own: readonly string[],
  observed: readonly ObservedDevice[],
): Refusal | null {
  for (const address of wish.addresses) {
    const bare = bareAddress(address);
    const other = observed.find(
      (d) => !own.includes(d.name) && d.addresses.some((a) => bareAddress(a) === bare),
    );
    if (other === undefined) continue;
    return {
      code: 'host.address-in-use',
      message: `address ${bare} of overlay ${wish.overlay} is in use on device ${other.name}`,
    };
  }
  return null;
}

const bareAddress = (address: string): string => address.replace(/\/.*$/, '');

/** Deletes those of our devices that are there; the second end of a veth pair goes with the first. */
export function planDeletion(
  overlay: OverlayId,
  names: readonly InterfaceName[],
  observed: readonly ObservedDevice[],
): IpCommand[] {
  const { inner, outer } = patchNames(overlay);
  return names
    .filter((name) => isOurs(find(observed, name), overlay))
    .filter((name, _, all) => name !== outer || !all.includes(inner))
    .map((name) => ['link', 'delete', 'dev', name]);
}

export const find = (
  observed: readonly ObservedDevice[],
  name: string,
): ObservedDevice | undefined => observed.find((d) => d.name === name);

/** What goes when a node stops: the TAP with its bridge, and the bridge for applications. */
export interface Removal {
  readonly devices: boolean;
  readonly app: boolean;
}
