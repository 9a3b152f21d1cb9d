/**
 * podman from Debian on a machine of a lab, with CNI as its network backend: storage, state and
 * locks in the machine's own folder. Owns these files and its containers as long as they are not
 * removed; the machine's cgroup ends what is left.
 */
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Machine } from './kubernetes/machine.ts';

/** `{sh, wget, httpd, …}` and nothing else. */
export const image = 'localhost/busybox:1';

/** Standard output of podman with these arguments. */
export type Podman = (...args: readonly string[]) => Promise<string>;

/** Ready to run containers of `image`; each wants `--cgroup-parent` of the machine. */
export async function setUpPodman({ lab, name }: Machine): Promise<Podman> {
  const folder = join(lab.folder, 'podman', name);
  for (const part of ['storage', 'run', 'tmp', 'root/bin', 'root/tmp']) {
    mkdirSync(join(folder, part), { recursive: true });
  }
  const [engine, storage] = [join(folder, 'containers.conf'), join(folder, 'storage.conf')];
  writeFileSync(engine, engineConfig(folder));
  writeFileSync(storage, storageConfig(folder));
  const settings = [`CONTAINERS_CONF=${engine}`, `CONTAINERS_STORAGE_CONF=${storage}`];
  const podman: Podman = (...args) =>
    lab.exec(name, ['env', ...settings, 'podman', ...args], { timeoutMs: 60_000 });
  copyFileSync('/bin/busybox', join(folder, 'root/bin/busybox'));
  for (const program of ['sh', 'cat', 'wget', 'httpd', 'ping', 'hostname', 'timeout']) {
    symlinkSync('busybox', join(folder, 'root/bin', program));
  }
  const archive = join(folder, 'root.tar');
  await lab.exec(name, ['tar', '--create', `--file=${archive}`, '-C', join(folder, 'root'), '.']);
  await podman('import', archive, image);
  return podman;
}

/**
 * Locks in files: those in shared memory would be one for all machines of this host. Limits that
 * this process may set: by default podman asks for a million.
 */
const engineConfig = (folder: string): string => `[network]
network_backend = "cni"
network_config_dir = "/etc/cni/net.d"
cni_plugin_dirs = ["/opt/cni/bin"]
default_network = "evio"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
lock_type = "file"
tmp_dir = "${folder}/tmp"
[containers]
apparmor_profile = "unconfined"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
`;

/** vfs: works on whatever file system the folder is on. */
const storageConfig = (folder: string): string => `[storage]
driver = "vfs"
graphroot = "${folder}/storage"
runroot = "${folder}/run"
`;
