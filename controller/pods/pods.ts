/**
 * The pods module: one OverlayPods per overlay that has any, and the bus. Owns which overlay an
 * event goes to; everything else is in the parts.
 */
import type { OverlayId } from '../../base/ids.ts';
import type { PodsDeps } from './deps.ts';
import { OverlayPods, type PodsSnapshot } from './overlay-pods.ts';

export interface Pods {
  /** Listens, and looks for this node's ranges; returns at once. */
  start(): void;
  stop(): Promise<void>;
  snapshot(): readonly PodsSnapshot[];
  /** Sets the host right for an overlay's pods. */
  repair(overlay: OverlayId): Promise<void>;
}

export function createPods(deps: PodsDeps): Pods {
  const over = new AbortController();
  const overlays = new Map(
    deps.overlays.map((config) => [config.overlay, new OverlayPods(config, deps)]),
  );
  const of = (overlay: OverlayId): OverlayPods | undefined => overlays.get(overlay);
  const listen = (): void => {
    const { port } = deps;
    const { signal } = over;
    port.on('bridges.deviceReady', signal, (device) => of(device.overlay)?.deviceReady(device));
    port.on('bridges.deviceFailed', signal, ({ overlay }) => of(overlay)?.deviceFailed());
    port.on('links.mtuChanged', signal, ({ overlay, mtu }) => of(overlay)?.mtuChanged(mtu));
    port.on('links.overlayUp', signal, ({ overlay }) => of(overlay)?.tunnelsUp(true));
    port.on('links.overlayDown', signal, ({ overlay }) => of(overlay)?.tunnelsUp(false));
    port.on('links.networkChanged', signal, ({ overlay }) => of(overlay)?.networkChanged());
    port.on('links.linkUp', signal, ({ overlay, peer }) =>
      of(overlay)?.peer({ kind: 'linked', node: peer }),
    );
    port.on('links.linkDown', signal, ({ overlay, peer }) =>
      of(overlay)?.peer({ kind: 'unlinked', node: peer }),
    );
    port.on('signal.stateChanged', signal, ({ overlay, state }) =>
      of(overlay)?.signalChanged(state === 'online'),
    );
    port.on('signal.peerSeen', signal, ({ overlay, peer }) =>
      of(overlay)?.peer({ kind: 'seen', node: peer }),
    );
    port.on('signal.peerLost', signal, ({ overlay, peer, reason }) =>
      of(overlay)?.peer({ kind: reason === 'removed' ? 'removed' : 'unreachable', node: peer }),
    );
    port.on('signal.podsAnnounced', signal, ({ overlay, peer, name, pods }) =>
      of(overlay)?.peer(
        pods === null
          ? { kind: 'withdrawn', node: peer }
          : { kind: 'announced', node: peer, name, ...pods },
      ),
    );
  };
  return {
    start() {
      listen();
      for (const overlay of overlays.values()) overlay.start();
    },
    async stop() {
      over.abort();
      await Promise.all([...overlays.values()].map((overlay) => overlay.stop()));
    },
    snapshot: () => [...overlays.values()].map((overlay) => overlay.snapshot()),
    repair: async (overlay) => of(overlay)?.repair(),
  };
}
