/**
 * Sites behind NATs of each RFC 4787 kind around one public segment. Owns the routers and their
 * rules; never runs a server on the public segment (see coturn.ts, prosody.ts).
 *
 *   hA 192.168.1.10 ── rA ──┐
 *                           ├── pub br0 10.99.0.1, 10.99.0.11 (coturn, XMPP)
 *   hB 192.168.2.10 ── rB ──┘       routers outside: 10.99.0.2, 10.99.0.3, …
 *
 * `cgnat` puts one more router (cX, symmetric) between rX and the segment; `open` translates
 * nothing: the host has an address of its own, 10.98.N.10, that the segment routes to.
 *
 * With IPv6 in the underlay the segment is also 2001:db8:ff::1/64 and site N 2001:db8:N::/64, behind
 * a stateful firewall that lets in answers only (`open`: everything; `blocked`: no UDP).
 */
import { createLab, type Lab, type LabOptions } from './netns.ts';
import type { Scope } from './scope.ts';

/** Mapping and filtering as RFC 4787 sections 4.1 and 5 name them. */
export const natKinds = [
  'open', // no translation
  'full', // mapping and filtering independent of the endpoint
  'restricted', // mapping independent, filtering by address
  'port', // mapping independent, filtering by address and port
  'symmetric', // mapping by address and port, filtering too
  'cgnat', // two NATs, the outer one symmetric
  'blocked', // no UDP leaves the site
] as const;
export type NatKind = (typeof natKinds)[number];

export const isNatKind = (text: string): text is NatKind => natKinds.some((kind) => kind === text);

export interface Site {
  readonly kind: NatKind;
  /** Namespaces. */
  readonly host: string;
  readonly router: string;
  /** The host's address inside, and what the segment sees. */
  readonly address: string;
  readonly publicAddress: string;
}

export interface NatLab {
  readonly lab: Lab;
  /** Namespace of the public segment. */
  readonly pub: 'pub';
  readonly publicAddress: '10.99.0.1';
  readonly sites: readonly Site[];
}

/** Which IP versions the machines of a lab speak among each other. */
export type Underlay = 'v4' | 'v6' | 'dual';

export interface NatLabOptions extends LabOptions {
  /** One site per kind, at most 9. */
  readonly kinds: readonly NatKind[];
  /** Default v4; `v6`: hosts have no IPv4 address. */
  readonly underlay?: Underlay;
}

export const publicAddress6 = '2001:db8:ff::1';

export async function createNatLab(scope: Scope, options: NatLabOptions): Promise<NatLab> {
  const { underlay = 'v4' } = options;
  const hasV6 = underlay !== 'v4';
  const lab = await createLab(scope, hasV6 ? { ...options, ipv6: true } : options);
  await lab.namespace('pub');
  const own6 = hasV6 ? [`${publicAddress6}/64`] : [];
  await lab.bridge('pub', 'br0', ['10.99.0.1/24', '10.99.0.11/24', ...own6]);
  if (hasV6) await lab.sysctl('pub', { 'net.ipv6.conf.all.forwarding': 1 });
  await lab.sysctl('pub', { 'net.ipv4.ip_forward': 1 });
  // coturn needs a route to everything that it is asked to relay to, or it stops relaying.
  await lab.ip(
    'pub',
    `link add sink0 type veth peer name sink1
link set sink0 arp off up
link set sink1 up
route add default dev sink0`,
  );
  const sites: Site[] = [];
  for (const [index, kind] of options.kinds.entries()) {
    sites.push(await addSite(lab, index + 1, kind, underlay));
  }
  return { lab, pub: 'pub', publicAddress: '10.99.0.1', sites };
}

/** One more way out for the host of a site: device `eth1` behind a router of its own, no address yet. */
export async function addUplink(
  lab: Lab,
  n: number,
  kind: Exclude<NatKind, 'cgnat'>,
  host: string,
): Promise<{ readonly router: string }> {
  const router = `r${String.fromCharCode(64 + n)}`;
  await lab.namespace(router);
  const wan = { ns: router, dev: 'wan', addresses: [`10.99.0.${n + 1}/24`] };
  await lab.cable(wan, { ns: 'pub', dev: `v${router}`, bridge: 'br0' });
  await lab.ip(router, 'route add default via 10.99.0.1');
  const lan = { ns: router, dev: 'lan', addresses: [`192.168.${n}.1/24`] };
  await lab.cable(lan, { ns: host, dev: 'eth1' });
  await route(lab, router, kind);
  await addV6(lab, n, router, kind);
  return { router };
}

