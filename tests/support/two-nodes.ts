/**
 * The usual scene: sites behind NATs, Prosody and coturn on the public segment, a node in each site.
 * Owns the wiring; what is special about a test stays in the test.
 *
 *   hA (node a, 10.77.0.1) ── rA ──┐
 *                                  ├── pub: Prosody, coturn
 *   hB (node b, 10.77.0.2) ── rB ──┘
 */
import { join } from 'node:path';
import { type Ca, createCa } from './ca.ts';
import { type Coturn, startCoturn } from './coturn.ts';
import {
  createNatLab,
  type NatKind,
  type NatLab,
  publicAddress6,
  type Underlay,
} from './nat-lab.ts';
import { type EvioNode, type NodeOptions, startNode } from './node.ts';
import { type Prosody, startProsody } from './prosody.ts';
import type { Scope } from './scope.ts';

/** Names of the servers in every site's hosts file. */
export const serverName = 'server.lab.test';
export const turnName = 'turn.lab.test';

export interface SceneOptions {
  /** One site and node per kind. */
  readonly kinds: readonly NatKind[];
  /** Give the nodes the TURN server; default true. STUN they always have. */
  readonly turn?: boolean;
  /** IPv6 in the namespaces. */
  readonly ipv6?: boolean;
  /** Modules of a hostile server, see `ProsodyOptions`. */
  readonly serverModules?: Readonly<Record<string, string>>;
  /** Accounts that are members besides the nodes'. */
  readonly moreMembers?: readonly string[];
  /** Between the sites; with IPv6 all servers are known by names. Default v4. */
  readonly underlay?: Underlay;
  /** TURN over TLS, with a certificate of the lab's CA. */
  readonly turnTls?: boolean;
  /** Changes for all nodes. */
  readonly node?: Partial<NodeOptions>;
}

export interface Scene extends NatLab {
  readonly ca: Ca;
  readonly prosody: Prosody;
  readonly coturn: Coturn;
  /** Options of a node by its index, for starting it (again) with changes. */
  options(index: number, changes?: Partial<NodeOptions>): NodeOptions;
  start(index: number, changes?: Partial<NodeOptions>): EvioNode;
}

/** Everything but the nodes. */
export async function createScene(scope: Scope, options: SceneOptions): Promise<Scene> {
  const { underlay = 'v4' } = options;
  const lab = await createNatLab(scope, {
    kinds: options.kinds,
    ipv6: options.ipv6 ?? false,
    underlay,
  });
  const v6 = underlay === 'v4' ? {} : { address6: publicAddress6 };
  const place = { ns: lab.pub, address: lab.publicAddress, ...v6 };
  const names = options.kinds.map((_, index) => String.fromCharCode(97 + index));
  const users = Object.fromEntries(names.map((name) => [name, `password-of-${name}`]));
  const ca = await createCa(join(lab.lab.folder, 'ca'));
  const prosody = await startProsody(lab.lab, {
    ...place,
    ca,
    users,
    groups: { lab: [...names, ...(options.moreMembers ?? [])] },
    modules: options.serverModules ?? {},
  });
  const certificate = await ca.issue({ name: 'turn', dns: [turnName], ips: [place.address] });
  const coturn = await startCoturn(lab.lab, {
    ...place,
    users: { relay: 'relay-password' },
    ...(options.turnTls === true ? { tls: { certificate, caFile: ca.certFile } } : {}),
  });
  const server = underlay === 'v4' ? lab.publicAddress : serverName;
  for (const { host } of lab.sites) {
    const names = [serverName, turnName].map((name) => `${lab.publicAddress} ${name}`);
    const names6 = [serverName, turnName].map((name) => `${publicAddress6} ${name}`);
    lab.lab.hosts(host, ['127.0.0.1 localhost', ...names, ...(underlay === 'v4' ? [] : names6)]);
  }
  const optionsOf = (index: number, changes: Partial<NodeOptions> = {}): NodeOptions => {
    const name = names[index] ?? '';
    return {
      ns: lab.sites[index]?.host ?? '',
      name,
      address: `10.77.0.${index + 1}`,
      xmpp: { ...prosody, address: server, password: users[name] ?? '', caFile: ca.certFile },
      stun: [`${server}:${coturn.port}`],
      turn:
        options.turn === false
          ? []
          : [{ Address: `${server}:${coturn.port}`, User: 'relay', Password: 'relay-password' }],
      ...options.node,
      ...changes,
    };
  };
  return {
    ...lab,
    ca,
    prosody,
    coturn,
    options: optionsOf,
    start: (index, changes) => startNode(lab.lab, optionsOf(index, changes)),
  };
}

/** Two nodes that have been started; see `EvioNode.waitUp`. */
export async function startTwo(
  scope: Scope,
  options: SceneOptions,
): Promise<Scene & { readonly a: EvioNode; readonly b: EvioNode }> {
  const scene = await createScene(scope, options);
  return { ...scene, a: scene.start(0), b: scene.start(1) };
}
