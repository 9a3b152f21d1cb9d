/**
 * How fast pods are beside their hosts, their networks without containers, and a bare cable. Owns
 * nothing that stays; judges nothing.
 */
import { removeNamespace } from '../netns.ts';
import { iperf } from '../traffic.ts';
import type { Cluster } from './cluster.ts';
import { IperfSum, inPod, type Pod, type Workload } from './workload.ts';

/** Turns of a comparison of speeds; more by hand. */
const rounds = Number(process.env['EVIO_TEST_ROUNDS'] ?? 2);

/** TCP in Mbit/s, each way. */
interface Speed {
  readonly there: number;
  readonly back: number;
}

/** Between the pods. */
async function measurePods(
  cluster: Cluster,
  { pods: [from, to] }: Workload,
  seconds: number,
): Promise<Speed> {
  const run = async (more: readonly string[]): Promise<number> => {
    const argv = ['iperf3', '-J', '-c', to.address, '-t', `${seconds}`, ...more];
    const report = await inPod(cluster, from, argv, seconds * 1_000 + 30_000);
    return IperfSum.parse(JSON.parse(report)).end.sum_received.bits_per_second / 1e6;
  };
  return { there: await run([]), back: await run(['-R']) };
}

/** Between the workers themselves over the overlay. */
async function measureHosts(cluster: Cluster, seconds: number): Promise<Speed> {
  const [from, to] = cluster.workers;
  const pair = { from: from.machine.name, to: to.machine.name, address: to.address, seconds };
  const { lab } = cluster.scene;
  const there = await iperf(lab, pair);
  return { there: there.mbps, back: (await iperf(lab, { ...pair, reverse: true })).mbps };
}

/** The lab can run programs in the pod's network namespace, and in no container, by this name. */
async function enterNetwork({ address, worker }: Pod): Promise<string> {
  const { lab, name: machine } = worker.machine;
  const listed = await lab.exec(machine, ['ip', 'netns']);
  for (const netns of listed.match(/^cni-\S+/gm) ?? []) {
    const inside = ['ip', 'netns', 'exec', netns];
    const seen = await lab.exec(machine, [...inside, 'ip', '-brief', 'address']);
    if (!seen.includes(` ${address}/`)) continue;
    const name = `network-of-${address}`;
    lab.enterBy(name, [...lab.argvIn(machine, []), ...inside]);
    return name;
  }
  throw new Error(`no namespace on ${machine} has ${address}: ${listed}`);
}

/** Between the pods' networks, by a program like that of the hosts. */
async function measureNetworks({ pods }: Workload, seconds: number): Promise<Speed> {
  const [one, two] = pods;
  const [from, to] = [await enterNetwork(one), await enterNetwork(two)];
  const { lab } = one.worker.machine;
  const pair = { from, to, address: two.address, port: 5_301, seconds };
  const there = await iperf(lab, pair);
  return { there: there.mbps, back: (await iperf(lab, { ...pair, reverse: true })).mbps };
}

/** A cable between two namespaces and nothing else: what this machine can. */
async function measureCable(cluster: Cluster, seconds: number): Promise<number> {
  const { lab } = cluster.scene;
  const [from, to] = ['cable-a', 'cable-b'];
  await lab.namespace(from);
  await lab.namespace(to);
  const [one, two] = ['192.0.2.1', '192.0.2.2'];
  await lab.cable(
    { ns: from, dev: 'eth0', addresses: [`${one}/24`] },
    { ns: to, dev: 'eth0', addresses: [`${two}/24`] },
  );
  const { mbps } = await iperf(lab, { from, to, address: two, seconds });
  await removeNamespace(lab.fullName(from));
  await removeNamespace(lab.fullName(to));
  return mbps;
}

export interface Speeds {
  /** For people. */
  readonly line: string;
  /** Pods ÷ hosts. */
  readonly pods: number;
  /** The same by programs in the pods' network namespaces, but not in their containers ÷ hosts. */
  readonly networks: number;
}

/**
 * TCP between pods beside TCP between their hosts, both over the overlay, in turns: what else runs
 * on this machine then troubles both.
 */
export async function compareSpeeds(cluster: Cluster, work: Workload): Promise<Speeds> {
  const [hosts, pods, networks]: [Speed[], Speed[], Speed[]] = [[], [], []];
  for (let round = 0; round < rounds; round += 1) {
    hosts.push(await measureHosts(cluster, 2));
    pods.push(await measurePods(cluster, work, 2));
    networks.push(await measureNetworks(work, 2));
  }
  const cable = await measureCable(cluster, 2);
  const mean = (runs: readonly Speed[], way: keyof Speed): number =>
    runs.reduce((sum, speed) => sum + speed[way], 0) / runs.length;
  const both = (runs: readonly Speed[]): number => mean(runs, 'there') + mean(runs, 'back');
  const ratio = (runs: readonly Speed[]): number => both(runs) / both(hosts);
  const show = (runs: readonly Speed[]): string =>
    `${mean(runs, 'there').toFixed(0)} and ${mean(runs, 'back').toFixed(0)} Mbit/s`;
  const ofHosts = (runs: readonly Speed[]): string =>
    `${show(runs)} (${ratio(runs).toFixed(2)} of the hosts)`;
  return {
    line: `cable ${cable.toFixed(0)} Mbit/s, hosts ${show(hosts)}, pods ${ofHosts(pods)}, their networks without containers ${ofHosts(networks)}`,
    pods: ratio(pods),
    networks: ratio(networks),
  };
}
