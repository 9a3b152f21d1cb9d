/**
 * What has to be done on the host so that the devices of an overlay are as wanted, with Linux
 * bridges or none: pure, from what `ip -json` showed. Our devices are known by their alias; a device
 * of the same name without it is never touched.
 */
import {
  type BridgeWish,
  type DeviceWish,
  find,
  foreignDevice,
  holderOf,
  type IpCommand,
  isOurs,
  type ObservedDevice,
  ownNames,
  planDeletion,
  type Refusal,
  refuseAddresses,
} from './devices.ts';
import {
  planAddresses,
  planAlias,
  planMac,
  planMtu,
  planNoBridge,
  planPort,
  planTap,
  planUp,
  portMtu,
} from './links.ts';
import { patchNames } from './names.ts';

export type LinuxPlan =
  | { readonly kind: 'do'; readonly commands: readonly IpCommand[] }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

type Observed = readonly ObservedDevice[];

export function planLinux(wish: DeviceWish, observed: Observed): LinuxPlan {
  const refusal = refuse(wish, observed);
  if (refusal !== null) return { kind: 'refused', refusal };
  const { overlay, tap, mtu, bridge, app } = wish;
  const seen = find(observed, tap);
  const holder = holderOf(wish);
  const wanted = new Set(kindsOf(wish).map(([name]) => name));
  const leftover = ownNames(overlay).filter((name) => !wanted.has(name));
  return {
    kind: 'do',
    commands: [
      ...planTap(overlay, tap, seen),
      ...(bridge === null
        ? [...planNoBridge(tap, seen), ...planMac(tap, wish.mac, seen)]
        : [
            ...planBridge(wish, bridge, find(observed, bridge.name)),
            ...planPort(tap, bridge.name, seen),
          ]),
      ...planMtu(tap, bridge === null ? mtu : portMtu(mtu), seen),
      ...planUp(tap, seen),
      ...(bridge === null || app === null ? [] : planApp(wish, bridge, app, observed)),
      ...planAddresses(holder, wish.addresses, find(observed, holder)?.addresses ?? []),
      ...planDeletion(overlay, leftover, observed),
    ],
  };
}

/** The devices that are wanted, each with its kind. */
function kindsOf({
  overlay,
  tap,
  bridge,
  app,
}: DeviceWish): readonly (readonly [string, string])[] {
  const { inner, outer } = patchNames(overlay);
  return [
    [tap, 'tun'],
    ...(bridge === null ? [] : [[bridge.name, 'bridge'] as const]),
    ...(app === null
      ? []
      : ([
          [app.name, 'bridge'],
          [inner, 'veth'],
          [outer, 'veth'],
        ] as const)),
  ];
}

function refuse(wish: DeviceWish, observed: Observed): Refusal | null {
  for (const [name, kind] of kindsOf(wish)) {
    const device = find(observed, name);
    if (device === undefined || (isOurs(device, wish.overlay) && device.kind === kind)) continue;
    return foreignDevice(device, `ip link delete ${name}`);
  }
  // What is left of an earlier configuration goes, its addresses too.
  const own = ownNames(wish.overlay).filter((name) => isOurs(find(observed, name), wish.overlay));
  return refuseAddresses(wish, own, observed);
}

function planBridge(
  wish: DeviceWish,
  { name, mac, mtu, spanningTree }: BridgeWish,
  seen: ObservedDevice | undefined,
): IpCommand[] {
  // Without a spanning tree there are no loops: no forwarding delay either. With one it is that of
  // IEEE 802.1D, in hundredths of a second; the kernel refuses 0 while the tree is on.
  const tree: readonly (readonly string[])[] = spanningTree
    ? [['stp_state', '1', 'forward_delay', '1500']]
    : [
        ['stp_state', '0'],
        ['forward_delay', '0'],
      ];
  const made: IpCommand[] =
    seen === undefined
      ? [
          ['link', 'add', 'name', name, 'address', mac, 'type', 'bridge', ...tree.flat()],
          planAlias(wish.overlay, name),
        ]
      : [
          ...planMac(name, mac, seen),
          ...(seen.spanningTree === spanningTree
            ? []
            : tree.map((what) => ['link', 'set', 'dev', name, 'type', 'bridge', ...what])),
        ];
  return [...made, ...planMtu(name, mtu, seen), ...planUp(name, seen)];
}

/** The bridge for applications, and the veth pair that patches it to the bridge of the TAP. */
function planApp(
  wish: DeviceWish,
  bridge: BridgeWish,
  app: BridgeWish,
  observed: Observed,
): IpCommand[] {
  const { inner, outer } = patchNames(wish.overlay);
  const pair = find(observed, inner) === undefined;
  return [
    ...planBridge(wish, app, find(observed, app.name)),
    ...(pair
      ? [
          ['link', 'add', 'name', inner, 'type', 'veth', 'peer', 'name', outer],
          planAlias(wish.overlay, inner),
          planAlias(wish.overlay, outer),
        ]
      : []),
    ...[[inner, bridge] as const, [outer, app] as const].flatMap(([name, to]) => {
      const seen = find(observed, name);
      // The kernel gives a bridge the smallest MTU of its ports, unless it was set.
      return [
        ...planPort(name, to.name, seen),
        ...planMtu(name, portMtu(bridge.mtu), seen),
        ...planUp(name, seen),
      ];
    }),
  ];
}
