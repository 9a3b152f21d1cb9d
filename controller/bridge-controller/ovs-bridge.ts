/**
 * The host side by Open vSwitch: bridges by `ovs-vsctl`, devices by `ip`. Owns the reading of the
 * database's rows and the words for a switch that does not answer; carries out `core/ovs-plan.ts`.
 */
import { z } from 'zod';
import { EvioError, messageOf } from '../../base/errors.ts';
import type { Exec } from '../../base/exec.ts';
import type { OverlayId } from '../../base/ids.ts';
import { runIp } from '../../base/ip-batch.ts';
import { planDeletion, type Removal } from './core/devices.ts';
import { appBridgeName, bridgeName, tapName } from './core/names.ts';
import {
  type ObservedOvsBridge,
  type OvsCommand,
  type OvsWish,
  ownerKey,
  planOvs,
  planOvsRemoval,
  planUnpatch,
} from './core/ovs-plan.ts';
import { observeDevices, spareQueue } from './host-links.ts';

/** ovs-vsctl waits for ovs-vswitchd to have done what it was told, at most so long. */
const answerWithinS = 5;

/** `database`: the socket of ovsdb-server, or null for the one that ovs-vsctl knows. */
export interface OvsDeps {
  readonly exec: Exec;
  readonly database: string | null;
}

export async function makeOvs(deps: OvsDeps, wish: OvsWish): Promise<void> {
  const bridges = await observeBridges(deps);
  const observed = await observeDevices(deps.exec);
  const plan = planOvs(wish, observed, bridges);
  if (plan.kind === 'refused') throw new EvioError(plan.refusal.code, plan.refusal.message);
  await runIp(deps.exec, plan.before);
  await spareQueue(deps.exec, wish.tap, observed);
  await runDatabase(deps, plan.database);
  await runIp(deps.exec, plan.after);
}

export async function removeOvs(
  deps: OvsDeps,
  overlay: OverlayId,
  { devices, app }: Removal,
): Promise<void> {
  const bridges = await observeBridges(deps);
  const [bridge, appBridge] = [bridgeName(overlay), appBridgeName(overlay)];
  await runDatabase(deps, [
    ...planOvsRemoval(
      overlay,
      [...(app ? [appBridge] : []), ...(devices ? [bridge] : [])],
      bridges,
    ),
    ...(app && !devices ? planUnpatch(overlay, bridge, bridges) : []),
    ...(devices && !app ? planUnpatch(overlay, appBridge, bridges) : []),
  ]);
  if (!devices) return;
  const observed = await observeDevices(deps.exec);
  await runIp(deps.exec, planDeletion(overlay, [tapName(overlay)], observed));
}

/** A table as `ovs-vsctl --format=json list` prints it (RFC 7047 section 5.1). */
const Table = z.object({ headings: z.array(z.string()), data: z.array(z.array(z.unknown())) });
const Uuid = z.tuple([z.literal('uuid'), z.string()]).transform(([, uuid]) => uuid);
const Uuids = z.union([
  Uuid.transform((uuid) => [uuid]),
  z.tuple([z.literal('set'), z.array(Uuid)]).transform(([, uuids]) => uuids),
]);
const TextMap = z
  .tuple([z.literal('map'), z.array(z.tuple([z.string(), z.string()]))])
  .transform(([, pairs]) => new Map(pairs));
/** An optional column that is not set is an empty set. */
const Optional = z.union([z.number(), z.tuple([z.literal('set'), z.array(z.unknown())])]);

const BridgeRow = z.object({
  name: z.string(),
  external_ids: TextMap,
  datapath_type: z.string(),
  stp_enable: z.boolean(),
  other_config: TextMap,
  ports: Uuids,
});
const PortRow = z.object({ _uuid: Uuid, name: z.string() });
const InterfaceRow = z.object({ name: z.string(), mtu_request: Optional });

async function observeBridges(deps: OvsDeps): Promise<readonly ObservedOvsBridge[]> {
  const list = (columns: string, table: string): readonly string[] => [
    `--columns=${columns}`,
    ...['list', table],
  ];
  const output = await ovs(
    deps,
    ['--format=json'],
    [
      list('name,external_ids,datapath_type,stp_enable,other_config,ports', 'Bridge'),
      list('_uuid,name', 'Port'),
      list('name,mtu_request', 'Interface'),
    ],
  );
  const tables = output.split('\n').filter((line) => line !== '');
  const bridges = rowsOf(BridgeRow, tables[0]);
  const ports = new Map(rowsOf(PortRow, tables[1]).map((port) => [port._uuid, port.name]));
  const requests = new Map(rowsOf(InterfaceRow, tables[2]).map((i) => [i.name, i.mtu_request]));
  return bridges.map((bridge) => {
    const request = requests.get(bridge.name);
    return {
      name: bridge.name,
      overlay: bridge.external_ids.get(ownerKey) ?? '',
      datapathType: bridge.datapath_type,
      mac: bridge.other_config.get('hwaddr') ?? '',
      spanningTree: bridge.stp_enable,
      mtuRequest: typeof request === 'number' ? request : null,
      ports: bridge.ports.flatMap((uuid) => ports.get(uuid) ?? []),
    };
  });
}

/** The rows of a table; none when the database has printed none. */
function rowsOf<T extends z.ZodType>(row: T, text: string | undefined): z.infer<T>[] {
  if (text === undefined) return [];
  const { headings, data } = Table.parse(JSON.parse(text));
  return data.map((cells) =>
    row.parse(Object.fromEntries(headings.map((name, index) => [name, cells[index]]))),
  );
}

async function runDatabase(deps: OvsDeps, commands: readonly OvsCommand[]): Promise<void> {
  if (commands.length > 0) await ovs(deps, [], commands);
}

/** One ovs-vsctl with all commands, which is one transaction. */
async function ovs(
  { exec, database }: OvsDeps,
  options: readonly string[],
  commands: readonly OvsCommand[],
): Promise<string> {
  const argv = [
    'ovs-vsctl',
    `--timeout=${answerWithinS}`,
    ...(database === null ? [] : [`--db=unix:${database}`]),
    ...options,
    ...commands.flatMap((command) => ['--', ...command]),
  ];
  try {
    return await exec(argv, { timeoutMs: (answerWithinS + 2) * 1_000 });
  } catch (error) {
    throw explain(messageOf(error), database, error);
  }
}

function explain(message: string, database: string | null, cause: unknown): EvioError {
  const where = database === null ? '' : ` at ${database}`;
  if (
    /ovs-vsctl.*(ENOENT|No such file or directory$)/m.test(message) &&
    !/database/.test(message)
  ) {
    const text = 'ovs-vsctl is not installed (package openvswitch-switch)';
    return new EvioError('host.no-ovs', text, { cause });
  }
  if (/database connection failed/.test(message)) {
    const text = `ovsdb-server does not answer${where}: ${message}`;
    return new EvioError('host.no-ovs', text, { cause });
  }
  if (/Alarm clock|no end within/.test(message)) {
    const text = `ovs-vswitchd does not answer within ${answerWithinS} s${where}`;
    return new EvioError('host.no-ovs', text, { cause });
  }
  return cause instanceof EvioError
    ? cause
    : new EvioError('host.command-failed', message, { cause });
}
