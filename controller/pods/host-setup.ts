/**
 * The host made to fit the pods of one overlay: bridge, routes, masquerading, forwarding. Owns what
 * it made on the host and which routes a run before it left; decides by `core/host-plan.ts`.
 */
import { type Address, formatAddress, type Range } from '../../base/cidr.ts';
import { messageOf } from '../../base/errors.ts';
import type { Exec } from '../../base/exec.ts';
import type { NodeId, OverlayId } from '../../base/ids.ts';
import { runIp } from '../../base/ip-batch.ts';
import type { Logger } from '../../base/log.ts';
import {
  masqueradeRules,
  planBridged,
  planPodBridge,
  planRoutes,
  podBridgeName,
  type RouteWish,
  rangesOn,
  routeKey,
  type SeenDevice,
} from './core/host-plan.ts';
import type { Reserved } from './core/members.ts';
import {
  forwardPackets,
  loadRules,
  type Sysctls,
  seeDevices,
  seeRoutes,
  sendNoRedirects,
} from './host.ts';

export interface HostWish {
  readonly mode: 'routed' | 'bridged';
  /** The bridge that pods are ports of. */
  readonly bridge: string;
  /** The device that holds this host's addresses in the overlay. */
  readonly holder: string;
  readonly mtu: number;
  /** This node's ranges; none: it has no pods, and only routes to the others'. */
  readonly own: readonly Range[];
  readonly routes: readonly RouteWish[];
  /** Where packets of pods keep their source; null: everywhere. */
  readonly inside: readonly Range[] | null;
  /** Routes that an earlier run left may go: who is there has had time to say so. */
  readonly isSettled: boolean;
}

export interface HostSetupDeps {
  readonly exec: Exec;
  readonly sysctls: Sysctls;
  readonly log: Logger;
  readonly self: NodeId;
  readonly overlay: OverlayId;
}

/** What was found on the host before it was changed. */
export interface HostView {
  readonly devices: readonly SeenDevice[];
  /** The host's own ranges: what a member must not take away from it. */
  readonly ranges: readonly Reserved[];
}

/** The first address of a node's range after that of the network. */
export const gatewayOf = ({ family, first }: Range): Address => ({ family, bits: first + 1n });

export class HostSetup {
  readonly #deps: HostSetupDeps;
  /** Ranges of routes that an earlier run left and nobody has said anything about yet. */
  #inherited: Set<string> | null = null;
  /** The text that our table was made of; null: it may be that of an earlier run. */
  #rules: string | null = null;

  constructor(deps: HostSetupDeps) {
    this.#deps = deps;
  }

  /** `holder` is ours as well as all that has our alias. */
  async look(holder: string | null): Promise<HostView> {
    const devices = await seeDevices(this.#deps.exec);
    const ours = ({ alias, name }: SeenDevice): boolean =>
      alias.startsWith('evio:') || name === holder || name === 'lo';
    const ranges = devices
      .filter((device) => !ours(device))
      .flatMap((device) =>
        rangesOn(device).map((range) => ({ range, what: `of ${device.name} on this host` })),
      );
    return { devices, ranges };
  }

  /** Throws what the host refuses. Returns whether the bridge was made, and so has no ports yet. */
  async apply(wish: HostWish, { devices }: HostView): Promise<boolean> {
    const { log, sysctls } = this.#deps;
    const seen = devices.find(({ name }) => name === wish.bridge);
    if (wish.own.length > 0) {
      await this.#applyBridge(wish, seen);
      const hasIpv6 = wish.own.some(({ family }) => family === 6);
      const unset = [
        ...(await forwardPackets(sysctls, hasIpv6)),
        ...(await sendNoRedirects(sysctls, wish.holder)),
      ];
      for (const error of unset) log.warn('the host may not forward for pods', { error });
    }
    await this.#applyRoutes(wish);
    await this.#applyRules(wish);
    return seen === undefined && wish.own.length > 0;
  }

  /** Takes back what was made; what pods of the next start need is made again then. */
  async remove(): Promise<void> {
    const { exec, overlay } = this.#deps;
    const name = podBridgeName(overlay);
    const devices = await seeDevices(exec);
    if (devices.some((each) => each.name === name)) {
      await runIp(exec, [['link', 'delete', 'dev', name]]);
    }
    if (this.#rules !== null) await loadRules(exec, masqueradeRules(overlay, [], []));
  }

  async #applyBridge(wish: HostWish, seen: SeenDevice | undefined): Promise<void> {
    const { exec, self, overlay } = this.#deps;
    if (wish.mode === 'bridged') {
      const gateways = wish.own.map(gatewayOf);
      await runIp(exec, planBridged(wish.bridge, gateways, seen?.addresses ?? []));
      return;
    }
    // From the node id, so that pods' caches stay right when the bridge is made anew.
    const mac = ['0a', '59', ...(self.slice(0, 8).match(/../g) ?? [])].join(':');
    const gateways = wish.own.map((range) => `${formatAddress(gatewayOf(range))}/${range.length}`);
    const plan = planPodBridge({ overlay, mac, mtu: wish.mtu, gateways }, seen);
    if ('foreign' in plan) throw new Error(plan.foreign);
    await runIp(exec, plan.commands);
  }

  async #applyRoutes({ holder, routes, isSettled }: HostWish): Promise<void> {
    const { exec } = this.#deps;
    const seen = await seeRoutes(exec, holder);
    this.#inherited ??= new Set(seen.map(({ dst }) => dst));
    if (isSettled) this.#inherited.clear();
    for (const { range } of routes) this.#inherited.delete(routeKey(range));
    await runIp(exec, planRoutes(routes, seen, this.#inherited));
  }

  async #applyRules({ own, inside }: HostWish): Promise<void> {
    const { exec, overlay, log } = this.#deps;
    const isWanted = inside !== null && own.length > 0;
    const rules = masqueradeRules(overlay, isWanted ? own : [], inside ?? []);
    if (rules === this.#rules) return;
    try {
      await loadRules(exec, rules);
    } catch (error) {
      if (isWanted) throw error;
      // Nothing is to be masqueraded: a host without nft is as good as one without the table.
      log.debug('masquerading not removed', { error: messageOf(error) });
    }
    this.#rules = rules;
  }
}
