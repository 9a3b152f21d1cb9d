/**
 * The link-manager module: one tunnel process per overlay and the sessions in it. Owns which peers
 * are told to it; never decides which are wanted (topology) and never sees a packet.
 */
import type { Clock } from '../../base/clock.ts';
import { EvioError, unreachable } from '../../base/errors.ts';
import type { NodeId, OverlayId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type { Result, SessionStatus } from '../../tincan-bridge/protocol/schema.ts';
import type { Port } from '../bus.ts';
import { type LinksConfig, OverlayLinks } from './overlay-links.ts';
import type { ProcessSnapshot } from './tunnel-process.ts';

export type { SessionStatus };
/** Sessions and counters of one tunnel process. */
export type BridgeStatus = Result<'status'>;
/** The ring as one tunnel process sees it. */
export type BridgeRoutes = Result<'routes'>;
/** Outcome of one overlay ping. */
export type BridgePing = Result<'ping'>;

export interface LinkManagerDeps {
  readonly port: Port<'links'>;
  readonly log: Logger;
  readonly clock: Clock;
  readonly random: () => number;
  readonly keyLogFile: string | null;
  /** Keys of sessions are replaced after so long; null: the default. For laboratories. */
  readonly rekeyMs: number | null;
  readonly overlays: readonly LinksConfig[];
}

export interface LinkManager {
  start(): void;
  stop(): Promise<void>;
  snapshot(overlay: OverlayId): ProcessSnapshot | null;
  /** Sessions and counters of the overlay; null while its process does not serve. */
  status(overlay: OverlayId): Promise<BridgeStatus | null>;
  /** The same of the ring. */
  routes(overlay: OverlayId): Promise<BridgeRoutes | null>;
  /** Throws `bridge.failed` while the process does not serve. */
  ping(overlay: OverlayId, peer: NodeId, timeoutMs: number): Promise<BridgePing>;
}

export function createLinkManager(deps: LinkManagerDeps): LinkManager {
  const over = new AbortController();
  const links = new Map<OverlayId, OverlayLinks>();
  return {
    start() {
      for (const config of deps.overlays) {
        const log = deps.log.child('links', { overlay: config.overlay });
        links.set(config.overlay, new OverlayLinks({ ...deps, log, config }));
      }
      listen(deps.port, over.signal, links);
    },
    async stop() {
      over.abort();
      await Promise.all([...links.values()].map((overlay) => overlay.stop()));
    },
    snapshot: (overlay) => links.get(overlay)?.snapshot() ?? null,
    status: async (overlay) => (await links.get(overlay)?.status()) ?? null,
    routes: async (overlay) => (await links.get(overlay)?.routes()) ?? null,
    async ping(overlay, peer, timeoutMs) {
      const target = links.get(overlay);
      if (target !== undefined) return target.ping(peer, timeoutMs);
      throw new EvioError('request.invalid', `no overlay ${overlay} on this node`);
    },
  };
}

function listen(
  port: Port<'links'>,
  signal: AbortSignal,
  links: ReadonlyMap<OverlayId, OverlayLinks>,
): void {
  port.on('bridges.deviceReady', signal, (device) =>
    links.get(device.overlay)?.deviceReady(device),
  );
  port.on('signal.serversOffered', signal, ({ overlay, stun, turn }) =>
    links.get(overlay)?.serversOffered(stun, turn),
  );
  port.on('trust.changed', signal, ({ overlay }) => links.get(overlay)?.trustChanged());
  port.on('topology.linkWanted', signal, ({ overlay, peer }) =>
    links.get(overlay)?.linkWanted(peer),
  );
  port.on('topology.linkUnwanted', signal, ({ overlay, peer, reason }) =>
    links.get(overlay)?.linkUnwanted(peer, reason),
  );
  port.on('signal.messageReceived', signal, ({ overlay, from, message }) => {
    const target = links.get(overlay);
    switch (message.kind) {
      case 'describe':
        target?.described(from, message.description);
        return;
      case 'ended':
        target?.peerEnded(from, message.reason);
        return;
      case 'link-ended':
        if (message.leaving) target?.members({ kind: 'leaving', peer: from });
        return;
      case 'link-request':
      case 'link-answer':
        return; // the topology's
      default:
        unreachable(message);
    }
  });
  port.on('signal.peerSeen', signal, ({ overlay, peer, leaf, addresses }) =>
    links.get(overlay)?.members({ kind: 'seen', peer, leaf, addresses }),
  );
  port.on('signal.peerLost', signal, ({ overlay, peer, reason }) =>
    links.get(overlay)?.members({ kind: 'lost', peer, reason }),
  );
  port.on('signal.envelopeSealed', signal, ({ overlay, to, number, envelope }) =>
    links.get(overlay)?.sendInBand(to, number, envelope),
  );
}
