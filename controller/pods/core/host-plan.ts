/**
 * What the host needs so that pods reach each other: a bridge with the gateway addresses, routes to
 * the other nodes' ranges, and one table of masquerading. Owns names, our routing protocol number
 * and the texts of commands; runs nothing, touches nothing that is not ours.
 */
import {
  type Address,
  covers,
  type Family,
  formatAddress,
  formatRange,
  parseInterface,
  type Range,
} from '../../../base/cidr.ts';
import { InterfaceName, type OverlayId } from '../../../base/ids.ts';

/** In rtnetlink's `protocol` field: by it a route is known as ours, also after a crash. */
export const routeProtocol = 157;

export const podBridgeName = (overlay: OverlayId): InterfaceName =>
  InterfaceName.parse(`evpd-${overlay}`);
const podBridgeAlias = (overlay: OverlayId): string => `evio:pods:${overlay}`;
const tableName = (overlay: OverlayId): string => `evio_pods_${overlay}`;

/** Arguments of `ip`, one command. */
export type IpCommand = readonly string[];

/** A device as `ip -json -details address show` lists it. */
export interface SeenDevice {
  readonly name: string;
  readonly alias: string;
  readonly mtu: number;
  readonly isUp: boolean;
  /** `address/length`, link-local ones left out. */
  readonly addresses: readonly string[];
}

export interface BridgeWish {
  readonly overlay: OverlayId;
  readonly mac: string;
  readonly mtu: number;
  /** `10.42.1.1/24` */
  readonly gateways: readonly string[];
}

/** The bridge of the pods, made or set right; or why not. */
export function planPodBridge(
  wish: BridgeWish,
  seen: SeenDevice | undefined,
): { readonly commands: readonly IpCommand[] } | { readonly foreign: string } {
  const name = podBridgeName(wish.overlay);
  const alias = podBridgeAlias(wish.overlay);
  if (seen !== undefined && seen.alias !== alias) {
    return {
      foreign: `device ${name} exists and was not made by evio; remove it with "ip link delete ${name}"`,
    };
  }
  const made: IpCommand[] =
    seen === undefined
      ? [
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
          ['link', 'set', 'dev', name, 'alias', alias],
        ]
      : [];
  const mtu: IpCommand[] =
    seen?.mtu === wish.mtu ? [] : [['link', 'set', 'dev', name, 'mtu', String(wish.mtu)]];
  const up: IpCommand[] = seen?.isUp === true ? [] : [['link', 'set', 'dev', name, 'up']];
  return {
    commands: [...made, ...mtu, ...up, ...planGateways(name, wish.gateways, seen?.addresses ?? [])],
  };
}

/** Adds what is missing; what an earlier range left goes, but not what others put there (/32, /128). */
function planGateways(
  name: string,
  wanted: readonly string[],
  present: readonly string[],
): IpCommand[] {
  return [
    ...wanted
      .filter((each) => !present.includes(each))
      .map((each) => [
        'address',
        'add',
        each,
        'dev',
        name,
        ...(each.includes(':') ? ['nodad'] : []),
      ]),
    ...present
      .filter((each) => !wanted.includes(each) && !/\/(32|128)$/.test(each))
      .map((each) => ['address', 'delete', each, 'dev', name]),
  ];
}

/** Where the overlay's own bridge has the pods: the gateway as a host address, the pool on its link. */
export function planBridged(
  bridge: string,
  gateways: readonly Address[],
  present: readonly string[],
): IpCommand[] {
  return gateways
    .map((gateway) => `${formatAddress(gateway)}/${gateway.family === 4 ? 32 : 128}`)
    .filter((text) => !present.includes(text))
    .map((text) => [
      'address',
      'add',
      text,
      'dev',
      bridge,
      ...(text.includes(':') ? ['nodad'] : []),
    ]);
}

/** A route of ours: `via` null where the range is on the link of the device. */
export interface RouteWish {
  readonly range: Range;
  readonly via: Address | null;
  readonly device: string;
}

/** A route as `ip -json route show` lists it. */
export interface SeenRoute {
  readonly dst: string;
  readonly gateway: string | null;
  readonly device: string;
}

export const routeKey = (range: Range): string => formatRange(range);

/** Commands that make our routes the wanted ones; those of `spared` ranges stay for now. */
export function planRoutes(
  wanted: readonly RouteWish[],
  seen: readonly SeenRoute[],
  spared: ReadonlySet<string>,
): IpCommand[] {
  const protocol = ['proto', String(routeProtocol)];
  const keys = new Set(wanted.map(({ range }) => routeKey(range)));
  const gone = seen.filter(({ dst }) => !keys.has(dst) && !spared.has(dst));
  const missing = wanted.filter(
    ({ range, via, device }) =>
      !seen.some(
        (route) =>
          route.dst === routeKey(range) &&
          route.device === device &&
          route.gateway === (via === null ? null : formatAddress(via)),
      ),
  );
  return [
    ...gone.map(({ dst, device }) => ['route', 'delete', dst, 'dev', device, ...protocol]),
    ...missing.map(({ range, via, device }) => [
      ...['route', 'replace', routeKey(range)],
      ...(via === null ? [] : ['via', formatAddress(via)]),
      ...['dev', device, ...protocol],
      ...(via === null ? [] : ['onlink']),
    ]),
  ];
}

/** Never masqueraded, whatever the cluster is: they do not leave the link, or are answered nowhere. */
const local: Readonly<Record<Family, readonly string[]>> = {
  4: ['127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4', '255.255.255.255/32'],
  6: ['::1/128', 'fe80::/10', 'ff00::/8'],
};

/**
 * The text for `nft -f -`: one transaction that replaces our table. What this node's pods send to
 * the cluster keeps its source, so that policies and logs see who it was; all else would find no way
 * back. `own` empty: the table goes.
 */
export function masqueradeRules(
  overlay: OverlayId,
  own: readonly Range[],
  cluster: readonly Range[],
): string {
  const table = `inet ${tableName(overlay)}`;
  const fresh = `add table ${table}\ndelete table ${table}\n`;
  const families = ([4, 6] as const).filter((family) => own.some((each) => each.family === family));
  if (families.length === 0) return fresh;
  const sets = families.flatMap((family) => {
    const ours = own.filter((each) => each.family === family);
    const inside = cluster.filter((each) => each.family === family);
    const all = [...ours, ...inside].map(formatRange);
    return [
      nftSet(`own${family}`, family, withoutCovered(ours).map(formatRange)),
      nftSet(`cluster${family}`, family, [...new Set([...all, ...local[family]])]),
    ];
  });
  const rules = families.map((family) => {
    const ip = family === 4 ? 'ip' : 'ip6';
    return `    ${ip} saddr @own${family} ${ip} daddr != @cluster${family} counter masquerade`;
  });
  return `${fresh}table ${table} {\n${sets.join('\n')}\n  chain postrouting {\n    type nat hook postrouting priority srcnat; policy accept;\n${rules.join('\n')}\n  }\n}\n`;
}

const nftSet = (name: string, family: Family, elements: readonly string[]): string =>
  `  set ${name} {\n    type ${family === 4 ? 'ipv4_addr' : 'ipv6_addr'}; flags interval; auto-merge;\n    elements = { ${elements.join(', ')} }\n  }`;

const withoutCovered = (ranges: readonly Range[]): readonly Range[] =>
  ranges.filter((each) => !ranges.some((other) => other !== each && covers(other, each)));

/** The ranges that a device is on. */
export const rangesOn = (device: SeenDevice): readonly Range[] =>
  device.addresses
    .map((text) => parseInterface(text)?.range)
    .filter((range) => range !== undefined);
