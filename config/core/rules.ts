/**
 * The rules between values of the configuration, which a schema of single values cannot say. They
 * look at the raw value, so that a mistake elsewhere hides none. Owns the rules; never reports a
 * value that the schema refuses by itself.
 */
import {
  isSpecial,
  parseInterface,
  parseRange,
  type Range,
  overlaps as rangesOverlap,
} from '../../base/cidr.ts';
import { isIpv4, isIpv6, overlaps, parseIpv4, type Subnet, subnetOf } from './address.ts';
import type { JsonPath } from './json-text.ts';
import { nearest } from './nearest.ts';

export interface Violation {
  readonly path: JsonPath;
  readonly message: string;
  /** The key is wrong, not the value. */
  readonly atKey?: true;
}

type Json = Readonly<Record<string, unknown>>;

const passwordKeys = ['Password', 'PasswordFile', 'PasswordEnv', 'PasswordCredential'];

export function checkRules(value: unknown): readonly Violation[] {
  if (!isObject(value)) return [];
  const overlays = strings(at(value, ['Broker', 'Overlays']));
  return [
    ...checkOverlayNames(value, overlays),
    ...entries(value, ['Signal', 'Overlays']).flatMap(([path, entry]) => checkLogin(path, entry)),
    ...entries(value, ['Trust', 'Overlays']).flatMap(([path, entry]) => checkTrust(path, entry)),
    ...checkTurns(value),
    ...entries(value, ['Topology', 'Overlays']).flatMap(([path, entry]) =>
      checkTopology(path, entry, at(value, ['Broker', 'NodeId'])),
    ),
    ...entries(value, ['BridgeController', 'Overlays']).flatMap(([path, entry]) => [
      ...checkDevice([...path, 'NetDevice'], entry['NetDevice']),
      ...checkDevice([...path, 'AppBridge'], entry['AppBridge']),
      ...checkBridges(path, entry),
    ]),
    ...entries(value, ['Cni', 'Overlays']).flatMap(([path, entry]) => checkCni(value, path, entry)),
    ...checkSubnets(value),
  ];
}

function checkOverlayNames(value: Json, overlays: readonly string[]): Violation[] {
  const violations: Violation[] = [];
  const signals = at(value, ['Signal', 'Overlays']);
  for (const [index, overlay] of overlays.entries()) {
    const path = ['Broker', 'Overlays', index];
    if (overlays.indexOf(overlay) < index) {
      violations.push({ path, message: 'stands twice' });
    } else if (isObject(signals) && !Object.hasOwn(signals, overlay)) {
      violations.push({ path, message: 'has no entry in Signal.Overlays' });
    }
  }
  if (overlays.length === 0) return violations;
  for (const section of ['Signal', 'Trust', 'LinkManager', 'Topology', 'BridgeController', 'Cni']) {
    for (const [path] of entries(value, [section, 'Overlays'])) {
      const name = String(path.at(-1));
      if (overlays.includes(name)) continue;
      const near = nearest(name, overlays);
      const hint = near === null ? '' : `; did you mean ${JSON.stringify(near)}?`;
      violations.push({ path, message: `is not in Broker.Overlays${hint}`, atKey: true });
    }
  }
  return violations;
}

function checkLogin(path: JsonPath, entry: Json): Violation[] {
  if (entry['AuthenticationMethod'] !== 'x509') {
    const unused = ['CertFile', 'KeyFile'].filter((key) => Object.hasOwn(entry, key));
    return [
      ...checkPassword(path, entry),
      ...unused.map((key): Violation => {
        const message = 'is only for AuthenticationMethod "x509"';
        return { path: [...path, key], message, atKey: true };
      }),
    ];
  }
  const missing = ['CertFile', 'KeyFile'].filter((key) => !Object.hasOwn(entry, key));
  const unused = passwordKeys.filter((key) => Object.hasOwn(entry, key));
  return [
    ...missing.map((key) => ({ path, message: `needs ${key} for AuthenticationMethod "x509"` })),
    ...unused.map((key): Violation => {
      const message = 'is only for AuthenticationMethod "PASSWORD"';
      return { path: [...path, key], message, atKey: true };
    }),
  ];
}

