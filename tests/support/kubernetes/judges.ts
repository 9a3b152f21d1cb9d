/**
 * The real parts that judge us: where `judges.sh` put them, and why they are not there. Owns paths
 * only; never builds anything.
 */
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { needsProgram, needsRoot } from '../needs.ts';

/** Kept between runs; outside the repository. */
export const judgesFolder: string =
  process.env['EVIO_TEST_CACHE'] ?? join(homedir(), '.cache', 'evio-judges');

export const judge = (name: string): string => join(judgesFolder, 'bin', name);

/** The reference plugins of the CNI project. */
export const cniPlugin = (name: string): string => join(judgesFolder, 'bin', 'cni', name);

/** Not built by default: it takes as long as all of Kubernetes for two seconds of use. */
export const needsHelm: string | null = existsSync(judge('helm'))
  ? null
  : 'no helm: tests/support/kubernetes/judges.sh helm builds it';

/** Enforces NetworkPolicy; not every mirror of Go's modules has it. */
export const needsKubeRouter: string | null = existsSync(judge('kube-router'))
  ? needsProgram('ipset')
  : 'no kube-router: tests/setup.sh kubernetes builds it with Go';

/** What a cluster needs of this machine, as `unless` wants it. */
export const needsKubernetes: string | null =
  needsRoot ?? needsProgram('containerd') ?? needsProgram('etcd') ?? needsJudges();

function needsJudges(): string | null {
  const names = [
    ...['kubelet', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler'],
    ...['kube-proxy', 'kubectl', 'flanneld', 'cni/flannel', 'cni/portmap', 'image.tar'],
  ];
  const missing = names.find((name) => !existsSync(judge(name)));
  return missing === undefined
    ? null
    : `no ${missing}: tests/setup.sh kubernetes builds it with Go`;
}
