/**
 * The demo: sites behind NATs, one Evio node in each, traffic between two of them beside the same
 * traffic over a bare cable. Owns the network `evio-demo` while it runs; uses Evio by its command
 * line only.
 *
 * Usage: npm run demo -- [--kinds port,symmetric] [--seconds 5] [--keep] | --down
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { messageOf } from '../../base/errors.ts';
import { createCa } from '../support/ca.ts';
import { startCoturn } from '../support/coturn.ts';
import { createNatLab, isNatKind, type NatKind, natKinds } from '../support/nat-lab.ts';
import { type Lab, labExists, removeLab } from '../support/netns.ts';
import { type EvioNode, type NodeStatus, startNode } from '../support/node.ts';
import { print } from '../support/print.ts';
import { startProsody } from '../support/prosody.ts';
import { type Scope, waitFor, withScope } from '../support/scope.ts';
import { type IperfResult, iperf, type PingResult, ping } from '../support/traffic.ts';

const labName = 'evio-demo';
const startedMs = performance.now();

const say = (text: string): void => {
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  print(`[${seconds.padStart(5)} s] ${text}`);
};

interface Arguments {
  readonly kinds: readonly NatKind[];
  readonly seconds: number;
  readonly keep: boolean;
  readonly down: boolean;
}

function readArguments(): Arguments {
  const { values } = parseArgs({
    options: {
      kinds: { type: 'string', default: 'port,restricted' },
      seconds: { type: 'string', default: '5' },
      keep: { type: 'boolean', default: false },
      down: { type: 'boolean', default: false },
    },
  });
  const kinds = values.kinds.split(',').map((text) => {
    if (!isNatKind(text)) throw new Error(`--kinds ${text}: one of ${natKinds.join(', ')}`);
    return text;
  });
  const seconds = Number(values.seconds);
  if (kinds.length < 2 || kinds.length > 9) throw new Error('--kinds: 2 to 9 of them');
  if (!(seconds >= 1)) throw new Error(`--seconds ${values.seconds}: at least 1`);
  return { kinds, seconds, keep: values.keep, down: values.down };
}

/** What a failure prints: the ends of the logs of all that runs. */
type Logs = Map<string, () => string>;

async function main(): Promise<void> {
  const wanted = readArguments();
  if (wanted.down) {
    await removeLab(labName);
    print('the demo is removed');
    return;
  }
  if (labExists(labName)) {
    throw new Error('a demo is there already; remove it by: npm run demo -- --down');
  }
  await withScope(async (scope) => {
    const logs: Logs = new Map();
    try {
      await demonstrate(scope, wanted, logs);
    } catch (error) {
      for (const [name, log] of logs) print(`--- log of ${name}\n${log().slice(-3_000)}`);
      throw error;
    }
  });
}

async function demonstrate(scope: Scope, wanted: Arguments, logs: Logs): Promise<void> {
  const { kinds, seconds } = wanted;
  const { lab, nodes } = await startNetwork(scope, kinds, logs);
  const upMs = performance.now();
  await watchUntilConnected(nodes);
  const connectMs = performance.now() - upMs;
  const [a, b] = nodes;
  if (a === undefined || b === undefined) throw new Error('two nodes');
  const once = { count: 1, waitS: 0.5 };
  await waitFor(
    'the first ping comes back',
    async () => (await ping(lab, a.ns, b.address, once)).received === 1,
    { timeoutMs: 15_000 },
  );
  say(`ping ${a.address} → ${b.address}, 10 times`);
  const times = await ping(lab, a.ns, b.address, { count: 10, intervalS: 0.2 });
  if (times.received < 10) throw new Error(`${times.received} of 10 pings came back`);
  say(`TCP through Evio, ${seconds} s each way`);
  const over = { from: a.ns, to: b.ns, address: b.address, seconds };
  const there = await iperf(lab, over);
  const back = await iperf(lab, { ...over, reverse: true });
  say(`TCP over a bare cable, ${seconds} s`);
  const bare = await bareCable(lab, seconds);
  print(`\n$ evio status   (node ${a.name})\n${await a.evio('status')}`);
  print(`$ evio peers   (node ${a.name})\n${await a.evio('peers')}`);
  const path = (await a.peer(b.name))?.path?.kind ?? 'none';
  print(summary(kinds, { connectMs, path, times, there, back, bare }));
  if (wanted.keep) keep(lab, nodes);
}

interface Network {
  readonly lab: Lab;
  readonly nodes: readonly EvioNode[];
}

