/**
 * A worker of a cluster on one machine: containerd from Debian with the image of the judges, a real
 * kubelet and kube-proxy. Owns these processes; what makes pods reach each other comes from others.
 */
import { writeFileSync } from 'node:fs';
import type { Child } from '../child.ts';
import type { ControlPlane } from './control-plane.ts';
import { podRange, podRange6 } from './control-plane.ts';
import { judge } from './judges.ts';
import type { Machine } from './machine.ts';
import { importImage, kubeletSettings, startContainerd } from './runtime.ts';

export type ProxyMode = 'iptables' | 'nftables';

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
  readonly address6?: string;
  readonly proxyMode: ProxyMode;
}

export async function startWorker(
  machine: Machine,
  control: ControlPlane,
  options: WorkerOptions,
): Promise<Worker> {
  const { lab, name } = machine;
  const nodeName = nodeNameOf(name);
  const kubeletArgv = await prepareKubelet(machine, control, options);
  const containerd = await startContainerd(machine);
  await importImage(machine);
  const worker: Worker = {
    machine,
    name: nodeName,
    ...options,
    containerd,
    kubelet: lab.spawn(name, kubeletArgv),
    proxy: lab.spawn(name, await prepareProxy(machine, control, options)),
    importImage: (archive) => importImage(machine, archive),
    startKubelet() {
      worker.kubelet = lab.spawn(name, kubeletArgv);
    },
    async startContainerd() {
      worker.containerd = await startContainerd(machine);
    },
  };
  return worker;
}

export const nodeNameOf = (machine: string): string => machine.toLowerCase();

async function prepareKubelet(
  machine: Machine,
  control: ControlPlane,
  { address, address6 }: WorkerOptions,
): Promise<readonly string[]> {
  const addresses = address6 === undefined ? [address] : [address, address6];
  const name = nodeNameOf(machine.name);
  const { ca } = control;
  const serving = await ca.issue({ name: `kubelet-${name}`, ips: addresses, dns: [name] });
  const kubeconfig = await control.kubeconfig(`system:node:${name}`, 'system:nodes');
  const config = {
    ...kubeletSettings(machine),
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
  };
  const file = machine.file('/var/lib/kubelet/config.yaml');
  writeFileSync(file, JSON.stringify(config));
  return [
    ...[judge('kubelet'), '--config=/var/lib/kubelet/config.yaml', `--kubeconfig=${kubeconfig}`],
    ...[`--hostname-override=${name}`, `--node-ip=${addresses.join()}`, '--v=2'],
  ];
}

async function prepareProxy(
  machine: Machine,
  control: ControlPlane,
  { proxyMode, address6 }: WorkerOptions,
): Promise<readonly string[]> {
  const kubeconfig = await control.kubeconfig('system:kube-proxy', `proxies-of-${machine.name}`);
  const config = {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    mode: proxyMode,
    clusterCIDR: address6 === undefined ? podRange : `${podRange},${podRange6}`,
    hostnameOverride: nodeNameOf(machine.name),
    clientConnection: { kubeconfig },
    // The machine's table is a namespace's: its size may not be set there.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
  };
  const file = machine.file('/var/lib/kubelet/proxy.yaml');
  writeFileSync(file, JSON.stringify(config));
  return [judge('kube-proxy'), '--config=/var/lib/kubelet/proxy.yaml'];
}
