/**
 * Cgroups of a lab's machines, version 1 or 2 as the host has it: made so that a kubelet accepts
 * them, ended with every process in them. Owns cgroups named `/evl<pid>-…` at the root; never
 * touches another.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { isAlive } from '../child.ts';
import { waitFor } from '../scope.ts';

const root = '/sys/fs/cgroup';
export const isUnified = existsSync(join(root, 'cgroup.controllers'));
const ownName = /^evl(\d+)-/;

/** The hierarchies' roots: with version 2 there is one, with version 1 one for each controller. */
function hierarchies(): readonly string[] {
  if (isUnified) return [root];
  return readdirSync(root, { withFileTypes: true })
    .filter((entry) => entry.isDirectory()) // `cpu -> cpu,cpuacct` are links
    .map((entry) => join(root, entry.name))
    .filter((folder) => existsSync(join(folder, 'cgroup.procs')));
}

/** The hierarchy by which processes of a cgroup are found. */
const tracked = isUnified ? root : join(root, 'pids');

export async function makeCgroup(path: string): Promise<void> {
  for (const hierarchy of hierarchies()) {
    const folder = join(hierarchy, path);
    mkdirSync(folder, { recursive: true });
    // A cpuset of version 1 takes no process before it has processors and memory nodes.
    for (const file of isUnified ? [] : ['cpuset.cpus', 'cpuset.mems']) {
      if (!existsSync(join(folder, file))) continue;
      writeFileSync(join(folder, file), readFileSync(join(hierarchy, file)));
    }
  }
}

/** The start of a command line that runs the rest inside the cgroup. */
export const joinCgroup = (path: string): readonly string[] => [
  ...['sh', '-c', 'echo $$ >"$0" && exec "$@"', join(tracked, path, 'cgroup.procs')],
];

/** Kills what runs in the cgroup and below, and removes it; no error when it is not there. */
export async function endCgroup(path: string): Promise<void> {
  await waitFor(
    `cgroup ${path} is empty`,
    () => {
      const pids = below(join(tracked, path)).flatMap(processesOf);
      for (const pid of pids) kill(pid);
      return pids.length === 0;
    },
    { timeoutMs: 20_000 },
  );
  for (const hierarchy of hierarchies()) {
    await waitFor(`${hierarchy}${path} is gone`, () => {
      // Deepest first; the kernel may hold one for a moment after its last process has ended.
      for (const folder of [...below(join(hierarchy, path))].reverse()) rmdirSync(folder);
      return true;
    });
  }
}

/** Ends what labs of processes that are gone have left. */
export async function sweepCgroups(): Promise<void> {
  const names = readdirSync(tracked).filter((name) => {
    const pid = ownName.exec(name)?.[1];
    return pid !== undefined && !isAlive(Number(pid));
  });
  for (const name of names) await endCgroup(`/${name}`);
}

/** The folder and all below, parents first; none when it is not there. */
function below(folder: string): readonly string[] {
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder, { withFileTypes: true }).filter((x) => x.isDirectory());
  return [folder, ...names.flatMap(({ name }) => below(join(folder, name)))];
}

function processesOf(folder: string): readonly number[] {
  try {
    return readFileSync(join(folder, 'cgroup.procs'), 'utf8')
      .split('\n')
      .filter(Boolean)
      .map(Number);
  } catch {
    return []; // removed meanwhile
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended between the listing and the signal.
  }
}
