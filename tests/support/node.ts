/**
 * One Evio node in a namespace of a lab: its configuration file, `evio up`, and what `evio status`
 * says. Owns the process it started; uses the product by its command line only.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Child, Exit } from './child.ts';
import type { Lab } from './netns.ts';
import { assertWithin, patience } from './pace.ts';
import { evioLauncher, evioProgram } from './repository.ts';
import { waitFor } from './scope.ts';

/** What tests read of `evio status --json`; further fields are no error. */
const Peer = z.looseObject({
  nodeId: z.string(),
  name: z.string().nullish(),
  account: z.string().nullish(),
  state: z.string(),
  path: z
    .looseObject({
      kind: z.string(),
      local: z.string().nullish(),
      remote: z.string().nullish(),
    })
    .nullish(),
  rttMs: z.number().nullish(),
  sentBytes: z.number().nullish(),
  receivedBytes: z.number().nullish(),
  lastError: z.string().nullish(),
  pathNote: z.string().nullish(),
});
const Overlay = z.looseObject({
  overlay: z.string(),
  signal: z
    .looseObject({
      state: z.string(),
      sinceMs: z.number().nullish(),
      problem: z.looseObject({ code: z.string() }).nullish(),
    })
    .nullish(),
  device: z.looseObject({ mtu: z.number().nullish() }).nullish(),
  peers: z.array(Peer),
});
const Status = z.looseObject({
  nodeId: z.string(),
  name: z.string().nullish(),
  overlays: z.array(Overlay),
});
export type PeerStatus = z.infer<typeof Peer>;
export type NodeStatus = z.infer<typeof Status>;

/** Of what `evio status --json` printed. */
export const parseStatus = (text: string): NodeStatus => Status.parse(JSON.parse(text));

export interface NodeOptions {
  /** Namespace; '' is the host itself. */
  readonly ns: string;
  /** NodeName, and by default the account. */
  readonly name: string;
  /** Default `lab`. */
  readonly overlay?: string;
  /** Address in the overlay, `10.77.0.1`; with `prefixLength` (default 24). */
  readonly address: string;
  readonly prefixLength?: number;
  /** `fd77::1`, with prefix 64. */
  readonly address6?: string;
  /** Default VNIC: the address stands on the TAP. */
  readonly provider?: 'VNIC' | 'LXBR' | 'OVS';
  readonly xmpp: {
    readonly address: string;
    readonly port: number;
    readonly domain: string;
    readonly password: string;
    /** Default: the node's name. */
    readonly user?: string;
    readonly caFile?: string;
  };
  readonly stun?: readonly string[];
  readonly turn?: readonly {
    readonly Address: string;
    readonly User: string;
    readonly Password: string;
    readonly Transport?: 'udp' | 'tcp' | 'tls';
    readonly CaFile?: string;
  }[];
  readonly logLevel?: 'debug' | 'info' | 'warn' | 'error';
  /** The Node.js that runs it; default: the one that the repository brings, by the launcher. */
  readonly node?: string;
  /** The `evio` program of another build than this one; with `node`. */
  readonly program?: string;
  /** Developer knobs, for example EVIO_KEY_LOG_FILE. */
  readonly env?: Readonly<Record<string, string>>;
  /** Merged into the file's sections, deeply: what this interface has no name for. */
  readonly config?: Readonly<Record<string, unknown>>;
}

/** A node whose process has been started. */
export class EvioNode {
  readonly name: string;
  readonly ns: string;
  readonly address: string;
  readonly folder: string;
  readonly configFile: string;
  readonly #lab: Lab;
  readonly #env: Readonly<Record<string, string>>;
  readonly #launcher: readonly string[];
  #child: Child;

  constructor(lab: Lab, options: NodeOptions) {
    this.#lab = lab;
    this.#env = options.env ?? {};
    this.#launcher =
      options.node === undefined ? [evioLauncher] : [options.node, options.program ?? evioProgram];
    this.name = options.name;
    this.ns = options.ns;
    this.address = options.address;
    this.folder = join(lab.folder, options.name);
    this.configFile = writeConfig(this.folder, options);
    this.#child = this.#spawn();
  }

