/**
 * A worker of a cluster on one machine: containerd from Debian with the image of the judges, a real
 * kubelet and kube-proxy. Owns these processes; what makes pods reach each other comes from others.
 */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Child } from '../child.ts';
import { waitFor } from '../scope.ts';
import type { ControlPlane } from './control-plane.ts';
import { podRange } from './control-plane.ts';
import { judge } from './judges.ts';
import type { Machine } from './machine.ts';

export type ProxyMode = 'iptables' | 'nftables';

/** Image of the judges: busybox, ping and iperf3; `judges.sh` makes it. */
export const judgeImage = 'localhost/judge:1';

export interface Worker {
  readonly machine: Machine;
  /** Name of the Kubernetes node: the machine's, in lower case. */
  readonly name: string;
  /** `--node-ip`. */
  readonly address: string;
  readonly proxyMode: ProxyMode;
  kubelet: Child;
  containerd: Child;
  readonly proxy: Child;
  /** Imports an image from an archive. */
  importImage(archive: string): Promise<void>;
  startKubelet(): void;
  startContainerd(): Promise<void>;
}

export interface WorkerOptions {
  readonly address: string;
  readonly proxyMode: ProxyMode;
}

export async function startWorker(
  machine: Machine,
  control: ControlPlane,
  options: WorkerOptions,
): Promise<Worker> {
  const { lab, name } = machine;
  const nodeName = nodeNameOf(name);
  const runContainerd = async (): Promise<Child> => {
    const file = join(lab.folder, 'machines', `${name}-containerd.toml`);
    writeFileSync(file, containerdConfig);
    const child = lab.spawn(name, ['containerd', '-c', file, '--log-level=info']);
    await waitFor('containerd answers', () => lab.exec(name, ['ctr', 'version']), {
      timeoutMs: 60_000,
      stepMs: 100,
      context: () => child.log().slice(-2_000),
    });
    return child;
  };
  const kubeletArgv = await prepareKubelet(machine, control, options.address);
  const importImage: Worker['importImage'] = async (archive) => {
    const argv = ['ctr', '--namespace=k8s.io', 'images', 'import', archive];
    await lab.exec(name, argv, { timeoutMs: 120_000 });
  };
  const containerd = await runContainerd();
  await importImage(judge('image.tar'));
  const worker: Worker = {
    machine,
    name: nodeName,
    ...options,
    containerd,
    kubelet: lab.spawn(name, kubeletArgv),
    proxy: lab.spawn(name, await prepareProxy(machine, control, options)),
    importImage,
    startKubelet() {
      worker.kubelet = lab.spawn(name, kubeletArgv);
    },
    async startContainerd() {
      worker.containerd = await runContainerd();
    },
  };
  return worker;
}

export const nodeNameOf = (machine: string): string => machine.toLowerCase();

/** Writes a file of the machine by rename: containerd reads a CNI file at its first event. */
export function putFile(machine: Machine, path: string, text: string): void {
  const file = machine.file(path);
  mkdirSync(join(file, '..'), { recursive: true });
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}

async function prepareKubelet(
  machine: Machine,
  control: ControlPlane,
  address: string,
): Promise<readonly string[]> {
  const name = nodeNameOf(machine.name);
  const { ca } = control;
  const serving = await ca.issue({ name: `kubelet-${name}`, ips: [address], dns: [name] });
  const kubeconfig = await control.kubeconfig(`system:node:${name}`, 'system:nodes');
  const config = {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    failCgroupV1: false,
    cgroupDriver: 'cgroupfs',
    cgroupRoot: machine.podCgroup,
    failSwapOn: false,
    containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
    resolvConf: '',
    clusterDomain: 'cluster.local',
    clusterDNS: ['10.96.0.10'],
    tlsCertFile: serving.certFile,
    tlsPrivateKeyFile: serving.keyFile,
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: ca.certFile },
    },
    authorization: { mode: 'Webhook' },
    nodeStatusUpdateFrequency: '5s',
    imageGCHighThresholdPercent: 100,
    evictionHard: { 'memory.available': '50Mi', 'nodefs.available': '1%' },
  };
  const file = machine.file('/var/lib/kubelet/config.yaml');
  writeFileSync(file, JSON.stringify(config));
  return [
    ...[judge('kubelet'), '--config=/var/lib/kubelet/config.yaml', `--kubeconfig=${kubeconfig}`],
    ...[`--hostname-override=${name}`, `--node-ip=${address}`, '--v=2'],
  ];
}

async function prepareProxy(
  machine: Machine,
  control: ControlPlane,
  { proxyMode }: WorkerOptions,
): Promise<readonly string[]> {
  const kubeconfig = await control.kubeconfig('system:kube-proxy', `proxies-of-${machine.name}`);
  const config = {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    mode: proxyMode,
    clusterCIDR: podRange,
    hostnameOverride: nodeNameOf(machine.name),
    clientConnection: { kubeconfig },
    // The machine's table is a namespace's: its size may not be set there.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
  };
  const file = machine.file('/var/lib/kubelet/proxy.yaml');
  writeFileSync(file, JSON.stringify(config));
  return [judge('kube-proxy'), '--config=/var/lib/kubelet/proxy.yaml'];
}

const containerdConfig = `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${judgeImage}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
`;
