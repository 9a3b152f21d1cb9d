/**
 * The bridge-controller module: makes the host side of each overlay, keeps its MTU, removes what it
 * made. Owns the devices; never touches one that is not ours, and never opens the TAP.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import { messageOf, toEvioError } from '../../base/errors.ts';
import type { Exec } from '../../base/exec.ts';
import type { NodeId, OverlayId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type { Port } from '../bus.ts';
import type { DeviceSummary, Problem } from '../events.ts';
import { type BridgeWish, type DeviceWish, holderOf } from './core/devices.ts';
import { appBridgeName, bridgeName, hostMac, innerMac, tapName } from './core/names.ts';
import type { DatapathType } from './core/ovs-plan.ts';
import { checkHost, keepStackOff, letStackOn, refuseRouterAdvertisements } from './host-links.ts';
import { makeLinux, removeLinux } from './linux-bridge.ts';
import { makeOvs, removeOvs } from './ovs-bridge.ts';

/** What the operator configured for one overlay. */
export interface DeviceConfig {
  readonly overlay: OverlayId;
  readonly provider: Provider;
  /** On the bridge for applications when there is one, else on the bridge or the TAP. */
  readonly addresses: readonly string[];
  /** Null: derived by the tunnel process. */
  readonly mtu: number | null;
  /** Remove the devices at the end. */
  readonly autoDelete: boolean;
  /** Spanning tree on the bridge of the TAP. */
  readonly spanningTree: boolean;
  /** The second bridge; `mtu` null: that of the overlay. */
  readonly app: { readonly mtu: number | null; readonly autoDelete: boolean } | null;
}

/** vnic: the address is on the TAP itself; else the TAP is a port of a bridge. */
export type Provider =
  | { readonly kind: 'lxbr' | 'vnic' }
  | {
      readonly kind: 'ovs';
      readonly datapathType: DatapathType;
      /** Socket of ovsdb-server, or null for the usual one. */
      readonly database: string | null;
    };

export interface BridgeControllerDeps {
  readonly port: Port<'bridges'>;
  readonly exec: Exec;
  readonly clock: Clock;
  readonly log: Logger;
  readonly self: NodeId;
  readonly devices: readonly DeviceConfig[];
}

export interface BridgeController {
  /** Makes the devices. Throws when the host refuses altogether; per overlay it publishes. */
  start(): Promise<void>;
  stop(): Promise<void>;
  snapshot(
    overlay: OverlayId,
  ): { readonly device: DeviceSummary } | { readonly problem: Problem } | null;
}

/** Open vSwitch may be started after us, or be restarted while we start. */
const ovsRetryMs = 10_000;

/** MTU before a path is known: IPv4 direct, see DESIGN section 8. */
const initialMtu = 1420;

export function createBridgeController(deps: BridgeControllerDeps): BridgeController {
  return new Devices(deps);
}

class Devices implements BridgeController {
  readonly #deps: BridgeControllerDeps;
  readonly #over = new AbortController();
  readonly #ready = new Map<OverlayId, DeviceSummary>();
  readonly #failed = new Map<OverlayId, Problem>();
  /** Changes of the host, one after the other. */
  #work: Promise<void> = Promise.resolve();

  constructor(deps: BridgeControllerDeps) {
    this.#deps = deps;
  }

