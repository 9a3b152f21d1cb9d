/**
 * Which stations the host side of a TAP owns for sure, as the kernel's bridge knows them, and how its
 * bridge is made to forget. Owns the reading of sysfs; never changes a device.
 */
import { readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { Mac, macFromBytes } from '../../base/ids.ts';

export interface HostStations {
  /** Null: nobody can be asked (an Open vSwitch bridge, a sandbox without sysfs). */
  readonly owned: () => ReadonlySet<Mac> | null;
  /** What the bridge learnt on the TAP's port is forgotten; without a bridge, or rights, nothing. */
  readonly forgetLearnt: () => void;
}

/** struct __fdb_entry of linux/if_bridge.h: address (6), port (1), is_local (1), age (4), port's high byte (1), … */
const entryBytes = 16;

/** Port number 0 is none. */
export function portsOfFdb(fdb: Uint8Array): ReadonlyMap<Mac, number> {
  const found = new Map<Mac, number>();
  for (let at = 0; at + entryBytes <= fdb.length; at += entryBytes) {
    const port = (fdb[at + 6] ?? 0) + 256 * (fdb[at + 12] ?? 0);
    found.set(macFromBytes(fdb.subarray(at, at + 6)), port);
  }
  return found;
}

export function hostStationsOf(tap: string): HostStations {
  const folder = `/sys/class/net/${tap}`;
  return {
    owned: () => {
      try {
        return bridged(folder) ?? alone(folder);
      } catch {
        return null; // the device is on its way in or out, or we may not read: idle times decide
      }
    },
    forgetLearnt: () => {
      try {
        writeFileSync(`${folder}/brport/flush`, '1');
      } catch {
        // Without it the bridge learns anew by the next frame from the other side.
      }
    },
  };
}

/** Null: the TAP is no port of a Linux bridge. */
function bridged(folder: string): ReadonlySet<Mac> | null {
  let bridge: string;
  try {
    bridge = basename(realpathSync(`${folder}/brport/bridge`));
  } catch {
    return null;
  }
  const ownPort = Number.parseInt(readFileSync(`${folder}/brport/port_no`, 'utf8'), 16);
  const fdb = portsOfFdb(readFileSync(`/sys/class/net/${bridge}/brforward`));
  const owned = [...fdb].filter(([, port]) => port !== ownPort).map(([mac]) => mac);
  return new Set([...owned, addressOf(folder), addressOf(`/sys/class/net/${bridge}`)]);
}

/** Its own address; null where something else stands between it and the stations. */
function alone(folder: string): ReadonlySet<Mac> | null {
  try {
    realpathSync(`${folder}/master`);
    return null;
  } catch {
    return new Set([addressOf(folder)]);
  }
}

const addressOf = (folder: string): Mac =>
  Mac.parse(readFileSync(`${folder}/address`, 'utf8').trim());
