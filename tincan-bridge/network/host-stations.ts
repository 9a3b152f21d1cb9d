/**
 * Which stations the host side of a TAP owns for sure, as the kernel's bridges know them, and how its
 * bridge is made to forget. Owns the reading of sysfs; never changes a device.
 */
import { existsSync, readdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { Mac, macFromBytes } from '../../base/ids.ts';

/** `complete`: it has no others. */
export interface OwnedStations {
  readonly macs: ReadonlySet<Mac>;
  readonly complete: boolean;
}

export interface HostStations {
  /** Not complete where nobody can be asked: Open vSwitch, a macvlan, a sandbox without sysfs. */
  readonly owned: () => OwnedStations;
  /** What the bridge learnt on the TAP's port is forgotten; without a bridge, or rights, nothing. */
  readonly forgetLearnt: () => void;
}

const net = '/sys/class/net';
/** struct __fdb_entry of linux/if_bridge.h: address (6), port (1), is_local (1), age (4), port's high byte (1), … */
const entryBytes = 16;

/** On which port of its bridge each station was seen last. */
export function portsOfFdb(fdb: Uint8Array): ReadonlyMap<Mac, number> {
  const found = new Map<Mac, number>();
  for (let at = 0; at + entryBytes <= fdb.length; at += entryBytes) {
    const port = (fdb[at + 6] ?? 0) + 256 * (fdb[at + 12] ?? 0);
    found.set(macFromBytes(fdb.subarray(at, at + 6)), port);
  }
  return found;
}

export function hostStationsOf(tap: string): HostStations {
  return {
    owned: () => {
      try {
        if (existsSync(`${net}/${tap}/brport`)) return { macs: bridged(tap), complete: true };
        return { macs: new Set([addressOf(tap)]), complete: false };
      } catch {
        return { macs: new Set(), complete: false }; // on its way in or out, or we may not read
      }
    },
    forgetLearnt: () => {
      try {
        writeFileSync(`${net}/${tap}/brport/flush`, '1');
      } catch {
        // Without it the bridge learns anew by the next frame from the other side.
      }
    },
  };
}

/** Behind the other ports of its bridge, and behind a bridge that one of these is patched to. */
function bridged(tap: string): ReadonlySet<Mac> {
  const bridge = bridgeOf(tap);
  const owned = new Set([addressOf(tap), addressOf(bridge)]);
  const patches = patchesOf(bridge, tap);
  const inner = new Set([portOf(tap), ...patches.map((patch) => portOf(patch.inner))]);
  for (const mac of behind(bridge, inner)) owned.add(mac);
  for (const { outer } of patches) {
    const second = bridgeOf(outer);
    owned.add(addressOf(second));
    for (const mac of behind(second, new Set([portOf(outer)]))) owned.add(mac);
  }
  return owned;
}

const behind = (bridge: string, but: ReadonlySet<number>): readonly Mac[] =>
  [...portsOfFdb(readFileSync(`${net}/${bridge}/brforward`))]
    .filter(([, port]) => !but.has(port))
    .map(([mac]) => mac);

/**
 * The bridge for applications (`AppBridge`): its table, not this bridge's, says when a station has left.
 * A veth's two ends name each other, and the far one is a port too.
 */
function patchesOf(bridge: string, tap: string): ReadonlyArray<{ inner: string; outer: string }> {
  const second = tap.replace(/^ev-/, 'evap-');
  if (second === tap || !existsSync(`${net}/${second}/brif`)) return [];
  const outers = new Map(readdirSync(`${net}/${second}/brif`).map((port) => [indexOf(port), port]));
  return readdirSync(`${net}/${bridge}/brif`).flatMap((inner) => {
    const outer = outers.get(peerOf(inner));
    return outer !== undefined && peerOf(outer) === indexOf(inner) ? [{ inner, outer }] : [];
  });
}

const bridgeOf = (port: string): string => basename(realpathSync(`${net}/${port}/brport/bridge`));
const text = (device: string, file: string): string =>
  readFileSync(`${net}/${device}/${file}`, 'utf8').trim();
const portOf = (device: string): number => Number.parseInt(text(device, 'brport/port_no'), 16);
const indexOf = (device: string): number => Number(text(device, 'ifindex'));
const peerOf = (device: string): number => Number(text(device, 'iflink'));
const addressOf = (device: string): Mac => Mac.parse(text(device, 'address'));
