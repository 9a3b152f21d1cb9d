/**
 * What the bench wants of each program that it compares, and the two machines they run on. Owns
 * the pair of namespaces; never starts a program.
 *
 *   a eth0 10.1.0.1 ───── eth0 10.1.0.2 b      measured: one cable, MTU 1500
 *   a ctl0 10.2.0.2 ─ pub 10.2.0.1 ─ ctl0 10.2.0.3 b      servers that a program needs
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { exec } from '../../../base/exec.ts';
import { createLab, type Lab } from '../../support/netns.ts';
import type { Scope } from '../../support/scope.ts';
import type { Column } from '../results.ts';

export interface End {
  /** Namespace. */
  readonly ns: 'a' | 'b';
  /** Address on the measured cable. */
  readonly underlay: string;
  /** Address on the control segment. */
  readonly control: string;
  /** Address that the program should give its device, in a /24. */
  readonly overlay: string;
}

export interface Pair {
  readonly lab: Lab;
  readonly a: End;
  readonly b: End;
  /** Public segment, for servers and for a node between the two. */
  readonly pub: { readonly ns: 'pub'; readonly address: string };
}

/** A program that runs at both ends. */
export interface Running {
  /** Where traffic goes through the program. */
  readonly addresses: { readonly a: string; readonly b: string };
  /** Its processes at each end (their descendants are found by the bench). */
  readonly pids: { readonly a: readonly number[]; readonly b: readonly number[] };
  stop(): Promise<void>;
}

export interface Program extends Omit<Column, 'program'> {
  /** What the results call it; the same as `name` where nothing else is said. */
  readonly program?: string;
  /** Null when it can run, else why not. */
  missing(): string | null;
  /** How to get it: packages of Debian, or a command that puts it into the cache folder. */
  readonly install:
    | { readonly kind: 'nothing' }
    | { readonly kind: 'apt'; readonly packages: readonly string[] }
    | {
        readonly kind: 'build';
        readonly argv: readonly string[];
        readonly env: Readonly<Record<string, string>>;
      };
  start(pair: Pair): Promise<Running>;
}

/** Inner MTU of every layer-2 program here: what DTLS records over IPv4 leave of 1500. */
export const innerMtu = 1420;

export async function createPair(scope: Scope): Promise<Pair> {
  const lab = await createLab(scope);
  for (const ns of ['a', 'b', 'pub']) await lab.namespace(ns);
  await lab.cable(
    { ns: 'a', dev: 'eth0', addresses: ['10.1.0.1/24'] },
    { ns: 'b', dev: 'eth0', addresses: ['10.1.0.2/24'] },
  );
  // Where it leads is no matter: vpncloud does not start on a machine without a default route.
  await lab.ip('a', 'route add default via 10.1.0.2');
  await lab.ip('b', 'route add default via 10.1.0.1');
  await lab.bridge('pub', 'br0', ['10.2.0.1/24']);
  const toPub = (dev: string) => ({ ns: 'pub', dev, bridge: 'br0' });
  await lab.cable({ ns: 'a', dev: 'ctl0', addresses: ['10.2.0.2/24'] }, toPub('va'));
  await lab.cable({ ns: 'b', dev: 'ctl0', addresses: ['10.2.0.3/24'] }, toPub('vb'));
  return {
    lab,
    a: { ns: 'a', underlay: '10.1.0.1', control: '10.2.0.2', overlay: '10.77.0.1' },
    b: { ns: 'b', underlay: '10.1.0.2', control: '10.2.0.3', overlay: '10.77.0.2' },
    pub: { ns: 'pub', address: '10.2.0.1' },
  };
}

/** Where programs that Debian does not have are built to. */
export const cacheFolder: string = join(
  process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'),
  'evio-bench',
);

/** The path of a program: of the cache folder, else of the system; undefined when it is missing. */
export function findProgram(name: string): string | undefined {
  const folders = [join(cacheFolder, 'bin'), '/usr/local/bin', '/usr/bin', '/usr/sbin', '/sbin'];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

export const missingProgram = (name: string): string | null =>
  findProgram(name) === undefined ? `${name} is not installed` : null;

/** The path of a program that `missing()` has found. */
export function programPath(name: string): string {
  const path = findProgram(name);
  if (path === undefined) throw new Error(`${name} is not installed`);
  return path;
}

/** A text for the far end's half of a configuration. */
export const ends = (pair: Pair): readonly (readonly [End, End])[] => [
  [pair.a, pair.b],
  [pair.b, pair.a],
];

interface ProcessStat {
  readonly pid: number;
  readonly parent: number;
  readonly cpuSeconds: number;
}

/** The processes and all their descendants. */
export function withDescendants(roots: readonly number[]): readonly ProcessStat[] {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => readStat(Number(name)))
    .filter((stat) => stat !== undefined);
  const found = new Set(roots);
  // Parents need not come before their children in the listing: until nothing is added.
  for (let size = -1; size !== found.size; ) {
    size = found.size;
    for (const { pid, parent } of all) if (found.has(parent)) found.add(pid);
  }
  return all.filter(({ pid }) => found.has(pid));
}

/** User and system time of all threads of a process (proc(5): fields 14 and 15, in 1/100 s). */
function readStat(pid: number): ProcessStat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const ticks = Number(fields[11]) + Number(fields[12]);
    return { pid, parent: Number(fields[1]), cpuSeconds: ticks / 100 };
  } catch {
    return undefined; // it ended meanwhile
  }
}

/** Resident memory of the processes and their descendants. */
export function rssMiB(roots: readonly number[]): number {
  const kib = withDescendants(roots).map(({ pid }) => {
    const text = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(text)?.[1] ?? 0);
  });
  return kib.reduce((sum, x) => sum + x, 0) / 1024;
}

/** Installs what a program says that it needs. */
export async function installProgram({ install }: Program): Promise<void> {
  if (install.kind === 'apt') {
    const flags = ['install', '-y', '--no-install-recommends', ...install.packages];
    const env = ['env', 'DEBIAN_FRONTEND=noninteractive', 'RUNLEVEL=1'];
    await exec([...env, 'apt-get', ...flags], { timeoutMs: 600_000 });
  } else if (install.kind === 'build') {
    const env = Object.entries(install.env).map(([key, value]) => `${key}=${value}`);
    await exec(['env', ...env, ...install.argv], { timeoutMs: 1_200_000 });
  }
}
