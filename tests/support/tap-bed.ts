/**
 * TAP devices for tests, on bridges without addresses: one TAP for the data path under test, one
 * for a second data path that plays the host and so sees and sends raw frames.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { exec } from '../../base/exec.ts';
import { InterfaceName, NodeId } from '../../base/ids.ts';
import type { Upcall } from '../../tincan-bridge/datapath/datapath.ts';
import { createNativeDatapath } from '../../tincan-bridge/datapath/native.ts';
import type { T } from './harness.ts';

/** Why tests with TAP devices cannot run here, or null. */
export function noTap(): string | null {
  if (process.getuid?.() !== 0) return 'needs root';
  return existsSync('/dev/net/tun') ? null : 'needs /dev/net/tun';
}

let made = 0;
const ip = (...argv: string[]): Promise<string> => exec(['ip', ...argv]);

/** A persistent TAP, up, silent: no IPv6, so that the kernel sends nothing by itself. */
export async function makeTap(t: T, name: string, bridge?: string): Promise<InterfaceName> {
  await ip('tuntap', 'add', name, 'mode', 'tap');
  t.defer(async () => void (await ip('link', 'del', name)));
  writeFileSync(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, '1');
  if (bridge !== undefined) await ip('link', 'set', name, 'master', bridge);
  await ip('link', 'set', name, 'up');
  return InterfaceName.parse(name);
}

export interface HostSide {
  readonly tap: InterfaceName;
  readonly frames: Uint8Array[];
  readonly inject: (bytes: Uint8Array) => void;
  /** Frames pass: both ports forward, once somebody has opened the TAP. */
  readonly ready: () => boolean;
}

/** A TAP whose other side is watched and fed. */
export async function makeHostSide(t: T): Promise<HostSide> {
  const name = `t${process.pid}x${made++}`;
  const bridge = `${name}b`;
  // Ageing 0: every frame goes to the other port, whoever was seen where.
  await ip('link', 'add', bridge, 'type', 'bridge', 'ageing_time', '0', 'mcast_snooping', '0');
  t.defer(async () => void (await ip('link', 'del', bridge)));
  writeFileSync(`/proc/sys/net/ipv6/conf/${bridge}/disable_ipv6`, '1');
  await ip('link', 'set', bridge, 'up');
  const tap = await makeTap(t, `${name}t`, bridge);
  const hostTap = await makeTap(t, `${name}h`, bridge);
  const frames: Uint8Array[] = [];
  const host = createNativeDatapath({
    tap: hostTap,
    nodeId: NodeId.parse('f'.repeat(32)),
    onUpcalls: (upcalls: readonly Upcall[]) => {
      for (const upcall of upcalls) {
        if (upcall.kind === 'frame-out') frames.push(...host.completeFrame(upcall.frame));
      }
    },
  });
  t.defer(() => host.close());
  const inject = (bytes: Uint8Array): void => {
    if (!host.deliverFrame({ bytes, offload: null })) throw new Error('host tap refused a frame');
  };
  const ready = (): boolean =>
    [tap, hostTap].every(
      (port) => readFileSync(`/sys/class/net/${port}/brport/state`, 'utf8').trim() === '3',
    );
  return { tap, frames, inject, ready };
}
