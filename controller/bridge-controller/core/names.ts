/**
 * Names and addresses of the devices of an overlay. Owns how they are formed; makes nothing.
 */
import { InterfaceName, Mac, type NodeId, type OverlayId } from '../../../base/ids.ts';

export const tapName = (overlay: OverlayId): InterfaceName => InterfaceName.parse(`ev-${overlay}`);
export const bridgeName = (overlay: OverlayId): InterfaceName =>
  InterfaceName.parse(`evbr-${overlay}`);
/** The bridge for applications: `evap`, since names have at most 15 characters. */
export const appBridgeName = (overlay: OverlayId): InterfaceName =>
  InterfaceName.parse(`evap-${overlay}`);
/** The two ends of the patch between them: on the bridge of the TAP, and on that of applications. */
export const patchNames = (overlay: OverlayId): { inner: InterfaceName; outer: InterfaceName } => ({
  inner: InterfaceName.parse(`evpi-${overlay}`),
  outer: InterfaceName.parse(`evpo-${overlay}`),
});

/** The alias (ip-link(8) `alias`) by which a device is known as ours, also after a crash. */
export const ownerAlias = (overlay: OverlayId): string => `evio:${overlay}`;

/**
 * The Ethernet address of the device that holds the host's addresses: from the node id, so that
 * neighbours' caches stay right over a restart; locally administered, unicast.
 */
export const hostMac = (node: NodeId, hashByte: number): Mac => macFrom('02', node, hashByte);

/** The address of the bridge of the TAP when another bridge holds the host's addresses. */
export const innerMac = (node: NodeId, hashByte: number): Mac => macFrom('06', node, hashByte);

function macFrom(first: string, node: NodeId, hashByte: number): Mac {
  const tail = node.slice(0, 8).match(/../g) ?? [];
  return Mac.parse([first, hashByte.toString(16).padStart(2, '0'), ...tail].join(':'));
}