async function startNetwork(scope: Scope, kinds: readonly NatKind[], logs: Logs): Promise<Network> {
  say(`making ${kinds.length} sites behind NATs (${kinds.join(', ')}) and a public segment`);
  const { lab, sites, pub, publicAddress } = await createNatLab(scope, { kinds, name: labName });
  const place = { ns: pub, address: publicAddress };
  const names = sites.map((_, index) => String.fromCharCode(97 + index));
  const passwords = new Map(names.map((name) => [name, randomBytes(12).toString('hex')]));
  const relayPassword = randomBytes(12).toString('hex');
  say(`starting Prosody (XMPP) and coturn (STUN, TURN) on ${publicAddress}`);
  const ca = await createCa(join(lab.folder, 'ca'));
  const users = Object.fromEntries(passwords);
  const prosody = await startProsody(lab, { ...place, ca, users, groups: { lab: names } });
  logs.set('Prosody', () => prosody.log());
  const coturn = await startCoturn(lab, { ...place, users: { relay: relayPassword } });
  const nodes = sites.map((site, index) => {
    const name = names[index] ?? '';
    const node = startNode(lab, {
      ns: site.host,
      name,
      address: `10.77.0.${index + 1}`,
      xmpp: { ...prosody, password: passwords.get(name) ?? '', caFile: ca.certFile },
      stun: [coturn.endpoint],
      turn: [{ Address: coturn.endpoint, User: 'relay', Password: relayPassword }],
    });
    logs.set(`node ${name}`, () => node.log());
    say(`node ${name}: evio up in namespace ${lab.fullName(site.host)} (${site.kind} NAT)`);
    return node;
  });
  return { lab, nodes };
}

/** Says what changes in `evio status` of each node until every node has a path to every other. */
async function watchUntilConnected(nodes: readonly EvioNode[]): Promise<void> {
  const said = new Map<string, string>();
  await waitFor(
    'every node has a path to every other',
    async () => {
      for (const node of nodes) {
        if (node.exit !== undefined) throw new Error(`node ${node.name} ended`);
      }
      const all = await Promise.all(nodes.map((node) => node.status().catch(() => undefined)));
      for (const [index, status] of all.entries()) {
        for (const [thing, state] of facts(status)) {
          const key = `node ${nodes[index]?.name}: ${thing}`;
          if (said.get(key) !== state) say(`${key} ${state}`);
          said.set(key, state);
        }
      }
      return all.every((status) => connectedPeers(status) === nodes.length - 1);
    },
    { timeoutMs: 60_000, stepMs: 100 },
  );
}

function facts(status: NodeStatus | undefined): readonly (readonly [string, string])[] {
  return (status?.overlays ?? []).flatMap((overlay) => [
    ['signalling', overlay.signal?.state ?? 'unknown'] as const,
    ...overlay.peers.map((peer) => {
      const { kind = 'none', remote } = peer.path ?? {};
      const path = kind === 'none' ? '' : `, path ${kind} ${remote ?? ''}`;
      return [`peer ${peer.name ?? peer.nodeId}`, `${peer.state}${path}`] as const;
    }),
  ]);
}

function connectedPeers(status: NodeStatus | undefined): number {
  const peers = (status?.overlays ?? []).flatMap((overlay) => overlay.peers);
  return peers.filter((peer) => (peer.path?.kind ?? 'none') !== 'none').length;
}

async function bareCable(lab: Lab, seconds: number): Promise<IperfResult> {
  await lab.namespace('bareA');
  await lab.namespace('bareB');
  await lab.cable(
    { ns: 'bareA', dev: 'eth0', addresses: ['10.1.0.1/24'] },
    { ns: 'bareB', dev: 'eth0', addresses: ['10.1.0.2/24'] },
  );
  return iperf(lab, { from: 'bareA', to: 'bareB', address: '10.1.0.2', seconds });
}

interface Figures {
  readonly connectMs: number;
  readonly path: string;
  readonly times: PingResult;
  readonly there: IperfResult;
  readonly back: IperfResult;
  readonly bare: IperfResult;
}

function summary(kinds: readonly NatKind[], f: Figures): string {
  const mbps = (result: IperfResult): string =>
    `${result.mbps.toFixed(0)} Mbit/s (${((100 * result.mbps) / f.bare.mbps).toFixed(0)} % of bare)`;
  const rows = [
    ['NATs', kinds.join(', ')],
    ['time to connect', `${(f.connectMs / 1000).toFixed(1)} s from start to a path on every node`],
    ['path a–b', f.path],
    ['round trip', `${f.times.medianMs.toFixed(2)} ms median of ${f.times.received}`],
    ['TCP a → b', mbps(f.there)],
    ['TCP b → a', mbps(f.back)],
    ['bare cable', `${f.bare.mbps.toFixed(0)} Mbit/s`],
  ] as const;
  return `\n${rows.map(([name, value]) => `${name.padEnd(17)}${value}`).join('\n')}`;
}

function keep(lab: Lab, nodes: readonly EvioNode[]): void {
  lab.leave();
  const [a, b] = nodes;
  print('\nIt goes on running. Look around:');
  for (const node of nodes) {
    const enter = `ip netns exec ${lab.fullName(node.ns)}`;
    print(`  ${enter} controller/cli/evio status --config ${node.configFile}`);
  }
  print(`  ip netns exec ${lab.fullName(a?.ns ?? '')} ping ${b?.address}`);
  print('Remove it:\n  npm run demo -- --down');
}

await main().catch((error: unknown) => {
  print(`demo failed: ${messageOf(error)}`);
  process.exitCode = 1;
});
