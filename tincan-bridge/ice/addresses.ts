/**
 * Which IP addresses may take part in ICE: ours by interface, a peer's by kind. Owns the reading of
 * the interface list; opens nothing.
 */
import { BlockList, isIP } from 'node:net';
import { networkInterfaces } from 'node:os';

/** Interfaces that are ours, whatever the operator lists: the overlay must not run over itself. */
const ownInterfaces = ['ev-*', 'evbr-*', 'evap-*', 'evpd-*', 'evc*'];

/** Host addresses of one family that become candidates; each costs a socket for each session. */
const maxAddressesPerFamily = 4;

export type AddressKind =
  | 'loopback'
  | 'unspecified'
  | 'multicast'
  | 'link-local'
  | 'private'
  | 'global';

type Subnets = ReadonlyArray<readonly [string, number]>;
const kinds: ReadonlyArray<readonly [AddressKind, Subnets]> = [
  [
    'loopback',
    [
      ['127.0.0.0', 8],
      ['::1', 128],
    ],
  ],
  [
    'unspecified',
    [
      ['0.0.0.0', 8],
      ['::', 128],
    ],
  ],
  [
    'multicast',
    [
      ['224.0.0.0', 4],
      ['240.0.0.0', 4],
      ['ff00::', 8],
    ],
  ],
  [
    'link-local',
    [
      ['169.254.0.0', 16],
      ['fe80::', 10],
    ],
  ],
  // RFC 1918, RFC 6598 (carrier grade NAT), RFC 4193.
  [
    'private',
    [
      ['10.0.0.0', 8],
      ['172.16.0.0', 12],
      ['192.168.0.0', 16],
      ['100.64.0.0', 10],
      ['fc00::', 7],
    ],
  ],
];

const lists = kinds.map(([kind, subnets]) => ({ kind, list: blockListOf(subnets) }));

/** The kind of a literal address, or null when it is none (or IPv4 inside IPv6, which no peer needs). */
export function addressKind(address: string): AddressKind | null {
  const family = isIP(address);
  if (family === 0 || (family === 6 && /^::(ffff:)?[0-9]+\./i.test(address))) return null;
  const type = family === 4 ? 'ipv4' : 'ipv6';
  if (family === 6 && mapped.check(address, type)) return null;
  return lists.find(({ list }) => list.check(address, type))?.kind ?? 'global';
}

/** `::ffff:0:0/96`, IPv4 in disguise. */
const mapped = blockListOf([['::ffff:0:0', 96]]);

function blockListOf(subnets: Subnets): BlockList {
  const list = new BlockList();
  for (const [net, prefix] of subnets)
    list.addSubnet(net, prefix, isIP(net) === 4 ? 'ipv4' : 'ipv6');
  return list;
}

/** Whether a name matches a pattern; a trailing `*` matches any rest. */
export const matchesInterface = (name: string, pattern: string): boolean =>
  pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern;

const isOwn = (name: string): boolean => ownInterfaces.some((p) => matchesInterface(name, p));

/** Addresses of this host that may become candidates, IPv4 first; loopback only for tests. */
export function hostAddresses(ignored: readonly string[], loopback: boolean): readonly string[] {
  const found = { 4: new Set<string>(), 6: new Set<string>() };
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    if (isOwn(name) || ignored.some((pattern) => matchesInterface(name, pattern))) continue;
    for (const { address } of addresses ?? []) {
      const kind = addressKind(address);
      const usable = kind === 'global' || kind === 'private' || (loopback && kind === 'loopback');
      if (usable) found[isIP(address) === 4 ? 4 : 6].add(address);
    }
  }
  const first = (family: 4 | 6): string[] => [...found[family]].slice(0, maxAddressesPerFamily);
  return [...first(4), ...first(6)];
}

/** The subnets on our own overlay interfaces: a peer's candidate inside them would loop. */
export function overlaySubnets(): BlockList {
  const subnets: Array<readonly [string, number]> = [];
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    if (!isOwn(name)) continue;
    for (const { address, cidr } of addresses ?? []) {
      if (addressKind(address) === 'link-local') continue;
      subnets.push([address, Number(cidr?.split('/')[1] ?? 128)]);
    }
  }
  return blockListOf(subnets);
}
