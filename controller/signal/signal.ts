/**
 * The signal module: one OverlaySignal per overlay, and the bus. Owns which overlay an event goes
 * to; everything else is in the parts.
 */

import type { SignalDeps } from './deps.ts';
import { OverlaySignal, type OverlaySnapshot } from './overlay-signal.ts';

export interface Signal {
  /** Connects all overlays; returns at once. */
  start(): void;
  /** Leaves all servers in order, within two seconds. Idempotent. */
  stop(): Promise<void>;
  snapshot(): readonly OverlaySnapshot[];
}

export function createSignal(deps: SignalDeps): Signal {
  const over = new AbortController();
  const overlays = new Map(
    deps.overlays.map((config) => [config.overlay, new OverlaySignal(config, deps)]),
  );
  return {
    start() {
      deps.port.on('links.messageReady', over.signal, ({ overlay, to, message }) =>
        overlays.get(overlay)?.sendMessage(to, message),
      );
      deps.port.on('topology.messageReady', over.signal, ({ overlay, to, message }) =>
        overlays.get(overlay)?.sendMessage(to, message),
      );
      deps.port.on('links.envelopeReceived', over.signal, ({ overlay, from, envelope }) =>
        overlays.get(overlay)?.receiveInBand(from, envelope),
      );
      deps.port.on('links.envelopeRefused', over.signal, ({ overlay, number }) =>
        overlays.get(overlay)?.envelopeRefused(number),
      );
      deps.port.on('trust.changed', over.signal, ({ overlay }) => overlays.get(overlay)?.rejudge());
      deps.port.on('pods.rangesChanged', over.signal, ({ overlay, ranges }) =>
        overlays.get(overlay)?.podsChanged(ranges),
      );
      deps.port.on('links.networkChanged', over.signal, ({ overlay }) =>
        overlays.get(overlay)?.networkChanged(),
      );
      for (const overlay of overlays.values()) overlay.start();
    },
    async stop() {
      over.abort();
      await Promise.all([...overlays.values()].map((overlay) => overlay.stop()));
    },
    snapshot: () => [...overlays.values()].map((overlay) => overlay.snapshot()),
  };
}
