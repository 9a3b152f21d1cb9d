/**
 * Our CNI plugin on the workers of a cluster, as `evio cni install` puts it there, and what pods
 * leave on a machine. Owns no process.
 */
import { copyFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import type { NodeOptions } from '../node.ts';
import { repositoryRoot } from '../repository.ts';
import { waitFor } from '../scope.ts';
import type { Cluster } from './cluster.ts';
import { podRange, serviceRange } from './control-plane.ts';
import { cniPlugin } from './judges.ts';

const plugin = join(repositoryRoot, 'cni-plugin/shim/build/evio-cni');

export const needsCni: string | null = existsSync(plugin) ? null : 'evio-cni is not built';

type Config = NonNullable<NodeOptions['config']>;

/** The host's devices stay while Evio restarts, and pods with them. */
const podsOf = (kubernetes: object): Config => ({
  BridgeController: { Overlays: { lab: { NetDevice: { AutoDelete: false } } } },
  Cni: {
    Overlays: {
      lab: {
        Mode: 'routed',
        Kubernetes: kubernetes,
        ClusterCIDRs: [podRange],
        ServiceCIDRs: [serviceRange],
      },
    },
  },
});

/**
 * Pod ranges from Kubernetes. The control plane has no pods, but pods reach it by their own
 * addresses, so it takes part with a range of its own.
 */
export const evioCni = {
  controlConfig: {
    Cni: { Overlays: { lab: { PodCIDRs: ['10.244.250.0/24'], ClusterCIDRs: [podRange] } } },
  },
  workerConfig: (name: string, kubeconfig: string): Config =>
    podsOf({ Kubeconfig: kubeconfig, NodeName: name }),
  /** In a pod of the DaemonSet: with the rights of its service account. */
  configInPod: podsOf({}),
} as const;

/** Installs plugin and conflist on both workers once the node can give addresses. */
export async function installCni(cluster: Cluster): Promise<void> {
  for (const [index, { machine }] of cluster.workers.entries()) {
    for (const name of ['loopback', 'portmap', 'bandwidth']) {
      copyFileSync(cniPlugin(name), machine.file(`/opt/cni/bin/${name}`));
    }
    const node = cluster.evio[index];
    await waitFor(`evio-cni is installed on ${machine.name}`, () => node?.evio('cni', 'install'), {
      timeoutMs: 60_000,
      stepMs: 500,
      context: () => node?.log().slice(-3_000) ?? '',
    });
  }
}

/** What there is because of pods: devices and named namespaces of each worker's machine. */
export function podTraces(cluster: Cluster): Promise<readonly (readonly string[])[]> {
  return Promise.all(
    cluster.workers.map(async ({ machine: { lab, name } }) => {
      const links = await lab.exec(name, ['ip', '-brief', 'link']);
      const devices = links.split('\n').map((line) => line.split(/[@\s]/)[0] ?? '');
      const namespaces = (await lab.exec(name, ['ip', 'netns'])).split('\n');
      const routes = (await lab.exec(name, ['ip', 'route'])).split('\n');
      return [...devices, ...namespaces, ...routes].filter((x) => x !== '').sort();
    }),
  );
}