  async start(): Promise<void> {
    await checkHost();
    this.#deps.port.on('links.mtuChanged', this.#over.signal, ({ overlay, mtu }) => {
      this.#work = this.#work.then(() => this.#setMtu(overlay, mtu));
    });
    for (const config of this.#deps.devices) await this.#make(config);
  }

  async stop(): Promise<void> {
    this.#over.abort();
    await this.#work;
    for (const config of this.#deps.devices) {
      if (!this.#ready.has(config.overlay)) continue;
      await this.#remove(config).catch((error: unknown) => {
        const { overlay } = config;
        this.#deps.log.warn('devices not removed', { overlay, error: messageOf(error) });
      });
    }
  }

  snapshot(
    overlay: OverlayId,
  ): { readonly device: DeviceSummary } | { readonly problem: Problem } | null {
    const device = this.#ready.get(overlay);
    if (device !== undefined) return { device };
    const problem = this.#failed.get(overlay);
    return problem === undefined ? null : { problem };
  }

  async #make(config: DeviceConfig): Promise<void> {
    const { overlay } = config;
    const wish = this.#wish(config, config.mtu ?? initialMtu);
    try {
      await this.#apply(config, wish);
      await this.#settleStack(config, wish);
      const device = summaryOf(config, wish);
      this.#ready.set(overlay, device);
      this.#failed.delete(overlay);
      this.#deps.log.info('devices ready', { overlay, device: holderOf(wish) });
      this.#deps.port.publish('bridges.deviceReady', device);
    } catch (error) {
      const { code, message } = toEvioError(error);
      if (code === 'host.no-ovs') this.#makeLater(config);
      if (this.#failed.get(overlay)?.message === message) return;
      this.#failed.set(overlay, { code, message });
      this.#deps.log.error('devices could not be made', { overlay, code, error: message });
      this.#deps.port.publish('bridges.deviceFailed', { overlay, problem: { code, message } });
    }
  }

  #makeLater(config: DeviceConfig): void {
    this.#deps.clock.after(ovsRetryMs, this.#over.signal, () => {
      this.#work = this.#work.then(() => this.#make(config));
    });
  }

  async #apply({ provider }: DeviceConfig, wish: DeviceWish): Promise<void> {
    const { exec } = this.#deps;
    const { bridge } = wish;
    if (provider.kind !== 'ovs' || bridge === null) return makeLinux(exec, wish);
    const { database, datapathType } = provider;
    return makeOvs({ exec, database }, { ...wish, bridge, datapathType });
  }

  /** One device alone speaks for this host, whichever others see the same frames. */
  async #settleStack({ provider }: DeviceConfig, wish: DeviceWish): Promise<void> {
    const holder = holderOf(wish);
    await letStackOn(holder);
    await refuseRouterAdvertisements(holder);
    if (wish.bridge !== null && wish.app !== null) await keepStackOff(wish.bridge.name);
    if (provider.kind === 'ovs' && provider.datapathType === 'netdev') await keepStackOff(wish.tap);
  }

  async #remove({ overlay, provider, autoDelete, app }: DeviceConfig): Promise<void> {
    const { exec, log } = this.#deps;
    const what = { devices: autoDelete, app: app?.autoDelete ?? false };
    if (!what.devices && !what.app) return;
    if (provider.kind === 'ovs') {
      await removeOvs({ exec, database: provider.database }, overlay, what);
    } else await removeLinux(exec, overlay, what);
    log.info('devices removed', { overlay });
  }

  async #setMtu(overlay: OverlayId, mtu: number): Promise<void> {
    const config = this.#deps.devices.find((d) => d.overlay === overlay);
    const device = this.#ready.get(overlay);
    if (config === undefined || device === undefined || device.mtu === mtu) return;
    if (config.mtu !== null) return; // the operator has fixed it
    try {
      const wish = this.#wish(config, mtu);
      await this.#apply(config, wish);
      this.#ready.set(overlay, summaryOf(config, wish));
      this.#deps.log.info('mtu set', { overlay, mtu });
    } catch (error) {
      this.#deps.log.warn('mtu could not be set', {
        overlay,
        mtu,
        error: toEvioError(error).message,
      });
    }
  }

  #wish(config: DeviceConfig, mtu: number): DeviceWish {
    const { overlay, provider, addresses, spanningTree, app } = config;
    const { self } = this.#deps;
    const hash = createHash('sha256').update(overlay).digest().readUInt8(0);
    const mac = hostMac(self, hash);
    const bridge: BridgeWish = {
      name: bridgeName(overlay),
      mac: app === null ? mac : innerMac(self, hash),
      mtu,
      spanningTree,
    };
    const appBridge =
      app === null ? null : { name: appBridgeName(overlay), mac, mtu: app.mtu ?? mtu };
    return {
      overlay,
      tap: tapName(overlay),
      mtu,
      mac,
      bridge: provider.kind === 'vnic' ? null : bridge,
      app: appBridge === null ? null : { ...appBridge, spanningTree: false },
      addresses,
    };
  }
}

/** What the rest of the controller and the operator are told. */
const summaryOf = ({ provider }: DeviceConfig, wish: DeviceWish): DeviceSummary => ({
  overlay: wish.overlay,
  provider: provider.kind,
  tap: wish.tap,
  bridge: wish.bridge?.name ?? null,
  appBridge: wish.app?.name ?? null,
  mac: wish.mac,
  addresses: wish.addresses,
  mtu: wish.mtu,
  offload: provider.kind !== 'ovs' || provider.datapathType !== 'netdev',
});
