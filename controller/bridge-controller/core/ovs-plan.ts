/**
 * What has to be done so that the devices of an overlay are as wanted, with Open vSwitch bridges:
 * pure, from what `ovs-vsctl` and `ip -json` showed. Our bridges are known by `evio-overlay` in
 * their external_ids; another of the same name is never touched.
 */
import type { InterfaceName, OverlayId } from '../../../base/ids.ts';
import {
  type BridgeWish,
  type DeviceWish,
  find,
  foreignDevice,
  holderOf,
  type IpCommand,
  isOurs,
  type ObservedDevice,
  planDeletion,
  type Refusal,
  refuseAddresses,
} from './devices.ts';
import {
  flush,
  planAddresses,
  planAlias,
  planMtu,
  planNoBridge,
  planTap,
  planUp,
  portMtu,
} from './links.ts';
import { appBridgeName, bridgeName, patchNames } from './names.ts';

/** Open vSwitch's forwarding: in the kernel by its module, or in ovs-vswitchd. */
export type DatapathType = 'system' | 'netdev';

export interface OvsWish extends DeviceWish {
  readonly bridge: BridgeWish;
  readonly datapathType: DatapathType;
}

/** A bridge as the database of Open vSwitch has it. */
export interface ObservedOvsBridge {
  readonly name: string;
  /** `evio-overlay` of its external_ids, or empty. */
  readonly overlay: string;
  /** Empty is the same as `system`. */
  readonly datapathType: string;
  readonly mac: string;
  readonly spanningTree: boolean;
  /** Of its own port; null when none is asked for. */
  readonly mtuRequest: number | null;
  /** Names of its ports, the own included. */
  readonly ports: readonly string[];
}

/** Arguments of `ovs-vsctl`; all commands of a plan are one transaction. */
export type OvsCommand = readonly string[];

export type OvsPlan =
  | {
      readonly kind: 'do';
      /** In this order: `ip`, `ovs-vsctl`, `ip`. */
      readonly before: readonly IpCommand[];
      readonly database: readonly OvsCommand[];
      readonly after: readonly IpCommand[];
    }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

type Devices = readonly ObservedDevice[];
type Bridges = readonly ObservedOvsBridge[];

export function planOvs(wish: OvsWish, devices: Devices, bridges: Bridges): OvsPlan {
  const refusal = refuse(wish, devices, bridges);
  if (refusal !== null) return { kind: 'refused', refusal };
  const { overlay, tap, mtu, bridge, app } = wish;
  const seen = find(devices, tap);
  const wanted = [bridge, ...(app === null ? [] : [app])];
  // A device of that name outside the database, or of another forwarding, is not there afterwards.
  const kept = (name: string): ObservedDevice | undefined => {
    const known = bridges.find((b) => b.name === name);
    return known !== undefined && sameType(known, wish) ? find(devices, name) : undefined;
  };
  const { inner, outer } = patchNames(overlay);
  const leftover = [inner, outer, appBridgeName(overlay), bridgeName(overlay)].filter(
    (name) => !bridges.some((b) => b.name === name),
  );
  const holder = holderOf(wish);
  return {
    kind: 'do',
    before: [
      ...planDeletion(overlay, leftover, devices),
      ...planTap(overlay, tap, seen),
      ...planNoBridge(tap, seen),
      ...(seen === undefined ? [['link', 'set', 'dev', tap, 'addrgenmode', 'none']] : []),
      ...(seen === undefined || seen.addresses.length === 0 ? [] : [flush(tap)]),
      ...planMtu(tap, portMtu(mtu), seen),
      ...planUp(tap, seen),
    ],
    database: [
      ...planDatabase(wish, bridge, bridges),
      ...planPort(tap, bridge, bridges),
      ...(app === null
        ? planNoApp(wish, bridges)
        : [
            ...planDatabase(wish, app, bridges),
            ...planPatch(inner, outer, bridge, bridges),
            ...planPatch(outer, inner, app, bridges),
          ]),
    ],
    after: [
      ...wanted.flatMap(({ name }) => [
        ...(isOurs(kept(name), overlay) ? [] : [planAlias(overlay, name)]),
        ...planUp(name, kept(name)),
      ]),
      ...planAddresses(holder, wish.addresses, kept(holder)?.addresses ?? []),
    ],
  };
}

/** Removes those of our bridges that are named. */
export const planOvsRemoval = (
  overlay: OverlayId,
  names: readonly InterfaceName[],
  bridges: Bridges,
): readonly OvsCommand[] =>
  names
    .filter((name) => bridges.some((b) => b.name === name && b.overlay === overlay))
    .map((name) => ['del-br', name]);

