/**
 * The real flanneld on both workers, with the flags that `docs/operate/kubernetes.md` names, and
 * the reference CNI plugins that it needs. Owns what Flannel leaves on a machine when it changes
 * its backend; never the pods.
 */
import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Child } from '../child.ts';
import { waitFor } from '../scope.ts';
import { type Cluster, overlayDevice } from './cluster.ts';
import { podRange } from './control-plane.ts';
import { cniPlugin, judge } from './judges.ts';
import { putFile } from './runtime.ts';
import type { Worker } from './worker.ts';

export type FlannelBackend = 'vxlan' | 'host-gw';

export interface Flannel {
  /** What it wrote for the CNI plugin, `FLANNEL_MTU` and others, of the first worker. */
  readonly environment: ReadonlyMap<string, string>;
  /** Ends it and removes its devices and its CNI configuration. */
  stop(): Promise<void>;
}

export const flannelConflist = {
  name: 'cbr0',
  cniVersion: '0.3.1',
  plugins: [
    { type: 'flannel', delegate: { hairpinMode: true, isDefaultGateway: true } },
    { type: 'portmap', capabilities: { portMappings: true } },
  ],
};

export async function startFlannel(cluster: Cluster, backend: FlannelBackend): Promise<Flannel> {
  const { lab } = cluster.scene;
  await cluster.apply(...rights);
  const kubeconfig = await cluster.kubeconfig('flannel');
  const settings = join(lab.folder, `flannel-${backend}.json`);
  writeFileSync(settings, JSON.stringify({ Network: podRange, Backend: { Type: backend } }));
  const daemons: Child[] = [];
  for (const { machine, name: nodeName } of cluster.workers) {
    for (const name of ['flannel', 'bridge', 'host-local', 'loopback', 'portmap']) {
      copyFileSync(cniPlugin(name), machine.file(`/opt/cni/bin/${name}`));
    }
    rmSync(subnetFile(machine.file), { force: true });
    const argv = [
      ...[judge('flanneld'), '--kube-subnet-mgr', `--kubeconfig-file=${kubeconfig}`],
      ...[`--net-config-path=${settings}`, '--ip-masq', `--iface=${overlayDevice}`],
    ];
    daemons.push(lab.spawn(machine.name, argv, { env: { NODE_NAME: nodeName } }));
  }
  for (const [index, { machine }] of cluster.workers.entries()) {
    await waitFor(
      `flanneld of ${machine.name} has its subnet`,
      () => readFileSync(subnetFile(machine.file), 'utf8').includes('FLANNEL_MTU'),
      {
        timeoutMs: 60_000,
        stepMs: 100,
        context: () => daemons[index]?.log().slice(-2_000) ?? '',
      },
    );
    putFile(machine, '/etc/cni/net.d/10-flannel.conflist', JSON.stringify(flannelConflist));
  }
  return {
    environment: readEnvironment(subnetFile(cluster.workers[0].machine.file)),
    async stop() {
      for (const daemon of daemons) await daemon.stop();
      for (const worker of cluster.workers) await clean(worker);
    },
  };
}

const subnetFile = (file: (path: string) => string): string => file('/run/flannel/subnet.env');

const readEnvironment = (file: string): ReadonlyMap<string, string> =>
  new Map(
    readFileSync(file, 'utf8')
      .split('\n')
      .map((line) => line.split('='))
      .map(([key = '', value = '']) => [key, value]),
  );

async function clean({ machine }: Worker): Promise<void> {
  const { lab, name } = machine;
  rmSync(machine.file('/etc/cni/net.d/10-flannel.conflist'), { force: true });
  for (const device of ['cni0', 'flannel.1']) {
    const devices = await lab.exec(name, ['ip', '-brief', 'link']);
    if (new RegExp(`^${device.replace('.', '\\.')}\\b`, 'm').test(devices)) {
      await lab.exec(name, ['ip', 'link', 'delete', device]);
    }
  }
  // host-gw leaves its routes.
  for (const line of (await lab.exec(name, ['ip', 'route'])).split('\n')) {
    const [target = ''] = line.split(' ');
    if (target.startsWith('10.244.')) await lab.exec(name, ['ip', 'route', 'delete', target]);
  }
}

const group = 'rbac.authorization.k8s.io';
const rights = [
  {
    apiVersion: `${group}/v1`,
    kind: 'ClusterRole',
    metadata: { name: 'flannel' },
    rules: [
      { apiGroups: [''], resources: ['pods'], verbs: ['get'] },
      { apiGroups: [''], resources: ['nodes'], verbs: ['get', 'list', 'watch'] },
      { apiGroups: [''], resources: ['nodes/status'], verbs: ['patch'] },
    ],
  },
  {
    apiVersion: `${group}/v1`,
    kind: 'ClusterRoleBinding',
    metadata: { name: 'flannel' },
    roleRef: { apiGroup: group, kind: 'ClusterRole', name: 'flannel' },
    subjects: [{ apiGroup: group, kind: 'User', name: 'flannel' }],
  },
];
