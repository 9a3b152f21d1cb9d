/**
 * Names and addresses of the devices of an overlay. Owns how they are formed; makes nothing.
 */
import { InterfaceName, Mac, type NodeId, type OverlayId } from '../../../base/ids.ts';

export const tapName = (overlay: OverlayId): InterfaceName => InterfaceName.parse(`ev-${overlay}`);
export const bridgeName = (overlay: OverlayId): InterfaceName =>
  InterfaceName.parse(`evbr-${overlay}`);

/** The alias (ip-link(8) `alias`) by which a device is known as ours, also after a crash. */
export const ownerAlias = (overlay: OverlayId): string => `evio:${overlay}`;

/**
 * The Ethernet address of the device that holds the host's addresses: from the node id, so that
 * neighbours' caches stay right over a restart; locally administered, unicast.
 */
export function hostMac(node: NodeId, hashByte: number): Mac {
  const tail = node.slice(0, 8).match(/../g) ?? [];
  return Mac.parse(['02', hashByte.toString(16).padStart(2, '0'), ...tail].join(':'));
}
