/**
 * The handlers of the bridge protocol: `open` makes the one tunnel of this process, the others ask it.
 * Owns whether it is open; everything else is the tunnel's.
 */
import { EvioError } from '../base/errors.ts';
import type { Handlers } from './protocol/schema.ts';
import { Tunnel, type TunnelDeps } from './tunnel.ts';

export interface BridgeDeps extends TunnelDeps {
  /** `close` was called: everything is ended, the answer is on its way. */
  readonly onClosed: () => void;
}

export interface Bridge {
  readonly handlers: Handlers;
  /** Ends everything, in order. Idempotent. */
  stop(): Promise<void>;
}

/** A bridge that has nothing open yet: `open` must be the first call. */
export function createBridge(deps: BridgeDeps): Bridge {
  let tunnel: Tunnel | null = null;
  const opened = (): Tunnel => {
    if (tunnel === null) throw new EvioError('request.invalid', 'open must be the first call');
    return tunnel;
  };
  const stop = async (): Promise<void> => tunnel?.stop();
  const handlers: Handlers = {
    open: async (params) => {
      if (tunnel !== null) throw new EvioError('request.invalid', 'the tunnel is open already');
      tunnel = new Tunnel(deps, params);
      return { mtu: tunnel.mtu };
    },
    setServers: async (params) => opened().setServers(params),
    setTrust: async ({ trust }) => opened().setTrust(trust),
    connect: async ({ peer }) => opened().connect(peer),
    disconnect: async ({ peer, reason }) => opened().disconnect(peer, reason),
    describe: async (params) => opened().describe(params),
    ended: async ({ peer, reason }) => opened().ended(peer, reason),
    setMembers: async (params) => opened().setMembers(params),
    sendMessage: async ({ peer, body }) => opened().sendMessage(peer, body),
    traffic: async () => opened().traffic(),
    routes: async () => opened().routes(),
    ping: async ({ peer, timeoutMs }) => opened().ping(peer, timeoutMs),
    status: async () => opened().status(),
    echo: async () => ({}),
    close: async () => {
      await stop();
      deps.onClosed();
      return {};
    },
  };
  return { handlers, stop };
}