/** Takes the port of the patch away that a bridge keeps when the other one is removed. */
export const planUnpatch = (
  overlay: OverlayId,
  bridge: InterfaceName,
  bridges: Bridges,
): readonly OvsCommand[] => {
  const { inner, outer } = patchNames(overlay);
  const ports = bridges.find((b) => b.name === bridge && b.overlay === overlay)?.ports ?? [];
  return [inner, outer].filter((p) => ports.includes(p)).map((p) => ['del-port', bridge, p]);
};

function refuse(wish: OvsWish, devices: Devices, bridges: Bridges): Refusal | null {
  const { overlay, tap, bridge, app } = wish;
  const names = [bridge.name, ...(app === null ? [] : [app.name])];
  for (const name of names) {
    const known = bridges.find((b) => b.name === name);
    const device = find(devices, name);
    if (known !== undefined && known.overlay !== overlay) {
      return {
        code: 'host.device-foreign',
        message: `open vswitch bridge ${name} exists and was not made by evio; remove it with "ovs-vsctl del-br ${name}" or rename the overlay`,
      };
    }
    if (known === undefined && device !== undefined && !isOurs(device, overlay)) {
      return foreignDevice(device, `ip link delete ${name}`);
    }
  }
  const there = find(devices, tap);
  if (there !== undefined && (!isOurs(there, overlay) || there.kind !== 'tun')) {
    return foreignDevice(there, `ip link delete ${tap}`);
  }
  const { inner, outer } = patchNames(overlay);
  const ports = [tap, ...(app === null ? [] : [inner, outer])];
  const taken = bridges.find(
    (b) => b.overlay !== overlay && b.ports.some((p) => ports.some((q) => q === p)),
  );
  if (taken !== undefined) {
    const port = taken.ports.find((p) => ports.some((q) => q === p)) ?? '';
    return {
      code: 'host.device-foreign',
      message: `${port} is a port of open vswitch bridge ${taken.name}, which is not of this overlay; remove it with "ovs-vsctl del-port ${taken.name} ${port}"`,
    };
  }
  const own = [tap, bridgeName(overlay), appBridgeName(overlay)].filter(
    (name) =>
      isOurs(find(devices, name), overlay) ||
      bridges.some((b) => b.name === name && b.overlay === overlay),
  );
  return refuseAddresses(wish, own, devices);
}

const sameType = (known: ObservedOvsBridge, { datapathType }: OvsWish): boolean =>
  (known.datapathType || 'system') === datapathType;

/** A bridge with all its settings; no controller, so that it learns and forwards by itself. */
function planDatabase(
  wish: OvsWish,
  { name, mac, mtu, spanningTree }: BridgeWish,
  bridges: Bridges,
): OvsCommand[] {
  const known = bridges.find((b) => b.name === name);
  const settings = [
    ...(known === undefined ? [`external_ids:${ownerKey}=${wish.overlay}`] : []),
    ...(known !== undefined && sameType(known, wish) ? [] : [`datapath_type=${wish.datapathType}`]),
    ...(known?.mac === mac ? [] : [`other_config:hwaddr="${mac}"`]),
    ...((known?.spanningTree ?? false) === spanningTree ? [] : [`stp_enable=${spanningTree}`]),
  ];
  return [
    ...(known === undefined ? [['add-br', name]] : []),
    ...(settings.length === 0 ? [] : [['set', 'bridge', name, ...settings]]),
    ...(known?.mtuRequest === mtu ? [] : [['set', 'interface', name, `mtu_request=${mtu}`]]),
  ];
}

/** Key of external_ids by which a bridge is known as ours. */
export const ownerKey = 'evio-overlay';

const planPort = (port: InterfaceName, bridge: BridgeWish, bridges: Bridges): OvsCommand[] =>
  bridges.some((b) => b.name === bridge.name && b.ports.includes(port))
    ? []
    : [['add-port', bridge.name, port]];

function planPatch(
  port: InterfaceName,
  peer: InterfaceName,
  bridge: BridgeWish,
  bridges: Bridges,
): OvsCommand[] {
  const add = planPort(port, bridge, bridges);
  return add.length === 0
    ? []
    : [...add, ['set', 'interface', port, 'type=patch', `options:peer=${peer}`]];
}

/** An application bridge of an earlier configuration goes. */
const planNoApp = ({ overlay, bridge }: OvsWish, bridges: Bridges): readonly OvsCommand[] => [
  ...planOvsRemoval(overlay, [appBridgeName(overlay)], bridges),
  ...planUnpatch(overlay, bridge.name, bridges),
];