/** IPv6 of a router and what lies behind it. */
async function addV6(lab: Lab, n: number, router: string, kind: NatKind): Promise<void> {
  await lab.sysctl(router, { 'net.ipv6.conf.all.forwarding': 1 });
  await lab.ip(
    router,
    `addr add 2001:db8:ff::${n + 1}/64 dev wan
addr add 2001:db8:${n}::1/64 dev lan
route add default via ${publicAddress6}`,
  );
  await lab.ip('pub', `route add 2001:db8:${n}::/64 via 2001:db8:ff::${n + 1}`);
  const udp = kind === 'blocked' ? 'meta l4proto udp drop' : '';
  await lab.nft(
    router,
    `
table ip6 f {
  chain forward {
    type filter hook forward priority 0; policy ${kind === 'open' ? 'accept' : 'drop'};
    ${udp}
    iifname "lan" accept
    ct state established,related accept
    meta l4proto icmpv6 accept
  }
}
`,
  );
}

async function addSite(lab: Lab, n: number, kind: NatKind, underlay: Underlay): Promise<Site> {
  const letter = String.fromCharCode(64 + n);
  const [host, router, outer] = [`h${letter}`, `r${letter}`, `c${letter}`];
  const publicAddress = `10.99.0.${n + 1}`;
  const inside = kind === 'open' ? `10.98.${n}` : `192.168.${n}`;
  await lab.namespace(host);
  await lab.namespace(router);
  const toSegment = { ns: 'pub', dev: `v${router}`, bridge: 'br0' };
  if (kind === 'cgnat') {
    await lab.namespace(outer);
    await lab.cable({ ns: outer, dev: 'wan', addresses: [`${publicAddress}/24`] }, toSegment);
    await lab.ip(outer, 'route add default via 10.99.0.1');
    await lab.cable(
      { ns: outer, dev: 'lan', addresses: [`100.64.${n}.1/24`] },
      { ns: router, dev: 'wan', addresses: [`100.64.${n}.2/24`] },
    );
    await lab.ip(router, `route add default via 100.64.${n}.1`);
    await route(lab, outer, 'symmetric');
  } else {
    await lab.cable({ ns: router, dev: 'wan', addresses: [`${publicAddress}/24`] }, toSegment);
    await lab.ip(router, 'route add default via 10.99.0.1');
  }
  const lan = { ns: router, dev: 'lan', addresses: [`${inside}.1/24`] };
  await lab.cable(lan, { ns: host, dev: 'eth0', addresses: [`${inside}.10/24`] });
  await lab.ip(host, `route add default via ${inside}.1`);
  if (kind === 'open') await lab.ip('pub', `route add ${inside}.0/24 via ${publicAddress}`);
  await route(lab, router, kind === 'cgnat' ? 'port' : kind);
  if (underlay !== 'v4') {
    await addV6(lab, n, router, kind);
    await lab.ip(
      host,
      `addr add 2001:db8:${n}::10/64 dev eth0
route add default via 2001:db8:${n}::1`,
    );
  }
  if (underlay === 'v6') await lab.ip(host, `addr del ${inside}.10/24 dev eth0`);
  const address = `${inside}.10`;
  return { kind, host, router, address, publicAddress: kind === 'open' ? address : publicAddress };
}

/** Makes a namespace with devices `lan` and `wan` a router of the kind. */
export async function route(lab: Lab, ns: string, kind: NatKind): Promise<void> {
  await lab.sysctl(ns, { 'net.ipv4.ip_forward': 1 });
  await lab.nft(ns, natRules(kind));
}

/**
 * The rules of a router. `full` and `restricted` are made by hand: the kernel's own filtering goes
 * by address and port, so the inside host of a port is learnt from what it sends (@back), and for
 * `restricted` also whom it has sent to (@talked).
 */
function natRules(kind: NatKind): string {
  const masquerade: Partial<Record<NatKind, string>> = { open: '', symmetric: 'fully-random' };
  const post = kind === 'open' ? '' : `oifname "wan" masquerade ${masquerade[kind] ?? ''}`;
  const pre: Partial<Record<NatKind, string>> = {
    full: 'iifname "wan" dnat ip to udp dport map @back',
    restricted: 'iifname "wan" udp dport . ip saddr @talked dnat ip to udp dport map @back',
  };
  const forward: Partial<Record<NatKind, string>> = {
    open: 'accept',
    blocked: 'meta l4proto udp drop',
  };
  const bounds = 'flags dynamic,timeout; timeout 5m; size 4096';
  return `
table ip nat {
  map back { type inet_service : ipv4_addr; ${bounds}; }
  set talked { type inet_service . ipv4_addr; ${bounds}; }
  chain learn {
    type filter hook forward priority -10;
    iifname "lan" meta l4proto udp update @back { udp sport : ip saddr }
    iifname "lan" meta l4proto udp update @talked { udp sport . ip daddr }
  }
  chain pre {
    type nat hook prerouting priority -100;
    ${pre[kind] ?? ''}
  }
  chain post {
    type nat hook postrouting priority 100;
    ${post}
  }
}
table ip f {
  chain input {
    type filter hook input priority 0;
    iifname "wan" meta l4proto udp drop
  }
  chain forward {
    type filter hook forward priority 0; policy drop;
    ${forward[kind] ?? ''}
    iifname "lan" accept
    ct state established,related accept
    ct status dnat accept
  }
}
`;
}
