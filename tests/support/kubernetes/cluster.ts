/**
 * The scene of issue 6: a cluster across two NATs. The API server stands on a public machine, two
 * workers behind a NAT each, all three are nodes of one overlay, and every node's address in
 * Kubernetes is the one in the overlay. Owns the order of starting; pods come from the tests.
 *
 *   hA worker 10.77.0.1 ── rA (port) ────────┐
 *                                            ├── pub: Prosody, coturn
 *   hB worker 10.77.0.2 ── rB (restricted) ──┤
 *   hC control plane 10.77.0.3 ── rC (open) ─┘
 */
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { type EvioNode, type NodeOptions, writeConfig } from '../node.ts';
import { type Scope, waitFor } from '../scope.ts';
import { createScene, type Scene } from '../two-nodes.ts';
import { type ControlPlane, startControlPlane, writeKubeconfig } from './control-plane.ts';
import { createMachine, keepKernelValues, type Machine } from './machine.ts';
import { nodeNameOf, type ProxyMode, startWorker, type Worker } from './worker.ts';

/**
 * The address of a Kubernetes host stands on the TAP itself. On a bridge, where br_netfilter is on,
 * the kernel bridges a packet for a NodePort back to a remote pod with the sender's MAC, which the
 * overlay refuses as spoofed.
 */
export const overlayDevice = 'ev-lab';

export interface ClusterOptions {
  /** Of the workers; default iptables on hA, nftables on hB. */
  readonly proxyModes?: readonly [ProxyMode, ProxyMode];
  readonly node?: Partial<NodeOptions>;
  /** More of a worker's configuration, given the kubeconfig of its node. */
  readonly workerConfig?: (name: string, kubeconfig: string) => NonNullable<NodeOptions['config']>;
  /** The same for the control plane. */
  readonly controlConfig?: NonNullable<NodeOptions['config']>;
  /**
   * `none`: no overlay on the workers, only its configuration in /etc/evio; their kubelets reach
   * the API server beside the overlay, by its public address, and wait for theirs.
   */
  readonly workersEvio?: 'process' | 'none';
}

export interface Cluster extends ControlPlane {
  readonly scene: Scene;
  /** Of the overlay: hA, hB, hC; or hC alone. */
  readonly evio: readonly EvioNode[];
  readonly workers: readonly [Worker, Worker];
  /** Creates or changes objects. */
  apply(...objects: readonly object[]): Promise<void>;
  waitReady(timeoutMs?: number): Promise<void>;
  /** What the overlay's device on the first worker has. */
  overlayMtu(): Promise<number>;
}

export async function startCluster(scope: Scope, options: ClusterOptions = {}): Promise<Cluster> {
  const started = performance.now();
  const say = (what: string): void => {
    const seconds = ((performance.now() - started) / 1_000).toFixed(1);
    process.stdout.write(`cluster: ${what} after ${seconds} s\n`);
  };
  await keepKernelValues(scope);
  const scene = await createScene(scope, {
    kinds: ['port', 'restricted', 'open'],
    ipv6: true,
    node: { provider: 'VNIC', config: ignoreOurs, ...options.node },
  });
  const machines = [];
  for (const { host } of scene.sites) machines.push(await createMachine(scope, scene.lab, host));
  const [hostA, hostB, hostC] = machines;
  if (hostA === undefined || hostB === undefined || hostC === undefined) throw new Error('3 sites');
  const own = options.workersEvio !== 'none';
  const publicAddress = scene.sites[2]?.address ?? '';
  if (!own) {
    const config = { ...ignoreOurs, ...options.workerConfig?.('', '') };
    configure(hostA, scene.options(0, { config }));
    configure(hostB, scene.options(1, { config }));
  }
  const url = `https://${own ? '10.77.0.3' : publicAddress}:6443`;
  const changes = async (index: number): Promise<Partial<NodeOptions>> => {
    const { host = '' } = scene.sites[index] ?? {};
    if (index === 2) return { config: { ...ignoreOurs, ...options.controlConfig } };
    if (options.workerConfig === undefined) return {};
    const name = nodeNameOf(host);
    const user = `system:node:${name}`;
    const file = await writeKubeconfig(scene.lab, scene.ca, url, user, 'system:nodes');
    return { config: { ...ignoreOurs, ...options.workerConfig(name, file) } };
  };
  const evio: EvioNode[] = [];
  for (const index of own ? [0, 1, 2] : [2]) evio.push(scene.start(index, await changes(index)));
  for (const node of evio) {
    for (const { name } of evio) if (name !== node.name) await node.waitUp(name, 60_000);
  }
  await scene.lab.waitDevice(hostC.name, overlayDevice, '10.77.0.3', 60_000);
  say('the overlay is up');
  const control = await startControlPlane(hostC, scene.ca, { address: '10.77.0.3', url });
  say('the control plane answers');
  const modes = options.proxyModes ?? ['iptables', 'nftables'];
  const apply: Cluster['apply'] = async (...objects) => {
    const items = { apiVersion: 'v1', kind: 'List', items: objects };
    await control.kubectl(['apply', '-f', '-'], { input: JSON.stringify(items) });
  };
  await apply(proxyRights);
  const workers = [
    await startWorker(hostA, control, { address: '10.77.0.1', proxyMode: modes[0] }),
    await startWorker(hostB, control, { address: '10.77.0.2', proxyMode: modes[1] }),
  ] as const;
  for (const { name, kubelet } of workers) {
    await waitFor(
      `node ${name} has a pod range`,
      () => control.kubectl(['get', 'node', name, '-o', 'jsonpath={.spec.podCIDR}']),
      { timeoutMs: 60_000, stepMs: 200, context: () => kubelet.log().slice(-3_000) },
    );
  }
  say('both nodes are registered');
  const waitReady = async (timeoutMs = 60_000): Promise<void> => {
    const args = ['wait', '--for=condition=Ready', 'nodes', '--all', `--timeout=${timeoutMs}ms`];
    await control.kubectl(args, { timeoutMs: timeoutMs + 10_000 });
    say('both nodes are Ready');
  };
  const overlayMtu = async (): Promise<number> => {
    const file = `/sys/class/net/${overlayDevice}/mtu`;
    return Number(await scene.lab.exec(hostA.name, ['cat', file]));
  };
  return { ...control, scene, evio, workers, apply, waitReady, overlayMtu };
}

/** The files of a node where the image looks for them. */
function configure(machine: Machine, options: NodeOptions): void {
  const folder = machine.file('/etc/evio');
  if (options.xmpp.caFile !== undefined) copyFileSync(options.xmpp.caFile, join(folder, 'ca.crt'));
  const files = { PasswordFile: '/etc/evio/password', CaFile: '/etc/evio/ca.crt' };
  writeConfig(folder, {
    ...options,
    config: {
      ...options.config,
      Broker: { StateDirectory: '/var/lib/evio', RunDirectory: '/run/evio' },
      Signal: { Overlays: { lab: files } },
    },
  });
}

/** Addresses of pods and of Flannel are no way to another site. */
const ignoreOurs = {
  LinkManager: { IgnoredNetInterfaces: ['flannel.1', 'cni0', 'kube-ipvs0', 'evcni0'] },
};

const proxyRights = {
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind: 'ClusterRoleBinding',
  metadata: { name: 'lab-kube-proxy' },
  roleRef: {
    apiGroup: 'rbac.authorization.k8s.io',
    kind: 'ClusterRole',
    name: 'system:node-proxier',
  },
  subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'system:kube-proxy' }],
};
