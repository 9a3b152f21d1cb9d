/**
 * NetworkPolicy beside us, by an engine of others: kube-router as a firewall alone, which filters
 * what the hosts forward. What a policy denies does not pass, on one node and between two, what it
 * allows does, and the kubelet's probes always do.
 */
import assert from 'node:assert/strict';
import { suite, type T } from '../support/harness.ts';
import { type Cluster, startCluster } from '../support/kubernetes/cluster.ts';
import { serviceRange } from '../support/kubernetes/control-plane.ts';
import { evioCni, installCni, needsCni } from '../support/kubernetes/evio-cni.ts';
import { judge, needsKubeRouter, needsKubernetes } from '../support/kubernetes/judges.ts';
import { judgeImage } from '../support/kubernetes/runtime.ts';
import { checkKubectl, deploy, inPod, type Workload } from '../support/kubernetes/workload.ts';
import { waitFor } from '../support/scope.ts';

const test = suite('NetworkPolicy beside evio-cni');

/** Two pods on the first worker that ask the web pods: one on the same node, one on the other. */
const callers = ['friend', 'stranger'] as const;
type Caller = (typeof callers)[number];
const httpPort = 80;
const otherPort = 7_000;

test.unless(
  needsKubernetes ?? needsCni ?? needsKubeRouter,
  'a policy of kube-router denies and allows between pods of one node and of two behind NATs',
  async (t: T) => {
    const cluster = await startCluster(t, { workerConfig: evioCni.workerConfig });
    await installCni(cluster);
    await cluster.waitReady();
    const work = await deploy(cluster);
    await startCallers(cluster);
    const engines = await startEngine(cluster);

    await reach(cluster, work, { friend: [httpPort, otherPort], stranger: [httpPort, otherPort] });
    await cluster.apply(policy('deny-all', {}));
    await reach(cluster, work, { friend: [], stranger: [] });
    const friends = { podSelector: { matchLabels: { app: 'friend' } } };
    const ports = [{ protocol: 'TCP', port: httpPort }];
    await cluster.apply(policy('allow-friends', { ingress: [{ from: [friends], ports }] }));
    await reach(cluster, work, { friend: [httpPort], stranger: [] });
    // The kubelets' own probes and what an operator does are no pods'.
    const ready = ['rollout', 'status', 'deployment/web', '--timeout=5s'];
    assert.match(await cluster.kubectl(ready), /successfully rolled out/);
    await checkKubectl(cluster, work);
    await cluster.kubectl(['delete', 'networkpolicy', '--all']);
    await reach(cluster, work, { friend: [httpPort, otherPort], stranger: [httpPort, otherPort] });
    for (const engine of engines) await engine.stop();
  },
  400_000,
);

const policy = (name: string, rules: object): object => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name },
  spec: { podSelector: { matchLabels: { app: 'web' } }, policyTypes: ['Ingress'], ...rules },
});

async function startCallers(cluster: Cluster): Promise<void> {
  const [{ name: nodeName }] = cluster.workers;
  const pod = (name: Caller): object => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { app: name } },
    spec: {
      nodeName,
      terminationGracePeriodSeconds: 0,
      containers: [{ name, image: judgeImage, imagePullPolicy: 'Never' }],
    },
  });
  await cluster.apply(...callers.map(pod));
  const ready = ['wait', '--for=condition=Ready', ...callers.map((name) => `pod/${name}`)];
  await cluster.kubectl([...ready, '--timeout=60s'], { timeoutMs: 70_000 });
}

/** As `docs/operate/kubernetes.md` names it, on both workers. */
async function startEngine(cluster: Cluster) {
  const { lab } = cluster.scene;
  await cluster.apply(...rights);
  const kubeconfig = await cluster.kubeconfig(engineUser);
  return cluster.workers.map(({ machine, name }) =>
    lab.spawn(machine.name, [
      ...[judge('kube-router'), `--kubeconfig=${kubeconfig}`, `--hostname-override=${name}`],
      ...['--run-firewall=true', '--run-router=false', '--run-service-proxy=false'],
      ...['--enable-cni=false', `--service-cluster-ip-range=${serviceRange}`, '--health-port=0'],
    ]),
  );
}

/** Waits until each caller reaches these ports of both web pods, and no other. */
async function reach(
  cluster: Cluster,
  { pods }: Workload,
  expected: Readonly<Record<Caller, readonly number[]>>,
): Promise<void> {
  let seen = '';
  const wanted = JSON.stringify(callers.map((name) => pods.map(() => expected[name])));
  await waitFor(
    `reached is ${wanted}`,
    async () => {
      const reached = callers.map((name) =>
        Promise.all(pods.map(({ address }) => openPorts(cluster, name, address))),
      );
      seen = JSON.stringify(await Promise.all(reached));
      return seen === wanted;
    },
    { timeoutMs: 60_000, stepMs: 500, context: () => `reached is ${seen}` },
  );
}

async function openPorts(
  cluster: Cluster,
  name: Caller,
  address: string,
): Promise<readonly number[]> {
  const tries = [httpPort, otherPort].map(
    (port) => `nc -w 2 ${address} ${port} </dev/null >/dev/null 2>&1 && echo ${port}`,
  );
  const report = await inPod(cluster, { name }, ['sh', '-c', `${tries.join('; ')}; true`]);
  return report.split('\n').filter(Boolean).map(Number);
}

const engineUser = 'kube-router';
const group = 'rbac.authorization.k8s.io';
const reading = ['get', 'list', 'watch'];
const rights = [
  {
    apiVersion: `${group}/v1`,
    kind: 'ClusterRole',
    metadata: { name: engineUser },
    rules: [
      {
        apiGroups: [''],
        resources: ['namespaces', 'pods', 'services', 'nodes', 'endpoints'],
        verbs: reading,
      },
      { apiGroups: ['networking.k8s.io'], resources: ['networkpolicies'], verbs: reading },
      { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: reading },
    ],
  },
  {
    apiVersion: `${group}/v1`,
    kind: 'ClusterRoleBinding',
    metadata: { name: engineUser },
    roleRef: { apiGroup: group, kind: 'ClusterRole', name: engineUser },
    subjects: [{ apiGroup: group, kind: 'User', name: engineUser }],
  },
];
