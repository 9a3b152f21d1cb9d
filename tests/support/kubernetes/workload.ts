/**
 * Pods on both workers and what must hold for them, asked by kubectl as an operator would: pod to
 * pod, services, the largest packet, logs, exec, port-forward. Owns the objects that it applies;
 * judges nothing but what it says.
 */
import assert from 'node:assert/strict';
import { z } from 'zod';
import { waitFor } from '../scope.ts';
import type { Cluster } from './cluster.ts';
import { judgeImage } from './runtime.ts';
import type { Worker } from './worker.ts';

export interface Pod {
  readonly name: string;
  readonly address: string;
  readonly address6: string | null;
  readonly worker: Worker;
}

export interface Workload {
  /** One on each worker, in the order of the workers. */
  readonly pods: readonly [Pod, Pod];
  readonly clusterIp: string;
  readonly nodePort: number;
}

const Pods = z.object({
  items: z.array(
    z.object({
      metadata: z.object({ name: z.string() }),
      spec: z.object({ nodeName: z.string() }),
      status: z.object({
        podIP: z.string(),
        podIPs: z.array(z.object({ ip: z.string() })),
      }),
    }),
  ),
});
const Service = z.object({
  spec: z.object({ clusterIP: z.string(), ports: z.array(z.object({ nodePort: z.number() })) }),
});

/** Serves its name by HTTP and by UDP, to each caller its address, and iperf3. */
const serve = `mkdir -p /tmp/www && hostname >/tmp/www/index.html
iperf3 -s -D
socat UDP-RECVFROM:5353,fork SYSTEM:hostname &
socat TCP-LISTEN:7000,fork SYSTEM:'echo $SOCAT_PEERADDR' &
echo serving; exec httpd -f -p 80 -h /tmp/www`;

/** As many pods of an app on each node. */
const evenly = (app: string): readonly object[] => [
  {
    maxSkew: 1,
    topologyKey: 'kubernetes.io/hostname',
    whenUnsatisfiable: 'DoNotSchedule',
    labelSelector: { matchLabels: { app } },
  },
];

const webPod = {
  metadata: { labels: { app: 'web' } },
  spec: {
    terminationGracePeriodSeconds: 1,
    topologySpreadConstraints: evenly('web'),
    containers: [
      {
        name: 'web',
        image: judgeImage,
        imagePullPolicy: 'Never',
        command: ['sh', '-c', serve],
        ports: [{ containerPort: 80, hostPort: 8081 }],
        readinessProbe: { httpGet: { port: 80, path: '/' }, periodSeconds: 1 },
      },
    ],
  },
};

const objects = [
  {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'web' },
    spec: { replicas: 2, selector: { matchLabels: { app: 'web' } }, template: webPod },
  },
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web' },
    spec: {
      type: 'NodePort',
      selector: { app: 'web' },
      ports: [
        { name: 'http', port: 80 },
        { name: 'name', protocol: 'UDP', port: 53, targetPort: 5353 },
      ],
    },
  },
];

/** A Deployment with a pod on each worker, and its Service. */
export async function deploy(cluster: Cluster): Promise<Workload> {
  await cluster.apply(...objects);
  const wait = ['rollout', 'status', 'deployment/web', '--timeout=120s'];
  await cluster.kubectl(wait, { timeoutMs: 130_000 }).catch(async (cause: unknown) => {
    const report = await cluster.kubectl(['describe', 'pods']);
    throw new Error(`no rollout: ${report.slice(-4_000)}`, { cause });
  });
  const listed = await cluster.kubectl(['get', 'pods', '-l', 'app=web', '-o', 'json']);
  const { items } = Pods.parse(JSON.parse(listed));
  const podOn = (worker: Worker): Pod => {
    const found = items.find(({ spec }) => spec.nodeName === worker.name);
    if (found === undefined) throw new Error(`no pod on ${worker.name}: ${listed}`);
    const { podIP: address, podIPs } = found.status;
    const address6 = podIPs.find(({ ip }) => ip.includes(':'))?.ip ?? null;
    return { name: found.metadata.name, address, address6, worker };
  };
  const service = await cluster.kubectl(['get', 'service', 'web', '-o', 'json']);
  const { spec } = Service.parse(JSON.parse(service));
  return {
    pods: [podOn(cluster.workers[0]), podOn(cluster.workers[1])],
    clusterIp: spec.clusterIP,
    nodePort: spec.ports[0]?.nodePort ?? 0,
  };
}

