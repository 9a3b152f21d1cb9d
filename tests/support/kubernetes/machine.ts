/**
 * A host of a lab made into a machine on which a kubelet can stand: besides its network namespace
 * it has mount and UTS namespaces, cgroups of its own, and private copies of the folders that
 * container runtimes, kubelets and CNI plugins write to. Owns these, ends every process in them
 * with its scope, and never touches the same folders of the host.
 */
import { mkdirSync, rmdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { exec } from '../../../base/exec.ts';
import type { Lab } from '../netns.ts';
import type { Scope } from '../scope.ts';
import { endCgroup, joinCgroup, makeCgroup, sweepCgroups } from './cgroups.ts';

export interface Machine {
  readonly lab: Lab;
  /** Namespace of the lab, and host name. */
  readonly name: string;
  /** Cgroup for pods, `/evl…`; processes of the machine itself are in another. */
  readonly podCgroup: string;
  /** A folder of the machine as the test sees it: `file('/etc/cni/net.d/x.conflist')`. */
  file(path: string): string;
}

/** Folders that each machine has for itself. */
const privateFolders = [
  ...['/var/lib/kubelet', '/var/log/pods', '/var/log/containers', '/var/lib/evio'],
  ...['/run/containerd', '/var/lib/containerd', '/run/netns', '/run/flannel', '/run/evio'],
  ...['/var/lib/cni', '/etc/cni/net.d', '/opt/cni/bin', '/etc/evio'],
];

/**
 * In the new namespaces: a sysfs of this network namespace, with the cgroup mounts carried over;
 * the private folders; the hosts file that `ip netns exec` would give. Shared among themselves in
 * the end, as a service manager has it: containers see mounts that are made later.
 */
const setUp = `
set -eu
name=$1 folder=$2 hosts=$3; shift 3
hostname "$name"
mkdir -p "$folder/cgroup"
mount --rbind /sys/fs/cgroup "$folder/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$folder/cgroup" /sys/fs/cgroup
umount -R "$folder/cgroup"
[ ! -e "$hosts" ] || mount --bind "$hosts" /etc/hosts
for path in "$@"; do
  mkdir -p "$path" "$folder$path"
  mount --bind "$folder$path" "$path"
done
mount --make-rshared /
echo ready
exec sleep infinity
`;

/** Makes the host of that name a machine; everything that the lab runs there enters it. */
export async function createMachine(scope: Scope, lab: Lab, name: string): Promise<Machine> {
  await sweepCgroups();
  makeMountPoints(scope);
  const full = lab.fullName(name);
  const folder = join(lab.folder, 'machines', name);
  mkdirSync(folder, { recursive: true });
  const [podCgroup, ownCgroup] = [`/${full}`, `/${full}.own`];
  await makeCgroup(podCgroup);
  await makeCgroup(ownCgroup);
  scope.defer(async () => {
    await endCgroup(ownCgroup); // first: a kubelet would start pods again
    await endCgroup(podCgroup);
  });
  const inNetwork = ['nsenter', `--net=/run/netns/${full}`, '--'];
  const isolated = ['unshare', '--mount', '--uts', '--propagation', 'private'];
  const script = ['bash', '-c', setUp, 'machine', name, folder, `/etc/netns/${full}/hosts`];
  const joined = joinCgroup(ownCgroup);
  const start = [...joined, ...inNetwork, ...isolated, ...script, ...privateFolders];
  const holder = lab.spawn('', start); // `ip netns exec` would hide /sys/fs/cgroup
  await holder.waitLog('ready');
  lab.enterBy(name, [
    ...joined,
    ...['nsenter', `--target=${holder.pid}`, '--net', '--mount', '--uts', '--wd=/', '--'],
    // What a service manager would give: a runtime hands its environment on to CNI plugins.
    ...['env', `HOME=${folder}`, 'PATH=/usr/sbin:/usr/bin:/sbin:/bin'],
  ]);
  await lab.sysctl(name, { 'net.ipv4.ip_forward': 1 });
  return { lab, name, podCgroup, file: (path) => join(folder, path) };
}

/** Folders of the host that the private ones are mounted on; those that were not there go again. */
function makeMountPoints(scope: Scope): void {
  for (const path of privateFolders) {
    const first = mkdirSync(path, { recursive: true });
    if (first === undefined) continue;
    scope.defer(() => {
      for (let made = path; made.startsWith(first); made = dirname(made)) {
        try {
          rmdirSync(made);
        } catch {
          return; // somebody has put something in it: it stays
        }
      }
    });
  }
}

/** Values that a kubelet sets for the whole host: kept, and written back with the scope. */
const kernelValues = [
  ...['vm.overcommit_memory', 'vm.panic_on_oom', 'kernel.panic', 'kernel.panic_on_oops'],
  ...['kernel.keys.root_maxkeys', 'kernel.keys.root_maxbytes'],
];

export async function keepKernelValues(scope: Scope): Promise<void> {
  const saved = await exec(['sysctl', '-e', ...kernelValues]);
  scope.defer(async () => {
    await exec(['sysctl', '-q', '-e', '-p', '-'], { input: saved });
  });
}
