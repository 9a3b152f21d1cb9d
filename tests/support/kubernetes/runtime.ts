/**
 * What pods run in on a machine: containerd from Debian with the image of the judges, and the part of
 * a kubelet's configuration that all have alike. Owns no process: who starts one keeps it.
 */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Child } from '../child.ts';
import { waitFor } from '../scope.ts';
import { judge } from './judges.ts';
import type { Machine } from './machine.ts';

/** Image of the judges: busybox, ping and iperf3; `judges.sh` makes it. */
export const judgeImage = 'localhost/judge:1';

/** Started, and answering. */
export async function startContainerd({ lab, name }: Machine): Promise<Child> {
  const file = join(lab.folder, 'machines', `${name}-containerd.toml`);
  writeFileSync(file, containerdConfig);
  const child = lab.spawn(name, ['containerd', '-c', file, '--log-level=info']);
  await waitFor('containerd answers', () => lab.exec(name, ['ctr', 'version']), {
    timeoutMs: 60_000,
    stepMs: 100,
    context: () => child.log().slice(-2_000),
  });
  return child;
}

/** Imports an image from an archive; default: the one of the judges. */
export async function importImage(
  { lab, name }: Machine,
  archive: string = judge('image.tar'),
): Promise<void> {
  const argv = ['ctr', '--namespace=k8s.io', 'images', 'import', archive];
  await lab.exec(name, argv, { timeoutMs: 120_000 });
}

/** Of a KubeletConfiguration; who asks it and how it authenticates comes on top. */
export const kubeletSettings = ({ podCgroup }: Machine) => ({
  apiVersion: 'kubelet.config.k8s.io/v1beta1',
  kind: 'KubeletConfiguration',
  failCgroupV1: false,
  cgroupDriver: 'cgroupfs',
  cgroupRoot: podCgroup,
  failSwapOn: false,
  containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
  resolvConf: '',
  maxPods: 250,
  imageGCHighThresholdPercent: 100,
  evictionHard: { 'memory.available': '50Mi', 'nodefs.available': '1%' },
});

/** Writes a file of the machine by rename: containerd reads a CNI file at its first event. */
export function putFile(machine: Machine, path: string, text: string): void {
  const file = machine.file(path);
  mkdirSync(join(file, '..'), { recursive: true });
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
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