/** A Deployment of pods that only stand there, so many on each node. */
export const manyPods = (perNode: number): object => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'many' },
  spec: {
    replicas: 2 * perNode,
    selector: { matchLabels: { app: 'many' } },
    template: {
      metadata: { labels: { app: 'many' } },
      spec: {
        terminationGracePeriodSeconds: 0,
        topologySpreadConstraints: evenly('many'),
        containers: [{ name: 'many', image: judgeImage, imagePullPolicy: 'Never' }],
      },
    },
  },
});

/** Of all pods of the default namespace. */
export async function podAddresses(cluster: Cluster): Promise<readonly string[]> {
  const { items } = Pods.parse(JSON.parse(await cluster.kubectl(['get', 'pods', '-o', 'json'])));
  return items.map(({ status }) => status.podIP);
}

/** Deletes it and waits until the kubelets have ended the pods. */
export async function undeploy(cluster: Cluster): Promise<void> {
  const args = ['delete', 'deployment/web', 'service/web', '--cascade=foreground'];
  await cluster.kubectl([...args, '--wait', '--timeout=60s'], { timeoutMs: 70_000 });
  await cluster.kubectl(['wait', '--for=delete', 'pods', '-l', 'app=web', '--timeout=60s'], {
    timeoutMs: 70_000,
  });
}

/** Standard output of a command in the pod, by `kubectl exec`. */
export const inPod = (
  cluster: Cluster,
  pod: Pick<Pod, 'name'>,
  argv: readonly string[],
  timeoutMs = 30_000,
): Promise<string> => cluster.kubectl(['exec', pod.name, '--', ...argv], { timeoutMs });

/** Pod to pod: both ways, by address, and each sees the other's own address. */
export async function checkPodToPod(cluster: Cluster, { pods }: Workload): Promise<void> {
  for (const [from, to] of bothWays(pods)) {
    const report = await inPod(cluster, from, ['ping', '-n', '-c', '5', '-i', '0.1', to.address]);
    assert.match(report, / 5 received/);
    assert.equal((await get(cluster, from, to.address)).trim(), to.name);
    const seen = await inPod(cluster, from, ['socat', '-T', '2', '-', `TCP:${to.address}:7000`]);
    assert.equal(seen.trim(), from.address, 'translated between pods');
  }
}

/**
 * The largest packet passes in one piece, one byte more is refused at the sender; the MTU of the
 * pods.
 */
export async function checkMtu(cluster: Cluster, { pods }: Workload): Promise<number> {
  const [mtu = 0, ...others] = await Promise.all(
    pods.map(async (pod) => Number(await inPod(cluster, pod, ['cat', '/sys/class/net/eth0/mtu']))),
  );
  assert.deepEqual(others, [mtu]);
  const before = await fragments(cluster);
  for (const [from, to] of bothWays(pods)) {
    const probe = (size: number): readonly string[] => [
      ...['ping', '-n', '-c', '3', '-i', '0.1', '-W', '2', '-M', 'do', '-s', `${size}`, to.address],
    ];
    const headers = 20 + 8; // IPv4 and ICMP
    assert.match(await inPod(cluster, from, probe(mtu - headers)), / 3 received/);
    await assert.rejects(
      inPod(cluster, from, probe(mtu - headers + 1)),
      /too long|100% packet loss/,
    );
  }
  assert.deepEqual(await fragments(cluster), before, 'something was fragmented');
  return mtu;
}

