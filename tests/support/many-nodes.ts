/**
 * Many nodes on one segment without NATs, Prosody beside them: the scene for rings. Owns the wiring
 * and what is asked of all nodes at once (ring complete, all pairs reached); uses the local API's
 * sockets, since a CLI per question would cost more than what is measured.
 *
 *   pub (10.99.0.1, Prosody) ── br0 ──┬── n1 (10.99.1.1; in the overlay 10.77.1.1)
 *                                     ├── n2 (10.99.1.2; 10.77.1.2)
 *                                     └── …
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { setPriority } from 'node:os';
import { join } from 'node:path';
import { loadIdentity } from '../../controller/identity/index.ts';
import { createClient } from '../../controller/local-api/client.ts';
import type { LinkStatus, OverlayStatus } from '../../controller/local-api/schema.ts';
import { type Ca, createCa } from './ca.ts';
import { createLab, type Lab } from './netns.ts';
import { EvioNode, type NodeOptions, startNode } from './node.ts';
import { type Prosody, startProsody } from './prosody.ts';
import { type Scope, waitFor } from './scope.ts';

export interface ManyOptions {
  /** At most 200. */
  readonly nodes: number;
  /** Keys of `Topology.Overlays.lab` of a node by its index. */
  readonly topology?: (index: number) => Readonly<Record<string, unknown>>;
  /** These links alone, by indexes: manual topology, each edge listed by its first node. */
  readonly edges?: ReadonlyArray<readonly [from: number, to: number]>;
  /** IPv6 in the namespaces; nodes have `fd77::<n>` in the overlay too. */
  readonly ipv6?: boolean;
  /** Further sections of a node's configuration. */
  readonly config?: (index: number) => Readonly<Record<string, unknown>>;
  /** Further options of a node by its index. */
  readonly node?: (index: number, lab: Lab) => Partial<NodeOptions>;
}

export interface Many {
  readonly lab: Lab;
  readonly ca: Ca;
  readonly prosody: Prosody;
  /** All of them, started together. */
  readonly nodes: readonly EvioNode[];
}

/** Starts them all at once and waits for nothing. */
export async function startMany(scope: Scope, options: ManyOptions): Promise<Many> {
  const lab = await createLab(scope, { ipv6: options.ipv6 ?? false });
  if (options.nodes > 20) raiseNeighbourLimits(scope, options.nodes);
  await lab.namespace('pub');
  await lab.bridge('pub', 'br0', ['10.99.0.1/16']);
  const numbers = Array.from({ length: options.nodes }, (_, index) => index + 1);
  for (const n of numbers) {
    await lab.namespace(`n${n}`);
    await lab.cable(
      { ns: 'pub', dev: `p${n}`, bridge: 'br0' },
      { ns: `n${n}`, dev: 'eth0', addresses: [`10.99.1.${n}/16`] },
    );
    lab.hosts(`n${n}`, ['127.0.0.1 localhost']);
  }
  const ca = await createCa(join(lab.folder, 'ca'));
  const users = Object.fromEntries(numbers.map((n) => [`n${n}`, `password-of-n${n}`]));
  const groups = { lab: Object.keys(users) };
  const prosody = await startProsody(lab, { ns: 'pub', address: '10.99.0.1', ca, users, groups });
  // It stands for a machine of its own: it is not what a hundred processes on two processors starve.
  setPriority(prosody.child().pid, -15);
  const topologyOf = await topologies(lab, options);
  const optionsOf = (n: number): NodeOptions => ({
    ns: `n${n}`,
    name: `n${n}`,
    address: `10.77.1.${n}`,
    prefixLength: 16,
    xmpp: { ...prosody, password: users[`n${n}`] ?? '', caFile: ca.certFile },
    ...(options.ipv6 === true ? { address6: `fd77::${n}` } : {}),
    config: { Topology: { Overlays: { lab: topologyOf(n - 1) } }, ...options.config?.(n - 1) },
    ...options.node?.(n - 1, lab),
  });
  return { lab, ca, prosody, nodes: numbers.map((n) => startNode(lab, optionsOf(n))) };
}

/**
 * The kernel counts the ARP entries of all namespaces together and refuses more than 1024, where real
 * machines have as many each. Put back with the scope.
 */
