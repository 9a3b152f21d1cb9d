/**
 * A laboratory on one machine: network namespaces, cables, bridges, programs in them, a temporary
 * folder. Owns all that it made and removes it with its scope, also after a set-up that failed;
 * never touches the host's own network, or a namespace that another running process made.
 *
 * Namespaces are named `<prefix><pid>-<name>`; callers use the short `name`, '' is the host itself.
 */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { messageOf } from '../../base/errors.ts';
import { exec } from '../../base/exec.ts';
import { Child, type ChildOptions, isAlive } from './child.ts';
import { type Scope, waitFor } from './scope.ts';

/** Names of labs of tests, bench and demo start so; the pid tells whose they are. */
const ownName = /^evl(\d+)-/;

export interface LabOptions {
  /** Instead of `evl<pid>`: a lab that may outlive its process (see `leave`); never swept. */
  readonly name?: string;
  /** IPv6 in the namespaces (off by default: its solicitations are noise in captures). */
  readonly ipv6?: boolean;
}

export interface RunOptions {
  /** Default 10 000 ms. */
  readonly timeoutMs?: number;
  readonly input?: string;
}

/** One end of a cable: a device in a namespace, with its addresses (`10.0.0.1/24`). */
export interface Plug {
  readonly ns: string;
  readonly dev: string;
  readonly addresses?: readonly string[];
  /** A bridge in the namespace that the device becomes a port of. */
  readonly bridge?: string;
}

/** Makes a lab that ends with the scope. Call it before anything that is deferred to end later. */
export async function createLab(scope: Scope, options: LabOptions = {}): Promise<Lab> {
  await sweep();
  const lab = new Lab(options);
  scope.defer(() => lab.close());
  return lab;
}

export class Lab {
  /** A temporary folder of this lab that user nobody may enter. */
  readonly folder: string;
  readonly prefix: string;
  readonly #ipv6: boolean;
  readonly #lasting: boolean;
  readonly #namespaces: string[] = [];
  readonly #children: Child[] = [];
  readonly #hostsFolders: string[] = [];
  readonly #entries = new Map<string, readonly string[]>();
  #closed = false;

  constructor(options: LabOptions) {
    this.prefix = options.name ?? `evl${process.pid}`;
    this.#ipv6 = options.ipv6 ?? false;
    this.#lasting = options.name !== undefined;
    this.folder = mkdtempSync(join(tmpdir(), `${this.prefix}-`));
    chmodSync(this.folder, 0o755);
  }

  /** The name that `ip netns` knows. */
  fullName(ns: string): string {
    return `${this.prefix}-${ns}`;
  }

  /** Makes a namespace with its loopback up. */
  async namespace(ns: string): Promise<void> {
    this.#check();
    this.#namespaces.push(ns);
    await exec(['ip', 'netns', 'add', this.fullName(ns)]);
    await this.ip(ns, 'link set lo up');
    const v6 = 'net.ipv6.conf';
    await this.sysctl(
      ns,
      this.#ipv6
        ? { [`${v6}.all.accept_dad`]: 0, [`${v6}.default.accept_dad`]: 0 }
        : { [`${v6}.all.disable_ipv6`]: 1, [`${v6}.default.disable_ipv6`]: 1 },
    );
  }

  /** Runs `ip` commands, one a line, in a namespace. */
  async ip(ns: string, lines: string): Promise<void> {
    this.#check();
    const at = ns === '' ? [] : ['-n', this.fullName(ns)];
    await exec(['ip', ...at, '-batch', '-'], { input: `${lines}\n` }).catch((cause: unknown) => {
      throw new Error(`${messageOf(cause)} of:\n${lines}`, { cause });
    });
  }

  /** A veth pair between two namespaces, both ends up and running. */
  async cable(a: Plug, b: Plug, mtu = 1500): Promise<void> {
    const peer = `peer name ${b.dev} mtu ${mtu} netns ${this.fullName(b.ns)}`;
    await this.ip(a.ns, `link add ${a.dev} mtu ${mtu} type veth ${peer}`);
    for (const plug of [a, b]) {
      const lines = (plug.addresses ?? []).map((x) => `addr add ${x} dev ${plug.dev}`);
      if (plug.bridge !== undefined) lines.push(`link set ${plug.dev} master ${plug.bridge}`);
      await this.ip(plug.ns, [...lines, `link set ${plug.dev} up`].join('\n'));
    }
    for (const { ns, dev } of [a, b]) await waitRunning(this.fullName(ns), dev);
  }

  /** A Linux bridge in a namespace, up, with addresses. */
  async bridge(ns: string, dev: string, addresses: readonly string[] = []): Promise<void> {
    const lines = addresses.map((x) => `addr add ${x} dev ${dev}`);
    await this.ip(ns, [`link add ${dev} type bridge`, ...lines, `link set ${dev} up`].join('\n'));
  }

  async sysctl(ns: string, values: Readonly<Record<string, number>>): Promise<void> {
    const pairs = Object.entries(values).map(([key, value]) => `${key}=${value}`);
    await this.exec(ns, ['sysctl', '-qw', ...pairs]);
  }