/** IPv4 packets that the workers have cut to pieces. */
function fragments(cluster: Cluster): Promise<readonly string[]> {
  return Promise.all(
    cluster.workers.map(async ({ machine }) => {
      const table = await machine.lab.exec(machine.name, ['cat', '/proc/net/snmp']);
      const [names = [], values = []] = table
        .split('\n')
        .filter((line) => line.startsWith('Ip:'))
        .map((line) => line.split(' '));
      return values[names.indexOf('FragCreates')] ?? '';
    }),
  );
}

/** The Service from pods and hosts of both workers, TCP and UDP, and its NodePort from outside. */
export async function checkService(cluster: Cluster, work: Workload): Promise<void> {
  const { pods, clusterIp, nodePort } = work;
  const names = new Set(pods.map(({ name }) => name));
  const bothAnswer = async (what: string, ask: () => Promise<string>): Promise<void> => {
    const seen = new Set<string>();
    await waitFor(
      `${what} reaches both pods`,
      async () => {
        const answer = (await ask()).trim();
        if (answer !== '') seen.add(answer); // nothing within its time: a datagram may be lost
        return [...names].every((name) => seen.has(name));
      },
      { timeoutMs: 60_000, context: () => `answers: ${[...seen].join(', ')}` },
    );
    assert.deepEqual([...seen].sort(), [...names].sort());
  };
  for (const pod of pods) {
    const { machine } = pod.worker;
    const mode = pod.worker.proxyMode;
    await bothAnswer(`service from a pod, ${mode}`, () => get(cluster, pod, clusterIp));
    const ask = ['sh', '-c', `echo x | socat -T 2 - UDP:${clusterIp}:53`];
    await bothAnswer(`UDP service from a pod, ${mode}`, () => inPod(cluster, pod, ask));
    await bothAnswer(`service from the host, ${mode}`, () =>
      machine.lab.exec(machine.name, curl(clusterIp)),
    );
    const outside = cluster.scene.sites[2]?.host ?? '';
    await bothAnswer(`NodePort, ${mode}`, () =>
      machine.lab.exec(outside, curl(`${pod.worker.address}:${nodePort}`)),
    );
  }
}

/**
 * What leaves the cluster comes back: nobody outside knows a way to a pod. And a hostPort, by the
 * chained plugin portmap, reaches the pod of that host.
 */
export async function checkOutside(cluster: Cluster, { pods }: Workload): Promise<void> {
  const { lab, sites, publicAddress } = cluster.scene;
  const outside = sites[2]?.host ?? '';
  for (const pod of pods) {
    const argv = ['ping', '-n', '-c', '3', '-i', '0.2', publicAddress];
    assert.match(await inPod(cluster, pod, argv), / 3 received/);
    const answer = await lab.exec(outside, curl(`${pod.worker.address}:8081`));
    assert.equal(answer.trim(), pod.name);
  }
}

/** A pod that may have 100 Mbit/s each way, by the chained plugin bandwidth. */
const slowPod = (worker: Worker): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name: 'slow',
    annotations: {
      'kubernetes.io/ingress-bandwidth': '100M',
      'kubernetes.io/egress-bandwidth': '100M',
    },
  },
  spec: {
    nodeName: worker.name,
    terminationGracePeriodSeconds: 0,
    containers: [
      { name: 'slow', image: judgeImage, imagePullPolicy: 'Never', command: ['iperf3', '-s'] },
    ],
  },
});

const Seconds = z.object({
  intervals: z.array(z.object({ sum: z.object({ bits_per_second: z.number() }) })),
});

/**
 * The annotations for bandwidth hold, each way. containerd asks for a burst of 512 MB, which a
 * neighbour on the same host has sent within the first seconds: the last one is looked at.
 */
