/**
 * A real Kubernetes control plane on one machine: etcd, API server, controller manager, scheduler,
 * and the certificates of all. Owns these processes and files; knows nothing of the overlay but the
 * address that it is told.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Ca } from '../ca.ts';
import type { Child } from '../child.ts';
import type { Lab, RunOptions } from '../netns.ts';
import { waitFor } from '../scope.ts';
import { judge } from './judges.ts';
import type { Machine } from './machine.ts';

/** First address of the service range: the API server as pods know it. */
export const serviceRange = '10.96.0.0/16';
export const serviceRange6 = 'fd96::/112';
/** Two nodes' worth: a third has a range when another's was given back. */
export const podRange = '10.244.0.0/23';
export const podRange6 = 'fd44::/48';

export interface ControlPlane {
  /** Where kubelets and all others reach the API server. */
  readonly url: string;
  readonly ca: Ca;
  /** Standard output of kubectl as administrator, on the control plane's machine. */
  kubectl(args: readonly string[], options?: RunOptions): Promise<string>;
  /** `kubectl` as argv, for what runs on. */
  kubectlArgv(args: readonly string[]): readonly string[];
  /** A kubeconfig of that user; its file. */
  kubeconfig(user: string, organization?: string): Promise<string>;
  log(name: string): string;
}

export interface ControlPlaneOptions {
  /** Of the machine in the overlay: pods are sent there. */
  readonly address: string;
  /** Where kubelets look for the API server. */
  readonly url: string;
  readonly dualStack: boolean;
}

export async function startControlPlane(
  machine: Machine,
  ca: Ca,
  options: ControlPlaneOptions,
): Promise<ControlPlane> {
  const { lab, name: ns } = machine;
  const { url } = options;
  const folder = join(lab.folder, 'control-plane');
  mkdirSync(folder);
  const children = new Map<string, Child>();
  const start = (argv: readonly string[]): Child => {
    const name = (argv[0] ?? '').split('/').at(-1) ?? '';
    const child = lab.spawn(ns, argv);
    children.set(name, child);
    return child;
  };
  const kubeconfig: ControlPlane['kubeconfig'] = (user, organization) =>
    writeKubeconfig(lab, ca, url, user, organization);
  const admin = await kubeconfig('admin', 'system:masters');
  const kubectlArgv = (args: readonly string[]): readonly string[] => [
    ...[judge('kubectl'), `--kubeconfig=${admin}`, ...args],
  ];
  const kubectl: ControlPlane['kubectl'] = (args, options = {}) =>
    lab.exec(ns, kubectlArgv(args), { timeoutMs: 30_000, ...options });

  start(etcdArgv(folder));
  const api = start(await apiServerArgv(ca, options));
  await waitFor('the API server is ready', () => kubectl(['get', '--raw', '/readyz']), {
    timeoutMs: 120_000,
    stepMs: 200,
    context: () => api.log().slice(-3_000),
  });
  const manager = await kubeconfig('system:kube-controller-manager');
  start(controllerManagerArgv(ca, manager, options.dualStack));
  const scheduler = await kubeconfig('system:kube-scheduler');
  const alone = ['--leader-elect=false', '--bind-address=127.0.0.1'];
  start([judge('kube-scheduler'), `--kubeconfig=${scheduler}`, ...alone]);
  return {
    url,
    ca,
    kubectl,
    kubectlArgv,
    kubeconfig,
    log: (name) => children.get(name)?.log() ?? '',
  };
}

/** A kubeconfig of a user with a certificate of the cluster's CA; also before there is a cluster. */
export async function writeKubeconfig(
  lab: Lab,
  ca: Ca,
  url: string,
  user: string,
  organization?: string,
): Promise<string> {
  const group = organization === undefined ? {} : { organization };
  const issued = await ca.issue({ name: user, dns: ['client'], ...group });
  const file = join(lab.folder, `${user.replaceAll(':', '-')}.kubeconfig`);
  writeFileSync(file, kubeconfigText(url, ca.certFile, issued), { mode: 0o600 });
  return file;
}