function checkTrust(path: JsonPath, entry: Json): Violation[] {
  if (entry['Policy'] === 'ca') {
    const missing = ['CaFile', 'CertFile'].filter((key) => !Object.hasOwn(entry, key));
    return missing.map((key) => ({ path, message: `needs ${key} for Policy "ca"` }));
  }
  const unused = ['CaFile', 'CertFile', 'CrlFile'].filter((key) => Object.hasOwn(entry, key));
  return unused.map((key): Violation => {
    return { path: [...path, key], message: 'is only for Policy "ca"', atKey: true };
  });
}

function checkPassword(path: JsonPath, entry: Json): Violation[] {
  const given = passwordKeys.filter((key) => Object.hasOwn(entry, key));
  const [first, ...others] = given;
  if (first === undefined) {
    return [{ path, message: `needs one of ${passwordKeys.join(', ')}` }];
  }
  return others.map((key) => ({
    path: [...path, key],
    message: `is one password too many: ${first} is given too`,
    atKey: true,
  }));
}

function checkTurns(value: Json): Violation[] {
  const lists: JsonPath[] = [
    ['LinkManager', 'Turn'],
    ...entries(value, ['LinkManager', 'Overlays']).map(([path]) => [...path, 'Turn']),
  ];
  return lists.flatMap((path) => {
    const list = at(value, path);
    if (!Array.isArray(list)) return [];
    return list.flatMap((entry: unknown, index) =>
      isObject(entry) ? checkPassword([...path, index], entry) : [],
    );
  });
}

/** A node that says of itself what cannot go together. */
function checkTopology(path: JsonPath, entry: Json, self: unknown): Violation[] {
  const edges = entry['StaticEdges'];
  const own = Array.isArray(edges) && self !== undefined ? edges.indexOf(self) : -1;
  const toItself =
    own < 0 ? [] : [{ path: [...path, 'StaticEdges', own], message: 'is this node itself' }];
  const isLeaf = entry['Role'] === 'Leaf' || entry['Role'] === 'leaf';
  const useless = [
    'MinSuccessors',
    'MaxLongDistEdges',
    'MaxIncomingLongDistEdges',
    'MaxOnDemandEdges',
  ].filter((key) => isLeaf && Object.hasOwn(entry, key));
  return [
    ...toItself,
    ...useless.map((key): Violation => {
      const message = 'is only for Role "Switch": a leaf has its static links or one uplink';
      return { path: [...path, key], message, atKey: true };
    }),
  ];
}

function checkDevice(path: JsonPath, device: unknown): Violation[] {
  if (!isObject(device)) return [];
  const violations: Violation[] = [];
  for (const [address, prefix] of [
    ['IP4', 'PrefixLen'],
    ['IP6', 'PrefixLen6'],
  ] as const) {
    const has = (key: string): boolean => Object.hasOwn(device, key);
    if (has(address) && !has(prefix)) {
      violations.push({ path: [...path, address], message: `needs ${prefix} beside it` });
    }
    if (has(prefix) && !has(address)) {
      violations.push({ path: [...path, prefix], message: `needs ${address} beside it` });
    }
  }
  const why4 = whyNotHost4(device['IP4'], device['PrefixLen']);
  if (why4 !== null) violations.push({ path: [...path, 'IP4'], message: why4 });
  const why6 = whyNotHost6(device['IP6']);
  if (why6 !== null) violations.push({ path: [...path, 'IP6'], message: why6 });
  const mtu = device['MTU'];
  if (typeof mtu === 'number' && mtu >= 576 && mtu < 1_280 && Object.hasOwn(device, 'IP6')) {
    // RFC 8200 section 5
    violations.push({ path: [...path, 'MTU'], message: 'is below 1280, which IPv6 needs' });
  }
  return violations;
}

