/**
 * The topology module: hears who is there and which links are up, says which links are wanted and
 * what is said to peers about them. Owns one OverlayTopology per overlay; never opens a link.
 */
import type { Clock } from '../../base/clock.ts';
import type { NodeId, OverlayId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type { Port } from '../bus.ts';
import { LinkMessage } from '../peer-messages.ts';
import type { TopologyConfig } from './core/config.ts';
import { type LinkView, OverlayTopology } from './overlay-topology.ts';

export interface OverlayTopologyConfig {
  readonly overlay: OverlayId;
  readonly config: TopologyConfig;
}

export interface TopologyDeps {
  readonly port: Port<'topology'>;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly log: Logger;
  readonly self: NodeId;
  readonly overlays: readonly OverlayTopologyConfig[];
}

export interface Topology {
  start(): void;
  /** Tells all peers that this node leaves; to be called while signalling still works. */
  leave(): void;
  stop(): void;
  /** The links of an overlay: wanted by this node, by the peer, or by both. */
  snapshot(overlay: OverlayId): readonly LinkView[];
}

export function createTopology(deps: TopologyDeps): Topology {
  const over = new AbortController();
  const overlays = new Map(
    deps.overlays.map(({ overlay, config }) => [
      overlay,
      new OverlayTopology({
        ...deps,
        overlay,
        config,
        log: deps.log.child('topology', { overlay }),
        over: over.signal,
      }),
    ]),
  );
  return {
    start: () => listen(deps.port, over.signal, overlays),
    leave() {
      for (const overlay of overlays.values()) overlay.leave();
    },
    stop() {
      over.abort();
      for (const overlay of overlays.values()) overlay.stop();
    },
    snapshot: (overlay) => overlays.get(overlay)?.snapshot() ?? [],
  };
}

function listen(
  port: Port<'topology'>,
  signal: AbortSignal,
  overlays: ReadonlyMap<OverlayId, OverlayTopology>,
): void {
  port.on('signal.peerSeen', signal, ({ overlay, peer, leaf }) =>
    overlays.get(overlay)?.peerSeen(peer, leaf),
  );
  port.on('signal.peerLost', signal, ({ overlay, peer, reason }) =>
    overlays.get(overlay)?.peerLost(peer, reason),
  );
  port.on('links.linkUp', signal, ({ overlay, peer, path }) =>
    overlays.get(overlay)?.pathIs(peer, path.kind),
  );
  port.on('links.pathChanged', signal, ({ overlay, peer, path }) =>
    overlays.get(overlay)?.pathIs(peer, path.kind),
  );
  port.on('links.linkDown', signal, ({ overlay, peer }) =>
    overlays.get(overlay)?.pathIs(peer, 'none'),
  );
  port.on('links.trafficMeasured', signal, ({ overlay, rates }) =>
    overlays
      .get(overlay)
      ?.traffic(new Map(rates.map(({ peer, bytesPerSecond }) => [peer, bytesPerSecond]))),
  );
  port.on('signal.messageReceived', signal, ({ overlay, from, message }) => {
    const said = LinkMessage.safeParse(message);
    if (!said.success) return; // the link manager's
    const topology = overlays.get(overlay);
    if (topology !== undefined) topology.message(from, said.data);
    else if (said.data.kind === 'link-request') {
      const { claim } = said.data;
      const refusal = { kind: 'link-answer', claim, refusal: 'unknown-overlay' } as const;
      port.publish('topology.messageReady', { overlay, to: from, message: refusal });
    }
  });
}
