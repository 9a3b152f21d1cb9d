/**
 * An Open vSwitch of a test's own: database and switch in a namespace, sockets in the lab's folder.
 * Owns both processes; the machine's own Open vSwitch is never touched.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Child } from './child.ts';
import type { Lab } from './netns.ts';
import { waitFor } from './scope.ts';

const schema = '/usr/share/openvswitch/vswitch.ovsschema';

/** Why tests with Open vSwitch cannot run here, or null. */
export const noOvs = (): string | null =>
  existsSync(schema) ? null : 'needs the package openvswitch-switch';

export interface Ovs {
  /** Socket of the database. */
  readonly database: string;
  /** Standard output of ovs-vsctl. */
  vsctl(...args: readonly string[]): Promise<string>;
  /** Ends ovs-vswitchd and starts it again; the database stays. */
  restartSwitch(): Promise<void>;
  stopSwitch(): Promise<void>;
}

export async function startOvs(lab: Lab, ns: string): Promise<Ovs> {
  const folder = join(lab.folder, `ovs-${ns}`);
  mkdirSync(folder, { recursive: true });
  const file = join(folder, 'conf.db');
  const database = join(folder, 'db.sock');
  await lab.exec('', ['ovsdb-tool', 'create', file, schema]);
  const own = ['env', `OVS_RUNDIR=${folder}`, `OVS_LOGDIR=${folder}`];
  lab.spawn(ns, [
    ...[...own, 'ovsdb-server', file, `--remote=punix:${database}`],
    `--unixctl=${join(folder, 'ovsdb.ctl')}`,
  ]);
  await waitFor('ovsdb-server listens', () => existsSync(database));
  const vsctl = (...args: readonly string[]): Promise<string> =>
    lab.exec(ns, ['ovs-vsctl', '--timeout=5', `--db=unix:${database}`, ...args]);
  await vsctl('--no-wait', 'init');
  const startSwitch = async (): Promise<Child> => {
    const child = lab.spawn(ns, [
      ...[...own, 'ovs-vswitchd', `unix:${database}`],
      `--unixctl=${join(folder, 'switch.ctl')}`,
    ]);
    await child.waitLog('ovs-vswitchd (Open vSwitch)');
    return child;
  };
  let child = await startSwitch();
  return {
    database,
    vsctl,
    async stopSwitch() {
      await child.stop();
    },
    async restartSwitch() {
      await child.stop();
      child = await startSwitch();
    },
  };
}