export async function checkBandwidth(cluster: Cluster): Promise<void> {
  const [worker] = cluster.workers;
  const { lab, name } = worker.machine;
  await cluster.apply(slowPod(worker));
  const ready = ['wait', '--for=condition=Ready', 'pod/slow', '--timeout=60s'];
  await cluster.kubectl(ready, { timeoutMs: 70_000 });
  const address = ['get', 'pod', 'slow', '-o', 'jsonpath={.status.podIP}'];
  const slow = await cluster.kubectl(address);
  for (const way of [[], ['-R']]) {
    const argv = ['iperf3', '-J', '-c', slow, '-t', '3', ...way];
    const report = await lab.exec(name, argv, { timeoutMs: 40_000 });
    const last = Seconds.parse(JSON.parse(report)).intervals.at(-1)?.sum.bits_per_second ?? 0;
    const mbps = last / 1e6;
    assert.ok(mbps > 10 && mbps < 200, `${mbps} Mbit/s, ${report.slice(-6_000)}`);
  }
  await cluster.kubectl(['delete', 'pod', 'slow', '--wait'], { timeoutMs: 60_000 });
}

/** Of `iperf3 -J`. */
export const IperfSum = z.object({
  end: z.object({ sum_received: z.object({ bits_per_second: z.number() }) }),
});

/** Pod to pod by IPv6: the largest packet, and TCP. */
export async function checkDualStack(
  cluster: Cluster,
  { pods }: Workload,
  mtu: number,
): Promise<void> {
  for (const [from, to] of bothWays(pods)) {
    const target = to.address6;
    assert.ok(target !== null && from.address6 !== null, 'a pod has no IPv6 address');
    const headers = 40 + 8; // IPv6 and ICMPv6
    const probe = ['ping', '-6', '-n', '-c', '3', '-i', '0.1', '-M', 'do'];
    const sized = [...probe, '-s', `${mtu - headers}`, target];
    assert.match(await inPod(cluster, from, sized), / 3 received/);
    const stream = ['iperf3', '-6', '-c', target, '-n', '1M', '-J'];
    const report = IperfSum.parse(JSON.parse(await inPod(cluster, from, stream)));
    assert.ok(report.end.sum_received.bits_per_second > 0);
  }
}

/** What an operator does to a pod on a kubelet behind a NAT. */
export async function checkKubectl(cluster: Cluster, { pods }: Workload): Promise<void> {
  const { lab, sites } = cluster.scene;
  const outside = sites[2]?.host ?? '';
  for (const pod of pods) {
    assert.match(await cluster.kubectl(['logs', pod.name]), /^serving$/m);
    assert.equal((await inPod(cluster, pod, ['hostname'])).trim(), pod.name);
    const forward = cluster.kubectlArgv(['port-forward', `pod/${pod.name}`, '18080:80']);
    const child = lab.spawn(outside, forward);
    await child.waitLog('Forwarding from 127.0.0.1', 20_000);
    assert.equal((await lab.exec(outside, curl('127.0.0.1:18080'))).trim(), pod.name);
    await child.stop();
  }
}

/** The API server as pods know it: an address in the overlay, so their own is translated. */
export async function checkApiFromPods(cluster: Cluster, { pods }: Workload): Promise<void> {
  for (const pod of pods) {
    const ask = ['sh', '-c', 'nc -w 5 10.96.0.1 443 </dev/null && echo open'];
    assert.equal((await inPod(cluster, pod, ask)).trim(), 'open');
  }
}

const bothWays = ([a, b]: readonly [Pod, Pod]): readonly (readonly [Pod, Pod])[] => [
  [a, b],
  [b, a],
];

/** busybox' own time limit crashes in Debian's build. */
const get = (cluster: Cluster, pod: Pod, host: string): Promise<string> =>
  inPod(cluster, pod, ['timeout', '5', 'wget', '-q', '-O', '-', `http://${host}/`]);

const curl = (host: string): readonly string[] => [
  ...['curl', '--silent', '--show-error', '--fail', '--max-time', '5', `http://${host}/`],
];
