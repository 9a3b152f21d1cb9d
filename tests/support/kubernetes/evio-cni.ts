/**
 * Our CNI plugin on the workers of a cluster, as `evio cni install` puts it there, and what pods
 * leave on a machine. Owns no process.
 */
import { copyFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import type { EvioNode, NodeOptions } from '../node.ts';
import { repositoryRoot } from '../repository.ts';
import { waitFor } from '../scope.ts';
import type { Cluster } from './cluster.ts';
import { podRange, podRange6, serviceRange, serviceRange6 } from './control-plane.ts';
import { cniPlugin } from './judges.ts';
import type { Machine } from './machine.ts';

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
        ClusterCIDRs: [podRange, podRange6],
        ServiceCIDRs: [serviceRange, serviceRange6],
      },
    },
  },
});

/** Pod ranges from Kubernetes. The control plane has no pods and no such section. */
export const evioCni = {
  workerConfig: (name: string, kubeconfig: string): Config =>
    podsOf({ Kubeconfig: kubeconfig, NodeName: name }),
  /** In a pod of the DaemonSet: with the rights of its service account. */
  configInPod: podsOf({}),
} as const;

/** Installs plugin and conflist on both workers once the node can give addresses. */
export async function installCni(cluster: Cluster): Promise<void> {
  for (const [index, { machine }] of cluster.workers.entries()) {
    const node = cluster.evio[index];
    if (node !== undefined) await installOn(machine, node);
  }
}

/** The same on one machine, with the reference plugins that stand behind ours. */
export async function installOn(machine: Machine, node: EvioNode): Promise<void> {
  for (const name of ['loopback', 'portmap', 'bandwidth']) {
    copyFileSync(cniPlugin(name), machine.file(`/opt/cni/bin/${name}`));
  }
  await waitFor(`evio-cni is installed on ${machine.name}`, () => node.evio('cni', 'install'), {
    timeoutMs: 60_000,
    stepMs: 500,
    context: () => node.log().slice(-3_000),
  });
}

/** What there is because of pods, on each worker's machine. */
export const podTraces = (cluster: Cluster): Promise<readonly (readonly string[])[]> =>
  Promise.all(cluster.workers.map(({ machine }) => tracesOn(machine)));

/** Devices, named namespaces and routes. */
export async function tracesOn({ lab, name }: Machine): Promise<readonly string[]> {
  const links = await lab.exec(name, ['ip', '-brief', 'link']);
  const devices = links.split('\n').map((line) => line.split(/[@\s]/)[0] ?? '');
  const namespaces = (await lab.exec(name, ['ip', 'netns'])).split('\n');
  // A bridge without ports has no carrier, which shows a moment later.
  const routes = (await lab.exec(name, ['ip', 'route'])).replaceAll(' linkdown', '').split('\n');
  return [...devices, ...namespaces, ...routes].filter((x) => x !== '').sort();
}