  /** State directory of the node of that name, whether or not it was started yet. */
  static stateDirectory(lab: Lab, name: string): string {
    return join(lab.folder, name, 'state');
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Undefined while it runs. */
  get exit(): Exit | undefined {
    return this.#child.exit;
  }

  log(): string {
    return this.#child.log();
  }

  /** Standard output of `evio <args> --config FILE`. */
  evio(...args: readonly string[]): Promise<string> {
    return this.#lab.exec(this.ns, [evioLauncher, ...args, '--config', this.configFile]);
  }

  async status(): Promise<NodeStatus> {
    return parseStatus(await this.evio('status', '--json'));
  }

  /** The peer of that name in any overlay, undefined when not (yet) known. */
  async peer(peerName: string): Promise<PeerStatus | undefined> {
    const { overlays } = await this.status();
    return overlays.flatMap((o) => o.peers).find((p) => p.name === peerName);
  }

  /** Waits until there is a path to the peer (of the kind, when named). */
  waitUp(peerName: string, timeoutMs = 30_000, kind?: string | RegExp): Promise<PeerStatus> {
    const fits = (found: string): boolean =>
      kind === undefined || (typeof kind === 'string' ? found === kind : kind.test(found));
    let last: unknown;
    return waitFor(
      `${this.name} has a path to ${peerName}`,
      async () => {
        if (this.exit !== undefined) return true;
        const peer = await this.peer(peerName);
        last = peer;
        const found = peer?.path?.kind ?? 'none';
        return found !== 'none' && fits(found) ? peer : undefined;
      },
      {
        timeoutMs,
        stepMs: 100,
        context: () => `${JSON.stringify(last)}\n${this.log().slice(-4_000)}`,
      },
    ).then((peer) => {
      if (peer === true) throw new Error(`${this.name} ended: ${this.log().slice(-4_000)}`);
      return peer;
    });
  }

  /** Pid of its tunnel process, once it serves; another than `not`. */
  tunnelPid(not = 0): Promise<number> {
    return waitFor(
      `${this.name} has a tunnel process`,
      async () => {
        const process = (await this.status()).overlays[0]?.['bridgeProcess'];
        const { state, pid } = Object(process);
        return state === 'up' && pid !== not ? Number(pid) : null;
      },
      { timeoutMs: 20_000, context: () => this.log().slice(-3_000) },
    );
  }

  /** SIGTERM; fails when it has not ended within 10 s, which is what the product promises. */
  async stop(): Promise<Exit> {
    const startMs = performance.now();
    const exit = await this.#child.stop(10_000 * patience);
    const took = performance.now() - startMs;
    await assertWithin(`${this.name} ends`, took, 10_000, () => this.log().slice(-2_000));
    return exit;
  }

  async kill(signal: NodeJS.Signals): Promise<Exit> {
    this.#child.kill(signal);
    return this.#child.ended;
  }

  /** Starts it again after it ended, with the same identity and configuration. */
  start(): void {
    if (this.exit === undefined) throw new Error(`${this.name} is running`);
    this.#child = this.#spawn();
  }

  #spawn(): Child {
    return this.#lab.spawn(this.ns, [...this.#launcher, 'up', '--config', this.configFile], {
      cwd: this.folder,
      env: this.#env,
    });
  }
}

/** Writes the configuration and starts `evio up`; does not wait for anything. */
export const startNode = (lab: Lab, options: NodeOptions): EvioNode => new EvioNode(lab, options);

/** Writes password and configuration of a node, without starting it; the configuration's file. */
export function writeConfig(folder: string, options: NodeOptions): string {
  mkdirSync(folder, { recursive: true });
  const passwordFile = join(folder, 'password');
  writeFileSync(passwordFile, `${options.xmpp.password}\n`, { mode: 0o600 });
  const file = join(folder, 'config.json');
  const config = merge(configOf(folder, passwordFile, options), options.config ?? {});
  writeFileSync(file, `${JSON.stringify(config, null, 2)}\n`);
  return file;
}

type Json = Readonly<Record<string, unknown>>;

function configOf(folder: string, passwordFile: string, options: NodeOptions): Json {
  const { xmpp } = options;
  const overlay = options.overlay ?? 'lab';
  const address6 = options.address6;
  return {
    Broker: {
      Overlays: [overlay],
      NodeName: options.name,
      LogLevel: options.logLevel ?? 'info',
      StateDirectory: join(folder, 'state'),
      RunDirectory: join(folder, 'run'),
    },
    Signal: {
      Overlays: {
        [overlay]: {
          HostAddress: xmpp.address,
          Port: xmpp.port,
          Username: `${xmpp.user ?? options.name}@${xmpp.domain}`,
          PasswordFile: passwordFile,
          ...(xmpp.caFile === undefined ? {} : { CaFile: xmpp.caFile }),
        },
      },
    },
    LinkManager: { Stun: options.stun ?? [], Turn: options.turn ?? [], IgnoredNetInterfaces: [] },
    Topology: { Overlays: { [overlay]: {} } },
    BridgeController: {
      Overlays: {
        [overlay]: {
          NetDevice: {
            BridgeProvider: options.provider ?? 'VNIC',
            IP4: options.address,
            PrefixLen: options.prefixLength ?? 24,
            ...(address6 === undefined ? {} : { IP6: address6, PrefixLen6: 64 }),
            AutoDelete: true,
          },
        },
      },
    },
  };
}

const isRecord = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function merge(base: Json, more: Json): Json {
  const merged: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(more)) {
    const below = merged[key];
    merged[key] = isRecord(below) && isRecord(value) ? merge(below, value) : value;
  }
  return merged;
}
