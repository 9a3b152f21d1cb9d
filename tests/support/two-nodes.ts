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
import { createNatLab, type NatKind, type NatLab } from './nat-lab.ts';
import { type EvioNode, type NodeOptions, startNode } from './node.ts';
import { type Prosody, startProsody } from './prosody.ts';
import type { Scope } from './scope.ts';

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
  const lab = await createNatLab(scope, { kinds: options.kinds, ipv6: options.ipv6 ?? false });
  const place = { ns: lab.pub, address: lab.publicAddress };
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
  const coturn = await startCoturn(lab.lab, { ...place, users: { relay: 'relay-password' } });
  const optionsOf = (index: number, changes: Partial<NodeOptions> = {}): NodeOptions => {
    const name = names[index] ?? '';
    return {
      ns: lab.sites[index]?.host ?? '',
      name,
      address: `10.77.0.${index + 1}`,
      xmpp: { ...prosody, password: users[name] ?? '', caFile: ca.certFile },
      stun: [coturn.endpoint],
      turn:
        options.turn === false
          ? []
          : [{ Address: coturn.endpoint, User: 'relay', Password: 'relay-password' }],
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