interface Pair {
  readonly certFile: string;
  readonly keyFile: string;
}

const base64 = (file: string): string => readFileSync(file).toString('base64');

/** With everything inside, so that it can also be handed to a pod. */
function kubeconfigText(url: string, caFile: string, { certFile, keyFile }: Pair): string {
  const cluster = { server: url, 'certificate-authority-data': base64(caFile) };
  const user = {
    'client-certificate-data': base64(certFile),
    'client-key-data': base64(keyFile),
  };
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'lab',
    clusters: [{ name: 'lab', cluster }],
    users: [{ name: 'user', user }],
    contexts: [{ name: 'lab', context: { cluster: 'lab', user: 'user' } }],
  });
}

const etcdArgv = (folder: string): readonly string[] => [
  ...['etcd', `--data-dir=${join(folder, 'etcd')}`, '--unsafe-no-fsync'],
  ...['--listen-client-urls=http://127.0.0.1:2379'],
  ...['--advertise-client-urls=http://127.0.0.1:2379'],
  ...['--listen-peer-urls=http://127.0.0.1:2380'],
  ...['--initial-advertise-peer-urls=http://127.0.0.1:2380'],
  ...['--initial-cluster=default=http://127.0.0.1:2380'],
];

async function apiServerArgv(
  ca: Ca,
  { address, url, dualStack }: ControlPlaneOptions,
): Promise<readonly string[]> {
  const server = await ca.issue({
    name: 'kube-apiserver',
    ips: ['127.0.0.1', address, new URL(url).hostname, serviceRange.replace(/0\/16$/, '1')],
    dns: ['localhost', 'kubernetes', 'kubernetes.default', 'kubernetes.default.svc'],
  });
  const client = await ca.issue({ name: 'apiserver-kubelet', organization: 'system:masters' });
  const account = await ca.issue({ name: 'service-accounts' });
  return [
    ...[judge('kube-apiserver'), '--etcd-servers=http://127.0.0.1:2379'],
    ...['--bind-address=0.0.0.0', `--advertise-address=${address}`, '--secure-port=6443'],
    ...[`--service-cluster-ip-range=${services(dualStack)}`, '--allow-privileged=true'],
    ...['--authorization-mode=Node,RBAC', '--enable-admission-plugins=NodeRestriction'],
    ...[`--client-ca-file=${ca.certFile}`, `--kubelet-certificate-authority=${ca.certFile}`],
    ...[`--tls-cert-file=${server.certFile}`, `--tls-private-key-file=${server.keyFile}`],
    ...[`--kubelet-client-certificate=${client.certFile}`],
    ...[`--kubelet-client-key=${client.keyFile}`],
    // The overlay address of a node: all else about it is behind its NAT.
    ...['--kubelet-preferred-address-types=InternalIP', '--endpoint-reconciler-type=lease'],
    ...['--service-account-issuer=https://kubernetes.default.svc'],
    ...[`--service-account-key-file=${account.certFile}`],
    ...[`--service-account-signing-key-file=${account.keyFile}`],
  ];
}

const services = (dualStack: boolean): string =>
  dualStack ? `${serviceRange},${serviceRange6}` : serviceRange;

const controllerManagerArgv = (
  ca: Ca,
  kubeconfig: string,
  dualStack: boolean,
): readonly string[] => [
  ...[judge('kube-controller-manager'), `--kubeconfig=${kubeconfig}`],
  ...['--leader-elect=false', '--bind-address=127.0.0.1', '--use-service-account-credentials'],
  ...['--allocate-node-cidrs', '--node-cidr-mask-size-ipv4=24'],
  ...(dualStack
    ? [`--cluster-cidr=${podRange},${podRange6}`, '--node-cidr-mask-size-ipv6=64']
    : [`--cluster-cidr=${podRange}`]),
  ...[`--service-cluster-ip-range=${services(dualStack)}`, `--root-ca-file=${ca.certFile}`],
  `--service-account-private-key-file=${join(ca.certFile, '..', 'service-accounts.key')}`,
];
