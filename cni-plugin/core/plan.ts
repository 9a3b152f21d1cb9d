/**
 * The commands of ip(8) that attach a pod: a veth pair between the node's bridge and the pod's
 * namespace, addresses, routes. Owns names and arguments; runs nothing.
 */

/** Arguments of `ip`, one command each. */
export type IpCommand = readonly string[];

export interface PodAddress {
  /** `10.42.1.5/24`: with the length that is on the link. */
  readonly address: string;
  readonly gateway: string;
}

export interface Wiring {
  readonly hostInterface: string;
  readonly hostMac: string;
  readonly ifname: string;
  readonly mac: string;
  readonly netns: string;
  readonly bridge: string;
  readonly mtu: number;
  /** By which a veth of the host is known as ours. */
  readonly alias: string;
  readonly addresses: readonly PodAddress[];
}

/** Our veths on the host start so; eleven digits of the attachment's key follow. */
export const hostInterfacePrefix = 'evc';
export const hostInterfaceOf = (key: string): string => `${hostInterfacePrefix}${key.slice(0, 11)}`;
export const aliasOf = (key: string): string => `evio:cni:${key}`;

/**
 * From the IPv4 address where there is one, so that who is given an address after another pod is
 * found at once: neighbours' caches stay right. Else from the attachment's key.
 */
export function podMac(addresses: readonly PodAddress[], key: string): string {
  const four = addresses.find(({ address }) => !address.includes(':'));
  const bytes =
    four === undefined
      ? key.slice(0, 8).match(/../g)
      : four.address
          .replace(/\/.*$/, '')
          .split('.')
          .map((part) => Number(part).toString(16).padStart(2, '0'));
  return ['0a', '58', ...(bytes ?? [])].join(':');
}

export const hostMac = (key: string): string =>
  ['0e', ...(key.slice(0, 10).match(/../g) ?? [])].join(':');

/** In the host's namespace. The pair is the first command: one that fails leaves nothing. */
export function planHost(wiring: Wiring): IpCommand[] {
  const { hostInterface: host, hostMac: mac, mtu, ifname, netns, bridge, alias } = wiring;
  const size = String(mtu);
  const peer = ['peer', 'name', ifname, 'address', wiring.mac, 'mtu', size, 'netns', netns];
  return [
    ['link', 'add', 'name', host, 'address', mac, 'mtu', size, 'type', 'veth', ...peer],
    ['link', 'set', 'dev', host, 'alias', alias],
    ['link', 'set', 'dev', host, 'addrgenmode', 'none'],
    ...planPort(host, bridge),
    ['link', 'set', 'dev', host, 'up'],
  ];
}

/** Hairpin: a service may send a pod's packet back to the pod that sent it. */
export const planPort = (host: string, bridge: string): IpCommand[] => [
  ['link', 'set', 'dev', host, 'master', bridge],
  ['link', 'set', 'dev', host, 'type', 'bridge_slave', 'hairpin', 'on'],
];

/** In the pod's namespace. Addresses are ours alone: detecting duplicates would only cost a second. */
export function planPod({ ifname, addresses }: Wiring): IpCommand[] {
  return [
    ['link', 'set', 'dev', 'lo', 'up'],
    ['link', 'set', 'dev', ifname, 'up'],
    ...addresses.flatMap(({ address, gateway }): IpCommand[] => {
      const six = address.includes(':');
      return [
        ['address', 'add', address, 'dev', ifname, ...(six ? ['nodad'] : [])],
        ['route', 'replace', six ? '::/0' : '0.0.0.0/0', 'via', gateway, 'dev', ifname],
      ];
    }),
  ];
}

export const planDetach = (hostInterface: string): IpCommand => [
  'link',
  'delete',
  'dev',
  hostInterface,
];