/** What the two bridges of an overlay must have in common, and what only one may have. */
function checkBridges(path: JsonPath, { NetDevice, AppBridge }: Json): Violation[] {
  const device = isObject(NetDevice) ? NetDevice : {};
  const provider = device['BridgeProvider'] ?? 'LXBR';
  const violations: Violation[] = [];
  if (provider !== 'OVS' && device['DatapathType'] === 'netdev') {
    const message = 'is only for BridgeProvider "OVS"';
    violations.push({ path: [...path, 'NetDevice', 'DatapathType'], message });
  }
  if (provider === 'VNIC' && device['SwitchProtocol'] === 'STP') {
    const message = 'needs a bridge: BridgeProvider is "VNIC"';
    violations.push({ path: [...path, 'NetDevice', 'SwitchProtocol'], message });
  }
  if (!isObject(AppBridge)) return violations;
  const own = AppBridge['BridgeProvider'];
  if (provider === 'VNIC') {
    const message = 'needs a bridge to be patched to: NetDevice.BridgeProvider is "VNIC"';
    violations.push({ path: [...path, 'AppBridge'], message, atKey: true });
  } else if ((own === 'LXBR' || own === 'OVS') && own !== provider) {
    const message = `must be that of NetDevice, ${JSON.stringify(provider)}`;
    violations.push({ path: [...path, 'AppBridge', 'BridgeProvider'], message });
  }
  for (const key of ['IP4', 'IP6'].filter((each) => Object.hasOwn(device, each))) {
    const message = `belongs to AppBridge, which holds the address of this host`;
    violations.push({ path: [...path, 'NetDevice', key], message, atKey: true });
  }
  return violations;
}

const rangeSources = ['PodCIDRs', 'PodPool', 'Kubernetes'];

/** Where pod ranges come from, that there is one of a family, and what reaches them. */
function checkCni(value: Json, path: JsonPath, entry: Json): Violation[] {
  const violations: Violation[] = [];
  const [first, ...others] = rangeSources.filter((key) => Object.hasOwn(entry, key));
  if (first === undefined)
    violations.push({ path, message: `needs one of ${rangeSources.join(', ')}` });
  for (const key of others) {
    const message = `is one source of pod ranges too many: ${first} is given too`;
    violations.push({ path: [...path, key], message, atKey: true });
  }
  const device = holderOf(value, String(path.at(-1)));
  for (const key of ['PodCIDRs', 'PodPool']) {
    const seen = new Set<number>();
    for (const [index, text] of strings(entry[key]).entries()) {
      const range = parseRange(text);
      if (range === null) continue;
      const at = [...path, key, index];
      const why = whyNoPodRange(range, key, entry, device);
      if (why !== null) violations.push({ path: at, message: why });
      if (seen.has(range.family)) {
        violations.push({
          path: at,
          message: `is a second IPv${range.family} range: one is the most`,
        });
      }
      seen.add(range.family);
    }
  }
  const known = [...strings(entry['PodPool']), ...strings(entry['ClusterCIDRs'])];
  if (entry['Mode'] === 'bridged' && known.length === 0) {
    violations.push({
      path: [...path, 'Mode'],
      message: 'needs PodPool or ClusterCIDRs: what is on the link of the pods',
    });
  }
  const kind = at(value, [...deviceOf(path), 'BridgeProvider']) ?? 'LXBR';
  if (entry['Mode'] === 'bridged' && kind !== 'LXBR') {
    violations.push({ path: [...path, 'Mode'], message: 'needs BridgeProvider "LXBR"' });
  }
  const kubernetes = isObject(entry['Kubernetes']) ? entry['Kubernetes'] : {};
  if (Object.hasOwn(kubernetes, 'NodeNameEnv') && Object.hasOwn(kubernetes, 'NodeName')) {
    const message = 'is one name too many: NodeName is given too';
    violations.push({ path: [...path, 'Kubernetes', 'NodeNameEnv'], message, atKey: true });
  }
  return violations;
}

function whyNoPodRange(range: Range, key: string, entry: Json, device: Json): string | null {
  if (isSpecial(range)) return 'is not for pods: it is loopback, link-local, multicast or reserved';
  const length =
    entry[range.family === 4 ? 'NodePrefixLen' : 'NodePrefixLen6'] ??
    (range.family === 4 ? 24 : 64);
  const size = key === 'PodCIDRs' ? range.length : length;
  if (typeof size === 'number' && size < range.length) {
    return `has no room for a node's range, a /${size}`;
  }
  if (key === 'PodCIDRs' && range.length > (range.family === 4 ? 30 : 126)) {
    return 'has no room for a gateway and a pod';
  }
  const own = device[range.family === 4 ? 'IP4' : 'IP6'];
  const prefix = device[range.family === 4 ? 'PrefixLen' : 'PrefixLen6'];
  if (typeof own !== 'string')
    return `needs IP${range.family} of this host in the overlay, by which its pods are reached`;
  const link = parseInterface(`${own}/${prefix}`);
  if (link === null || !rangesOverlap(link.range, range)) return null;
  return "overlaps the overlay's own subnet";
}

