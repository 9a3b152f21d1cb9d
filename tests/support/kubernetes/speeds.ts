/**
 * How fast pods are beside their hosts, their networks without containers, and a bare cable. Owns
 * nothing that stays; judges nothing.
 */
import { removeNamespace } from '../netns.ts';
import { iperf } from '../traffic.ts';
import type { Cluster } from './cluster.ts';
import { judgeImage } from './runtime.ts';
import type { Worker } from './worker.ts';
import { IperfSum, inPod, type Pod, type Workload } from './workload.ts';

/** Turns of a comparison of speeds; more by hand. */
const rounds = Number(process.env['EVIO_TEST_ROUNDS'] ?? 2);

/** TCP in Mbit/s, each way. */
interface Speed {
  readonly there: number;
  readonly back: number;
}

interface Between {
  readonly from: Pick<Pod, 'name'>;
  readonly address: string;
  readonly port: number;
  readonly seconds: number;
}

/** From a container to a server that runs in another one. */
async function measurePods(
  cluster: Cluster,
  { from, address, port, seconds }: Between,
): Promise<Speed> {
  const client = ['iperf3', '-J', '-c', address, '-p', `${port}`, '-t', `${seconds}`];
  const run = async (more: readonly string[]): Promise<number> => {
    const argv = [...client, ...more];
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

const hostPodPort = 5_401;
const hostPod = (worker: Worker): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: hostPodOn(worker), labels: { app: 'host' } },
  spec: {
    nodeName: worker.name,
    hostNetwork: true,
    terminationGracePeriodSeconds: 0,
    containers: [
      {
        name: 'host',
        image: judgeImage,
        imagePullPolicy: 'Never',
        command: ['iperf3', '-s', '-p', `${hostPodPort}`],
      },
    ],
  },
});
const hostPodOn = (worker: Worker): string => `host-${worker.name}`;

/** Containers like those of the pods, in the network of the hosts: only the network differs. */
async function startHostPods(cluster: Cluster): Promise<() => Promise<string>> {
  await cluster.apply(...cluster.workers.map(hostPod));
  const ready = ['wait', '--for=condition=Ready', 'pods', '-l', 'app=host', '--timeout=60s'];
  await cluster.kubectl(ready, { timeoutMs: 70_000 });
  const remove = ['delete', 'pods', '-l', 'app=host', '--wait'];
  return () => cluster.kubectl(remove, { timeoutMs: 60_000 });
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
  /** Pods ÷ containers in the network of their hosts. */
  readonly pods: number;
  /** The same by programs in the pods' network namespaces, but not in their containers ÷ hosts. */
  readonly networks: number;
}

/**
 * TCP between pods beside TCP between their hosts, by programs and by containers, all over the overlay,
 * in turns: what else runs on this machine then troubles all.
 */
export async function compareSpeeds(cluster: Cluster, work: Workload): Promise<Speeds> {
  const hosts: Speed[] = [];
  const hostPods: Speed[] = [];
  const pods: Speed[] = [];
  const networks: Speed[] = [];
  const seconds = 2;
  const [one, two] = cluster.workers;
  const [from, to] = work.pods;
  const fromHost = { from: { name: hostPodOn(one) }, address: two.address, port: hostPodPort };
  const fromPod = { from, address: to.address, port: 5_201 };
  const removeHostPods = await startHostPods(cluster);
  for (let round = 0; round < rounds; round += 1) {
    hosts.push(await measureHosts(cluster, seconds));
    networks.push(await measureNetworks(work, seconds));
    hostPods.push(await measurePods(cluster, { ...fromHost, seconds }));
    pods.push(await measurePods(cluster, { ...fromPod, seconds }));
  }
  await removeHostPods();
  const cable = await measureCable(cluster, 2);
  const mean = (runs: readonly Speed[], way: keyof Speed): number =>
    runs.reduce((sum, speed) => sum + speed[way], 0) / runs.length;
  const both = (runs: readonly Speed[]): number => mean(runs, 'there') + mean(runs, 'back');
  const ratio = (runs: readonly Speed[], of = hosts): number => both(runs) / both(of);
  const show = (runs: readonly Speed[]): string =>
    `${mean(runs, 'there').toFixed(0)} and ${mean(runs, 'back').toFixed(0)} Mbit/s`;
  const ofHosts = (runs: readonly Speed[]): string =>
    `${show(runs)} (${ratio(runs).toFixed(2)} of the hosts)`;
  return {
    line: `cable ${cable.toFixed(0)} Mbit/s, hosts ${show(hosts)}, containers in the hosts' network ${ofHosts(hostPods)}, pods ${ofHosts(pods)}, ${ratio(pods, hostPods).toFixed(2)} of those containers, the pods' networks without containers ${ofHosts(networks)}`,
    pods: ratio(pods, hostPods),
    networks: ratio(networks),
  };
}
