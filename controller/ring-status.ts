/**
 * What the local API answers about the ring: links with their reasons, next hops, pings. Puts the
 * modules' answers together with the names of nodes; decides nothing.
 */
import type { NodeId, OverlayId } from '../base/ids.ts';
import type { BridgeRoutes, LinkManager } from './link-manager/index.ts';
import type {
  LinkStatus,
  LinksReply,
  PingReply,
  PingRequest,
  RouteStatus,
  RoutesReply,
} from './local-api/index.ts';
import type { LinkView, Topology } from './topology/index.ts';

export interface RingStatusDeps {
  readonly overlays: readonly OverlayId[];
  readonly links: Pick<LinkManager, 'status' | 'routes' | 'ping'>;
  readonly topology: Pick<Topology, 'snapshot'>;
  /** Empty when it is not known. */
  readonly nameOf: (overlay: OverlayId, node: NodeId) => string;
}

export interface RingStatus {
  links(): Promise<LinksReply>;
  routes(): Promise<RoutesReply>;
  ping(request: PingRequest): Promise<PingReply>;
}

export function createRingStatus(deps: RingStatusDeps): RingStatus {
  const { overlays, links, topology, nameOf } = deps;
  const linksOf = async (overlay: OverlayId): Promise<LinksReply['overlays'][number]> => {
    const views = topology.snapshot(overlay);
    const sessions = (await links.status(overlay))?.sessions ?? [];
    const paths = new Map(sessions.map(({ peer, path }) => [peer, path]));
    const shown = views.map((view): LinkStatus => {
      const path = paths.get(view.peer) ?? { kind: 'none', local: '', remote: '' };
      return { ...linkOf(view), name: nameOf(overlay, view.peer), path };
    });
    return { overlay, links: shown };
  };
  const routesOf = async (overlay: OverlayId): Promise<RoutesReply['overlays'][number]> => {
    const routes = await links.routes(overlay);
    const name = (node: NodeId | null): string => (node === null ? '' : nameOf(overlay, node));
    return { overlay, routes: routes === null ? null : routesFrom(routes, name) };
  };
  return {
    links: async () => ({ overlays: await Promise.all(overlays.map(linksOf)) }),
    routes: async () => ({ overlays: await Promise.all(overlays.map(routesOf)) }),
    async ping({ overlay, peer, timeoutMs }) {
      const { rttMs, path, hops } = await links.ping(overlay, peer, timeoutMs);
      return {
        rttMs,
        path,
        hops: hops.map((nodeId) => ({ nodeId, name: nameOf(overlay, nodeId) })),
      };
    },
  };
}

const linkOf = ({ peer, reason, incoming, state, sinceMs }: LinkView) => ({
  nodeId: peer,
  reason,
  incoming,
  state,
  sinceMs: Math.round(sinceMs),
});

/** Neighbours are their own next hop. */
const routesFrom = (
  { neighbours, ways }: BridgeRoutes,
  name: (node: NodeId | null) => string,
): RouteStatus[] => [
  ...neighbours.map(
    ({ node }): RouteStatus => ({
      nodeId: node,
      name: name(node),
      via: node,
      viaName: name(node),
      how: 'link',
    }),
  ),
  ...ways.map(
    ({ destination, via, how }): RouteStatus => ({
      nodeId: destination,
      name: name(destination),
      via,
      viaName: name(via),
      how,
    }),
  ),
];
