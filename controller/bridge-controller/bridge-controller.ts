/**
 * The bridge-controller module: makes the host side of each overlay, keeps its MTU, removes what it
 * made. Owns the devices; never touches one that is not ours, and never opens the TAP.
 */
import { createHash } from 'node:crypto';
import { EvioError, toEvioError } from '../../base/errors.ts';
import type { Exec } from '../../base/exec.ts';
import type { NodeId, OverlayId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type { Port } from '../bus.ts';
import type { DeviceSummary, Problem } from '../events.ts';
import { bridgeName, hostMac, tapName } from './core/names.ts';
import { type DeviceWish, planDevices, planRemoval, type Refusal } from './core/plan.ts';
import { checkHost, observeDevices, refuseRouterAdvertisements, runIp } from './host-links.ts';

/** What the operator configured for one overlay. */
export interface DeviceConfig {
  readonly overlay: OverlayId;
  /** lxbr: a Linux bridge with the TAP as a port; vnic: the address on the TAP itself. */
  readonly provider: 'lxbr' | 'vnic';
  readonly addresses: readonly string[];
  /** Null: derived by the tunnel process. */
  readonly mtu: number | null;
  /** Remove the devices at the end. */
  readonly autoDelete: boolean;
}

export interface BridgeControllerDeps {
  readonly port: Port<'bridges'>;
  readonly exec: Exec;
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
    const observed = await observeDevices(this.#deps.exec);
    for (const config of this.#deps.devices.filter((d) => d.autoDelete)) {
      const { overlay } = config;
      if (!this.#ready.has(overlay)) continue;
      const names = [bridgeName(overlay), tapName(overlay)];
      await runIp(this.#deps.exec, planRemoval(overlay, names, observed));
      this.#deps.log.info('devices removed', { overlay });
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
      await this.#apply(wish);
      await refuseRouterAdvertisements(wish.bridge ?? wish.tap);
      const device: DeviceSummary = wish;
      this.#ready.set(overlay, device);
      this.#deps.log.info('devices ready', { overlay, device: wish.bridge ?? wish.tap });
      this.#deps.port.publish('bridges.deviceReady', device);
    } catch (error) {
      const { code, message } = toEvioError(error);
      this.#failed.set(overlay, { code, message });
      this.#deps.log.error('devices could not be made', { overlay, code, error: message });
      this.#deps.port.publish('bridges.deviceFailed', { overlay, problem: { code, message } });
    }
  }

  async #apply(wish: DeviceWish): Promise<void> {
    const plan = planDevices(wish, await observeDevices(this.#deps.exec));
    if (plan.kind === 'refused') throw refusalError(plan.refusal);
    await runIp(this.#deps.exec, plan.commands);
  }

  async #setMtu(overlay: OverlayId, mtu: number): Promise<void> {
    const config = this.#deps.devices.find((d) => d.overlay === overlay);
    const device = this.#ready.get(overlay);
    if (config === undefined || device === undefined || device.mtu === mtu) return;
    if (config.mtu !== null) return; // the operator has fixed it
    try {
      const wish = this.#wish(config, mtu);
      await this.#apply(wish);
      this.#ready.set(overlay, wish);
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
    const { overlay, provider, addresses } = config;
    const hash = createHash('sha256').update(overlay).digest();
    return {
      overlay,
      tap: tapName(overlay),
      bridge: provider === 'lxbr' ? bridgeName(overlay) : null,
      mac: hostMac(this.#deps.self, hash.readUInt8(0)),
      addresses,
      mtu,
    };
  }
}

const refusalError = (refusal: Refusal): EvioError => new EvioError(refusal.code, refusal.message);