  /** Gives a namespace a hosts file of its own, `address name` a line. */
  hosts(ns: string, lines: readonly string[]): void {
    this.#check();
    const folder = join('/etc/netns', this.fullName(ns));
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'hosts'), `${lines.join('\n')}\n`);
    this.#hostsFolders.push(folder);
  }

  /** Loads an nftables ruleset in a namespace. */
  async nft(ns: string, rules: string): Promise<void> {
    await this.exec(ns, ['nft', '-f', '-'], { input: rules });
  }

  /** Standard output of a command in a namespace. */
  exec(ns: string, argv: readonly string[], options: RunOptions = {}): Promise<string> {
    this.#check();
    return exec(this.argvIn(ns, argv), options);
  }

  /** Starts a program in a namespace; it ends with the lab, SIGTERM first. */
  spawn(ns: string, argv: readonly string[], options: ChildOptions = {}): Child {
    this.#check();
    // `ip netns exec` executes in place: the pid is the program's own.
    const log = this.#lasting
      ? { logFile: join(this.folder, `program-${this.#children.length}.log`) }
      : {};
    const child = new Child(this.argvIn(ns, argv), { ...log, ...options });
    this.#children.push(child);
    return child;
  }

  argvIn(ns: string, argv: readonly string[]): readonly string[] {
    if (ns === '') return argv;
    return [...(this.#entries.get(ns) ?? ['ip', 'netns', 'exec', this.fullName(ns)]), ...argv];
  }

  /** Commands in the namespace start so from now on: a machine is more than a network namespace. */
  enterBy(ns: string, argv: readonly string[]): void {
    this.#entries.set(ns, argv);
  }

  /** Waits until a device of the namespace has an address, or (without one) exists. */
  async waitDevice(ns: string, dev: string, address = '', timeoutMs = 5_000): Promise<void> {
    await waitFor(
      `${dev} in ${this.fullName(ns)} ${address}`,
      async () => (await this.exec(ns, ['ip', 'addr', 'show', 'dev', dev])).includes(address),
      { timeoutMs },
    );
  }

  /** Ends the programs, removes the namespaces and the folder. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.all(this.#children.reverse().map((child) => child.stop()));
    for (const ns of this.#namespaces.reverse()) await removeNamespace(this.fullName(ns));
    for (const folder of [...this.#hostsFolders, this.folder]) {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  /** Lets a named lab and its programs outlive this process; `removeLab` ends it. */
  leave(): void {
    this.#closed = true;
    for (const child of this.#children) child.leave();
  }

  // A test that ran out of time may go on calling: nothing may be made after the undoing.
  #check(): void {
    if (this.#closed) throw new Error(`lab ${this.prefix} is closed`);
  }
}

/**
 * Waits until the kernel has taken note that a device has its carrier, which on a busy machine is up to
 * a second after it was set up: to a program that was started before, its addresses come later.
 */
export async function waitRunning(namespace: string, dev: string): Promise<void> {
  const show = ['ip', '-n', namespace, '-o', 'link', 'show', 'dev', dev];
  await waitFor(`${dev} is running`, async () => (await exec(show)).includes('state UP'), {
    timeoutMs: 5_000,
  });
}

/** Removes what labs of processes that are gone have left. */
export async function sweep(): Promise<void> {
  const abandoned = (name: string): boolean => {
    const pid = ownName.exec(name)?.[1];
    return pid !== undefined && !isAlive(Number(pid));
  };
  for (const name of listNames('/run/netns').filter(abandoned)) await removeNamespace(name);
  for (const name of listNames(tmpdir()).filter(abandoned)) {
    rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
}

/** Whether a lab of that name is on the machine. */
export const labExists = (name: string): boolean =>
  listNames('/run/netns').some((ns) => ns.startsWith(`${name}-`));

/** Removes a named lab that was left: its programs (SIGTERM first), namespaces and folders. */
export async function removeLab(name: string): Promise<void> {
  const own = (found: string): boolean => found.startsWith(`${name}-`);
  const namespaces = listNames('/run/netns').filter(own);
  const pids = (await Promise.all(namespaces.map(pidsIn))).flat();
  for (const pid of pids) signalProcess(pid, 'SIGTERM');
  const gone = (): boolean => pids.every((pid) => !isAlive(pid));
  await waitFor('programs end', gone, { timeoutMs: 10_000 }).catch(() => {}); // killed below
  for (const ns of namespaces) await removeNamespace(ns);
  for (const folder of listNames(tmpdir()).filter(own)) {
    rmSync(join(tmpdir(), folder), { recursive: true, force: true });
  }
}

/** Ends what still runs in a namespace, then removes it; no error when it is not there. */
export async function removeNamespace(name: string): Promise<void> {
  if (!listNames('/run/netns').includes(name)) return;
  for (const pid of await pidsIn(name)) signalProcess(pid, 'SIGKILL');
  // Another process may sweep the same leftover: only what is still there is an error.
  await exec(['ip', 'netns', 'del', name]).catch((error: unknown) => {
    if (listNames('/run/netns').includes(name)) throw error;
  });
}

async function pidsIn(name: string): Promise<readonly number[]> {
  const pids = await exec(['ip', 'netns', 'pids', name]).catch(() => '');
  return pids.split('\n').filter(Boolean).map(Number);
}

function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It ended between the listing and the signal.
  }
}

function listNames(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // no namespace was ever made on this machine
  }
}