function raiseNeighbourLimits(scope: Scope, nodes: number): void {
  for (const limit of ['gc_thresh3', 'gc_thresh2', 'gc_thresh1']) {
    const file = `/proc/sys/net/ipv4/neigh/default/${limit}`;
    const before = readFileSync(file, 'utf8');
    writeFileSync(file, `${Math.max(Number(before), 4 * nodes ** 2)}`);
    scope.defer(() => writeFileSync(file, before));
  }
}

/** Static edges name node ids, so the keys are made before the configurations. */
async function topologies(
  lab: Lab,
  { nodes, topology, edges }: ManyOptions,
): Promise<(index: number) => Readonly<Record<string, unknown>>> {
  if (edges === undefined) return (index) => topology?.(index) ?? {};
  const ids: string[] = [];
  for (let n = 1; n <= nodes; n += 1) {
    const stateDirectory = EvioNode.stateDirectory(lab, `n${n}`);
    mkdirSync(join(stateDirectory, '..'), { recursive: true });
    const made = await loadIdentity({ stateDirectory, expectedNode: null, nowMs: Date.now() });
    ids.push(made.node);
  }
  return (index) => ({
    ManualTopology: true,
    StaticEdges: edges.filter(([from]) => from === index).map(([, to]) => ids[to]),
    ...topology?.(index),
  });
}

export const clientOf = (node: EvioNode) =>
  createClient(join(node.folder, 'run', 'controller.sock'));

export async function overlayOf(node: EvioNode): Promise<OverlayStatus & { nodeId: string }> {
  const { nodeId, overlays } = await clientOf(node).status();
  const [overlay] = overlays;
  if (overlay === undefined) throw new Error(`${node.name} is in no overlay`);
  return { ...overlay, nodeId };
}

export const counterOf = async (node: EvioNode, name: string): Promise<number> =>
  (await overlayOf(node)).counters[name] ?? 0;

export async function linksOf(node: EvioNode): Promise<readonly LinkStatus[]> {
  const { overlays } = await clientOf(node).links();
  return overlays[0]?.links ?? [];
}

export async function pingPeer(node: EvioNode, peer: string) {
  const { overlay, peers } = await overlayOf(node);
  const found = peers.find(({ name }) => name === peer);
  if (found === undefined) throw new Error(`${node.name} does not know ${peer}`);
  return clientOf(node).ping({ overlay, peer: found.nodeId, timeoutMs: 4_000 });
}

/** Waits until every node is signed in; node ids in the order of the nodes. */
export async function waitOnline(
  nodes: readonly EvioNode[],
  timeoutMs: number,
): Promise<readonly string[]> {
  const ids: string[] = [];
  for (const node of nodes) {
    const online = async (): Promise<string | null> => {
      if (node.exit !== undefined) throw new Error(`${node.name} ended: ${node.log()}`);
      const { nodeId, signal } = await overlayOf(node);
      return signal.state === 'online' ? nodeId : null;
    };
    const context = (): string => node.log().slice(-2_000);
    ids.push(await waitFor(`${node.name} is online`, online, { timeoutMs, stepMs: 250, context }));
  }
  return ids;
}

/** `a > b` where b is one of the next `successors` of a on the ring and their link is not up. */
export async function ringGaps(
  nodes: readonly EvioNode[],
  ids: readonly string[],
  successors = 2,
): Promise<readonly string[]> {
  const links = await Promise.all(nodes.map(linksOf));
  const ring = nodes
    .map((node, index) => ({ id: ids[index] ?? '', name: node.name, links: links[index] ?? [] }))
    .sort((a, b) => (a.id < b.id ? -1 : 1));
  const gaps: string[] = [];
  for (const [at, { name, links: own }] of ring.entries()) {
    for (let step = 1; step <= Math.min(successors, ring.length - 1); step += 1) {
      const next = ring[(at + step) % ring.length];
      if (own.some((link) => link.nodeId === next?.id && link.state === 'up')) continue;
      gaps.push(`${name} > ${next?.name}`);
    }
  }
  return gaps;
}

/** Nodes that ping all others at once: if all did, their ARP requests would be the load. */
const pingingAtOnce = 5;

type Pair = readonly [from: EvioNode, to: EvioNode];

const pairsOf = (nodes: readonly EvioNode[]): readonly Pair[] =>
  nodes.flatMap((from) => nodes.filter((to) => to !== from).map((to) => [from, to] as const));

