/**
 * The topology module: hears who is there, says which links are wanted. Owns one member table per
 * overlay; never speaks to a peer and never opens a link.
 */
import type { NodeId, OverlayId } from '../../base/ids.ts';
import type { Port } from '../bus.ts';
import { type MembersInput, type MembersState, nextMembers, noMembers } from './core/members.ts';

export interface TopologyDeps {
  readonly port: Port<'topology'>;
  readonly self: NodeId;
  readonly overlays: readonly OverlayId[];
}

export interface Topology {
  start(): void;
  stop(): void;
}

export function createTopology(deps: TopologyDeps): Topology {
  const over = new AbortController();
  const states = new Map<OverlayId, MembersState>(
    deps.overlays.map((overlay) => [overlay, noMembers(deps.self)]),
  );
  const apply = (overlay: OverlayId, input: MembersInput): void => {
    const state = states.get(overlay);
    if (state === undefined) return; // an overlay that this node is not in
    const next = nextMembers(state, input);
    states.set(overlay, next.state);
    for (const effect of next.effects) {
      if (effect.kind === 'want') {
        deps.port.publish('topology.linkWanted', { overlay, peer: effect.peer });
      } else {
        const { peer, reason } = effect;
        deps.port.publish('topology.linkUnwanted', { overlay, peer, reason });
      }
    }
  };
  return {
    start() {
      const { port } = deps;
      port.on('signal.peerSeen', over.signal, ({ overlay, peer }) =>
        apply(overlay, { kind: 'seen', peer }),
      );
      port.on('signal.peerLost', over.signal, ({ overlay, peer, reason }) =>
        apply(overlay, { kind: 'lost', peer, reason }),
      );
      port.on('links.linkUp', over.signal, ({ overlay, peer }) =>
        apply(overlay, { kind: 'link-up', peer }),
      );
      port.on('links.linkDown', over.signal, ({ overlay, peer }) =>
        apply(overlay, { kind: 'link-down', peer }),
      );
    },
    stop() {
      over.abort();
    },
  };
}
