/**
 * Flannel as it is over the overlay, in a real cluster across two NATs: by VXLAN (two
 * encapsulations) and by host-gw (one, because the overlay is one layer-2 segment).
 */
import assert from 'node:assert/strict';
import { suite, type T } from '../support/harness.ts';
import { type Cluster, startCluster } from '../support/kubernetes/cluster.ts';
import { type FlannelBackend, startFlannel } from '../support/kubernetes/flannel.ts';
import { needsKubernetes } from '../support/kubernetes/judges.ts';
import { compareSpeeds } from '../support/kubernetes/speeds.ts';
import {
  checkApiFromPods,
  checkKubectl,
  checkMtu,
  checkOutside,
  checkPodToPod,
  checkService,
  deploy,
  undeploy,
} from '../support/kubernetes/workload.ts';

const test = suite('Flannel over the overlay');

/** What a backend adds to each packet: outer IPv4, UDP, VXLAN and Ethernet headers. */
const costs: Readonly<Record<FlannelBackend, number>> = { vxlan: 50, 'host-gw': 0 };

async function judgeBackend(cluster: Cluster, backend: FlannelBackend): Promise<void> {
  const overlayMtu = await cluster.overlayMtu();
  const flannel = await startFlannel(cluster, backend);
  await cluster.waitReady();
  const work = await deploy(cluster);
  await checkPodToPod(cluster, work);
  const mtu = await checkMtu(cluster, work);
  assert.equal(mtu, overlayMtu - costs[backend]);
  assert.equal(flannel.environment.get('FLANNEL_MTU'), `${mtu}`);
  await checkService(cluster, work);
  await checkApiFromPods(cluster, work);
  await checkOutside(cluster, work);
  await checkKubectl(cluster, work);
  const speeds = await compareSpeeds(cluster, work);
  process.stdout.write(`flannel ${backend}: MTU ${mtu}; ${speeds.line}\n`);
  await undeploy(cluster);
  await flannel.stop();
}

test.unless(
  needsKubernetes,
  'pods on two workers behind NATs are one network, by VXLAN and then by host-gw',
  async (t: T) => {
    const cluster = await startCluster(t);
    await judgeBackend(cluster, 'vxlan');
    await judgeBackend(cluster, 'host-gw');
  },
  400_000,
);