/** Path of the overlay's NetDevice, from that of its section in Cni. */
const deviceOf = (path: JsonPath): JsonPath => [
  ...['BridgeController', 'Overlays'],
  String(path.at(-1)),
  'NetDevice',
];

/** The device entry that holds the addresses of this host. */
function holderOf(value: Json, overlay: string): Json {
  const entry = at(value, ['BridgeController', 'Overlays', overlay]);
  if (!isObject(entry)) return {};
  const holder = isObject(entry['AppBridge']) ? entry['AppBridge'] : entry['NetDevice'];
  return isObject(holder) ? holder : {};
}

/** Why a host cannot have this IPv4 address in that subnet; null also when either is malformed. */
function whyNotHost4(address: unknown, prefix: unknown): string | null {
  const bits = typeof address === 'string' ? parseIpv4(address) : null;
  if (bits === null) return null;
  const top = Math.floor(bits / 2 ** 24);
  if (top === 0 || top === 127 || top >= 224) {
    return 'is no address of a host: it is unspecified, loopback, multicast or reserved';
  }
  const subnet = subnetFrom(address, prefix);
  // A /31 has neither (RFC 3021).
  if (subnet === null || subnet.last - subnet.first < 2) return null;
  if (bits === subnet.first) return `is the network address of its /${prefix}, not of a host`;
  if (bits === subnet.last) return `is the broadcast address of its /${prefix}, not of a host`;
  return null;
}

function whyNotHost6(address: unknown): string | null {
  if (typeof address !== 'string' || !isIpv6(address)) return null;
  return /^(ff|fe[89ab]|(0*:)*:?0*1?$)/i.test(address)
    ? 'is no address for this: it is multicast, link-local, loopback or unspecified'
    : null;
}

function checkSubnets(value: Json): Violation[] {
  const violations: Violation[] = [];
  const earlier: { readonly name: string; readonly subnet: Subnet }[] = [];
  for (const [path, entry] of entries(value, ['BridgeController', 'Overlays'])) {
    const holder = isObject(entry['AppBridge']) ? 'AppBridge' : 'NetDevice';
    const device = entry[holder];
    const subnet = isObject(device) ? subnetFrom(device['IP4'], device['PrefixLen']) : null;
    if (subnet === null) continue;
    const other = earlier.find((known) => overlaps(known.subnet, subnet));
    if (other !== undefined) {
      const message = `is in a subnet that overlaps the one of overlay ${JSON.stringify(other.name)}`;
      violations.push({ path: [...path, holder, 'IP4'], message });
    }
    earlier.push({ name: String(path.at(-1)), subnet });
  }
  return violations;
}

function subnetFrom(address: unknown, prefix: unknown): Subnet | null {
  if (typeof address !== 'string' || !isIpv4(address)) return null;
  if (typeof prefix !== 'number' || !Number.isInteger(prefix)) return null;
  if (prefix < 1 || prefix > 31) return null;
  return subnetOf(parseIpv4(address) ?? 0, prefix);
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const strings = (value: unknown): readonly string[] =>
  Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];

/** The value at a path, or undefined. */
export function at(value: unknown, path: JsonPath): unknown {
  let here = value;
  for (const part of path) {
    if (typeof here !== 'object' || here === null || !Object.hasOwn(here, part)) return undefined;
    here = Reflect.get(here, part);
  }
  return here;
}

/** The members of the object at a path that are objects themselves, each with its path. */
function entries(value: Json, path: JsonPath): readonly (readonly [JsonPath, Json])[] {
  const object = at(value, path);
  if (!isObject(object)) return [];
  return Object.entries(object).flatMap(([key, entry]) =>
    isObject(entry) ? [[[...path, key], entry] as const] : [],
  );
}
