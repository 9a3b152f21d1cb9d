/**
 * Our CNI plugin in a real cluster across two NATs: pods are routed over the overlay with one
 * encapsulation, live through restarts of everything below them, and leave nothing.
 */
import assert from 'node:assert/strict';
import { suite, type T } from '../support/harness.ts';
import { type Cluster, startCluster } from '../support/kubernetes/cluster.ts';
import { evioCni, installCni, needsCni, podTraces } from '../support/kubernetes/evio-cni.ts';
import { needsKubernetes } from '../support/kubernetes/judges.ts';
import {
  checkApiFromPods,
  checkKubectl,
  checkMtu,
  checkPodToPod,
  checkService,
  deploy,
  describeSpeed,
  inPod,
  manyPods,
  measureHosts,
  measurePods,
  podAddresses,
  undeploy,
  type Workload,
} from '../support/kubernetes/workload.ts';
import { waitFor } from '../support/scope.ts';

const test = suite('evio-cni in a cluster');

test.unless(
  needsKubernetes ?? needsCni,
  'pods are one network by evio-cni, survive restarts and leave nothing',
  async (t: T) => {
    const cluster = await startCluster(t, evioCni);
    await assert.rejects(cluster.waitReady(1_000), /timed out/);
    await installCni(cluster);
    await cluster.waitReady();
    const overlayMtu = await cluster.overlayMtu();
    const before = await podTraces(cluster);

    const work = await deploy(cluster);
    await checkPodToPod(cluster, work);
    const mtu = await checkMtu(cluster, work);
    assert.equal(mtu, overlayMtu);
    await checkService(cluster, work);
    await checkApiFromPods(cluster, work);
    await checkKubectl(cluster, work);
    const hosts = await measureHosts(cluster);
    const pods = await measurePods(cluster, work);
    process.stdout.write(
      `evio-cni: MTU ${mtu}; hosts ${describeSpeed(hosts)}, pods ${describeSpeed(pods)}\n`,
    );
    await churn(cluster);
    await restarts(cluster, work);
    await undeploy(cluster);
    await waitFor(
      'nothing of a pod is left',
      async () => {
        assert.deepEqual(await podTraces(cluster), before);
        return true;
      },
      { timeoutMs: 30_000, stepMs: 500 },
    );
  },
  500_000,
);

/** Thirty pods come and go beside the others: no address twice, nothing left of them. */
async function churn(cluster: Cluster): Promise<void> {
  const before = await podTraces(cluster);
  await cluster.kubectl(['create', '-f', '-'], { input: JSON.stringify(manyPods) });
  const wait = ['rollout', 'status', 'deployment/many', '--timeout=180s'];
  await cluster.kubectl(wait, { timeoutMs: 190_000 });
  const addresses = await podAddresses(cluster);
  assert.equal(addresses.length, 32);
  assert.equal(new Set(addresses).size, 32);
  await cluster.kubectl(['delete', 'deployment/many', '--cascade=foreground', '--wait'], {
    timeoutMs: 120_000,
  });
  await waitFor(
    'nothing of thirty pods is left',
    async () => {
      assert.deepEqual(await podTraces(cluster), before);
      return true;
    },
    { timeoutMs: 60_000, stepMs: 500 },
  );
}

/** A TCP flow between pods, and their addresses, live through restarts of what carries them. */
async function restarts(cluster: Cluster, work: Workload): Promise<void> {
  const [a, b] = work.pods;
  const { lab } = cluster.scene;
  const control = cluster.scene.sites[2]?.host ?? '';
  const argv = [
    'exec',
    a.name,
    '--',
    'iperf3',
    '-c',
    b.address,
    '-t',
    '40',
    '-b',
    '2M',
    '--forceflush',
  ];
  const flow = lab.spawn(control, cluster.kubectlArgv(argv));
  await flow.waitLog(/3\.00 .*Mbits/, 30_000);
  const [node] = cluster.evio;
  if (node === undefined) throw new Error('no node');
  await node.stop();
  node.start();
  await node.waitUp('b', 60_000);
  const [worker] = cluster.workers;
  await worker.kubelet.stop();
  worker.startKubelet();
  await worker.containerd.stop();
  await worker.startContainerd();
  const exit = await waitFor('the flow ends', () => flow.exit, {
    timeoutMs: 90_000,
    context: () => flow.log(),
  });
  assert.equal(exit.code, 0, flow.log());
  await cluster.waitReady();
  const addresses = await podAddresses(cluster);
  assert.deepEqual([...addresses].sort(), [a.address, b.address].sort());
  await waitFor('kubectl exec works again', () => inPod(cluster, a, ['true']).then(() => true), {
    timeoutMs: 60_000,
    stepMs: 500,
  });
  await checkPodToPod(cluster, work);
}
