/**
 * The host side by `ip` alone: Linux bridges, or the TAP with the address (VNIC). Carries out the
 * plans of `core/linux-plan.ts`; decides nothing.
 */
import { EvioError } from '../../base/errors.ts';
import type { Exec } from '../../base/exec.ts';
import type { OverlayId } from '../../base/ids.ts';
import { runIp } from '../../base/ip-batch.ts';
import { type DeviceWish, planDeletion, type Removal } from './core/devices.ts';
import { planLinux } from './core/linux-plan.ts';
import { appBridgeName, bridgeName, patchNames, tapName } from './core/names.ts';
import { observeDevices, spareQueue } from './host-links.ts';

export async function makeLinux(exec: Exec, wish: DeviceWish): Promise<void> {
  const observed = await observeDevices(exec);
  const plan = planLinux(wish, observed);
  if (plan.kind === 'refused') throw new EvioError(plan.refusal.code, plan.refusal.message);
  await runIp(exec, plan.commands);
  await spareQueue(exec, wish.tap, observed);
}

export async function removeLinux(
  exec: Exec,
  overlay: OverlayId,
  { devices, app }: Removal,
): Promise<void> {
  const { inner, outer } = patchNames(overlay);
  const names = [
    ...(devices || app ? [inner, outer] : []),
    ...(app ? [appBridgeName(overlay)] : []),
    ...(devices ? [bridgeName(overlay), tapName(overlay)] : []),
  ];
  await runIp(exec, planDeletion(overlay, names, await observeDevices(exec)));
}