/** Those of the pairs where no ping was answered within a second. */
async function unanswered(lab: Lab, pairs: readonly Pair[]): Promise<readonly Pair[]> {
  const missed: Pair[] = [];
  const queue = [...Map.groupBy(pairs, ([from]) => from)];
  const work = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const [from, ours] = next;
      missed.push(...(await silentOf(lab, from, ours, 1_000)));
    }
  };
  await Promise.all(Array.from({ length: pingingAtOnce }, work));
  return missed;
}

/** The same for pairs of one node. */
async function silentOf(lab: Lab, from: EvioNode, pairs: readonly Pair[], waitMs: number) {
  const addresses = pairs.map(([, to]) => to.address).join(' ');
  const script = `fping -u -r 0 -t ${waitMs} -i 1 ${addresses} 2>/dev/null || test $? = 1`;
  const out = await lab.exec(from.ns, ['sh', '-c', script], { timeoutMs: 60_000 });
  const silent = new Set(out.split('\n'));
  return pairs.filter(([, to]) => silent.has(to.address));
}

/** `a > b` where a ping of a was not answered by b. */
export const unreached = async (lab: Lab, nodes: readonly EvioNode[]): Promise<readonly string[]> =>
  named(await unanswered(lab, pairsOf(nodes)));

const named = (pairs: readonly Pair[]): readonly string[] =>
  pairs.map(([from, to]) => `${from.name} > ${to.name}`);

/**
 * Waits until every node reaches every other; how long that took, milliseconds, 0 when it was so from
 * the first. A pair that was reached is not asked again, or the time would be that of the pings.
 */
export async function waitAllPairs(
  lab: Lab,
  nodes: readonly EvioNode[],
  timeoutMs: number,
): Promise<number> {
  const startedMs = performance.now();
  let missing = await unanswered(lab, pairsOf(nodes));
  if (missing.length === 0) return 0;
  await waitFor(
    'every node reaches every other',
    async () => {
      missing = await unanswered(lab, missing);
      return missing.length === 0;
    },
    { timeoutMs, stepMs: 50, context: () => named(missing).slice(0, 40).join(', ') },
  );
  return performance.now() - startedMs;
}

/**
 * Waits until a node reaches all others, and their answers it; how long that took, milliseconds. One
 * program asks, twice a second: fifty of them would be the load.
 */
export async function waitReached(
  lab: Lab,
  node: EvioNode,
  others: readonly EvioNode[],
  timeoutMs: number,
): Promise<number> {
  const startedMs = performance.now();
  let missing: readonly Pair[] = others.map((other) => [node, other]);
  await waitFor(
    `${node.name} reaches all others`,
    async () => {
      missing = await silentOf(lab, node, missing, 500);
      return missing.length === 0;
    },
    { timeoutMs, stepMs: 1, context: () => named(missing).slice(0, 40).join(', ') },
  );
  return performance.now() - startedMs;
}

/** CPU seconds of all nodes, and the memory that each takes of a machine, with both processes. */
export async function costOf(
  nodes: readonly EvioNode[],
): Promise<{ readonly cpuSeconds: number; readonly rssMib: readonly number[] }> {
  const tunnels = await Promise.all(
    nodes.map(async (node) => (await overlayOf(node)).bridgeProcess.pid ?? 0),
  );
  const pairs = nodes.map((node, index) => [node.pid, tunnels[index] ?? 0]);
  const cpuSeconds = pairs.flat().reduce((sum, pid) => sum + cpuSecondsOf(pid), 0);
  return { cpuSeconds, rssMib: pairs.map(memoryMibOf) };
}

/** What each has for itself, and once the files that both map: they run the same executable. */
function memoryMibOf(pids: readonly number[]): number {
  const of = (pid: number, kind: 'Anon' | 'File'): number =>
    Number(new RegExp(`Rss${kind}:\\s+(\\d+)`).exec(readProc(pid, 'status'))?.[1] ?? 0) / 1_024;
  const own = pids.reduce((sum, pid) => sum + of(pid, 'Anon'), 0);
  return own + Math.max(...pids.map((pid) => of(pid, 'File')));
}

/** utime and stime (proc(5)), in ticks of 10 ms. */
function cpuSecondsOf(pid: number): number {
  const fields = readProc(pid, 'stat')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / 100;
}

function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return ''; // it has ended
  }
}
