/**
 * The container image and the manifests: the overlay that a cluster needs, brought by the cluster
 * itself, with the capabilities that the manifests name instead of `privileged`.
 */
import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { exec } from '../../base/exec.ts';
import { suite } from '../support/harness.ts';
import { type Cluster, startCluster } from '../support/kubernetes/cluster.ts';
import { evioCni } from '../support/kubernetes/evio-cni.ts';
import { cniPlugin, judge, needsHelm, needsKubernetes } from '../support/kubernetes/judges.ts';
import { checkKubectl, checkMtu, checkPodToPod, deploy } from '../support/kubernetes/workload.ts';
import { needsProgram } from '../support/needs.ts';
import { parseStatus } from '../support/node.ts';
import { repositoryRoot } from '../support/repository.ts';
import { waitFor } from '../support/scope.ts';
import { ping } from '../support/traffic.ts';

const test = suite('image and manifests');
const manifests = join(repositoryRoot, 'config/kubernetes');
const kustomize = (folder: string): Promise<string> =>
  exec([judge('kubectl'), 'kustomize', join(manifests, folder)]);

const Nodes = z.object({
  items: z.array(
    z.object({
      status: z.object({
        addresses: z.array(z.object({ type: z.string(), address: z.string() })).default([]),
      }),
    }),
  ),
});
const Pods = z.object({
  items: z.array(
    z.object({
      metadata: z.object({ name: z.string() }),
      status: z.object({ containerStatuses: z.array(z.object({ restartCount: z.number() })) }),
    }),
  ),
});

const inSystem = ['--namespace=evio-system'];

async function applyManifests(cluster: Cluster): Promise<void> {
  await cluster.kubectl(['apply', '-k', join(manifests, 'cni')]);
  const rollout = [...inSystem, 'rollout', 'status', 'daemonset/evio', '--timeout=120s'];
  await cluster.kubectl(rollout, { timeoutMs: 130_000 }).catch(async (cause: unknown) => {
    const report = await cluster.kubectl([...inSystem, 'describe', 'pods']);
    throw new Error(`no rollout: ${report.slice(-4_000)}`, { cause });
  });
}

test.unless(
  needsKubernetes ?? needsProgram('mmdebstrap'),
  'a DaemonSet brings the overlay and the pods on which its own cluster then stands',
  async (t) => {
    const cluster = await startCluster(t, {
      workersEvio: 'none',
      workerConfig: () => evioCni.configInPod,
    });
    const { lab, prosody } = cluster.scene;
    const image = join(lab.folder, 'evio.tar');
    await exec(['bash', join(repositoryRoot, 'config/image/build.sh'), image], {
      timeoutMs: 200_000,
    });
    await Promise.all(cluster.workers.map((worker) => worker.importImage(image)));
    for (const { machine } of cluster.workers) {
      copyFileSync(cniPlugin('loopback'), machine.file('/opt/cni/bin/loopback'));
    }
    await applyManifests(cluster);
    const addresses = async (): Promise<readonly string[]> => {
      const { items } = Nodes.parse(
        JSON.parse(await cluster.kubectl(['get', 'nodes', '-o', 'json'])),
      );
      return items.flatMap(({ status }) =>
        status.addresses.filter((x) => x.type === 'InternalIP').map((x) => x.address),
      );
    };
    await waitFor(
      'the kubelets have found their addresses in the overlay',
      async () => (await addresses()).join() === '10.77.0.1,10.77.0.2',
      { timeoutMs: 90_000, stepMs: 500 },
    );
    const [a, b] = cluster.workers;
    const from = a.machine.name;
    await waitFor(
      'the workers reach each other',
      async () => (await ping(lab, from, b.address, { count: 1, waitS: 1 })).received === 1,
      { timeoutMs: 60_000 },
    );

    await cluster.waitReady(120_000);
    const work = await deploy(cluster);
    await checkPodToPod(cluster, work);
    await checkMtu(cluster, work);
    await checkKubectl(cluster, work);

    // What the probes ask does not depend on the XMPP server.
    const listed = [...inSystem, 'get', 'pods', '-o', 'json'];
    const pods = Pods.parse(JSON.parse(await cluster.kubectl(listed))).items;
    assert.equal(pods.length, 2);
    const evio = (pod: string, ...args: readonly string[]): Promise<string> =>
      cluster.kubectl([...inSystem, 'exec', pod, '-c', 'evio', '--', 'evio', ...args]);
    await prosody.stop();
    for (const { metadata } of pods) {
      await waitFor(
        'the node notices that its server is gone',
        async () => {
          const status = parseStatus(await evio(metadata.name, 'status', '--json'));
          return status.overlays[0]?.signal?.state !== 'online';
        },
        { timeoutMs: 60_000, stepMs: 500 },
      );
      await evio(metadata.name, 'status');
    }
    assert.equal((await ping(lab, from, b.address, { count: 3 })).received, 3);
    await prosody.start();
    const after = Pods.parse(JSON.parse(await cluster.kubectl(listed))).items;
    const restarts = after.flatMap(({ status }) => status.containerStatuses);
    assert.deepEqual(
      restarts.map(({ restartCount }) => restartCount),
      [0, 0, 0, 0],
    );

    // An update of the DaemonSet replaces its pods under those of others.
    await cluster.kubectl([...inSystem, 'rollout', 'restart', 'daemonset/evio']);
    await applyManifests(cluster);
    await waitFor(
      'pods reach each other again',
      async () => {
        await checkPodToPod(cluster, work);
        return true;
      },
      { timeoutMs: 60_000, stepMs: 500 },
    );
    await cluster.waitReady();
    const strict = ['apply', '--dry-run=server', '--validate=strict'];
    for (const folder of ['base', 'k3s']) {
      await cluster.kubectl([...strict, '-k', join(manifests, folder)]);
    }
  },
  600_000,
);

test.unless(
  needsKubernetes,
  'kubectl builds each kustomization, privileged is nowhere',
  async () => {
    for (const folder of ['base', 'cni', 'k3s']) {
      const text = await kustomize(folder);
      assert.match(text, /kind: DaemonSet/);
      assert.doesNotMatch(text, /privileged: true/);
    }
    assert.match(await kustomize('k3s'), /path: \/var\/lib\/rancher\/k3s\/data\/cni/);
  },
);

test.unless(
  needsKubernetes ?? needsHelm,
  'the Helm chart can be built, and says what it cannot do',
  async () => {
    const chart = (...values: readonly string[]): Promise<string> => {
      const sets = values.flatMap((value) => ['--set', value]);
      const at = ['--kube-version=1.34.4', '--namespace=evio-system'];
      return exec([judge('helm'), 'template', 'evio', join(manifests, 'helm'), ...at, ...sets]);
    };
    await exec([judge('helm'), 'lint', '--strict', join(manifests, 'helm')]);
    assert.match(await chart(), /SYS_ADMIN/);
    assert.doesNotMatch(await chart('cni.enabled=false'), /SYS_ADMIN|netns/);
    assert.match(await chart('config.from=secret'), /subPathExpr: \$\(NODE_NAME\)\.json/);
    await assert.rejects(chart('config.from=nowhere'), /must be hostPath or secret/);
  },
  30_000,
);
