/**
 * From one call of the executable to its answer: parameters checked, one attachment at a time, every
 * failure an error result. Owns the queue and the checks that all verbs share (the specification's
 * "Parameters"); what a verb does is in `verbs.ts`.
 */
import type { CniRequest } from '../controller/local-api/schema.ts';
import { CniError, cniCodes, toCniError } from './cni-error.ts';
import {
  type Command,
  checkContainerId,
  checkIfname,
  commands,
  parseNetConf,
  versions,
} from './schema.ts';
import { add, check, collect, del, keyOf, status, type VerbCall, type VerbDeps } from './verbs.ts';

/** What the executable prints, and whether it exits with 0. */
export interface CniAnswer {
  readonly ok: boolean;
  readonly text: string;
}

/** Kernel work at the same time: more would only wait for its lock. */
const maxAtOnce = 8;

export class Skeleton {
  readonly #deps: VerbDeps;
  /** The last call of each attachment; the next one waits for it. */
  readonly #queues = new Map<string, Promise<unknown>>();
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(deps: VerbDeps) {
    this.#deps = deps;
  }

  isBusy(key: string): boolean {
    return this.#queues.has(key);
  }

  /** Never rejects. */
  async answer(request: CniRequest, signal: AbortSignal): Promise<CniAnswer> {
    const startedMs = this.#deps.clock.now();
    let version: string = versions[versions.length - 1] ?? '';
    try {
      const command = parseCommand(request.command);
      const conf = parseNetConf(request.config);
      version = conf.cniVersion;
      const call: VerbCall = { ...request, conf };
      checkVerb(command, call);
      const result = await this.#run(command, call, signal);
      this.#note(command, request, startedMs);
      return { ok: true, text: result === null ? '' : `${JSON.stringify(result)}\n` };
    } catch (error) {
      const { reason, message, details } = toCniError(error);
      this.#note(request.command, request, startedMs, `${reason}: ${message} ${details}`);
      const body = { cniVersion: version, code: cniCodes[reason], msg: message };
      return {
        ok: false,
        text: `${JSON.stringify(details === '' ? body : { ...body, details })}\n`,
      };
    }
  }

  #run(command: Command, call: VerbCall, signal: AbortSignal): Promise<object | null> {
    const deps = this.#deps;
    const key = keyOf(call.conf.name, call.containerId, call.ifname);
    switch (command) {
      case 'ADD':
        return this.#alone(key, () => add(deps, call, signal));
      case 'DEL':
        return this.#alone(key, () => del(deps, call).then(nothing));
      case 'CHECK':
        return this.#alone(key, () => check(deps, call).then(nothing));
      case 'GC':
        return this.#alone('gc', () => collect(deps, call, (k) => this.isBusy(k)).then(nothing));
      case 'STATUS':
        return status(deps, call).then(nothing);
    }
  }

  /** After the calls for the same attachment that came before, and with few others at once. */
  async #alone<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#queues.get(key);
    const mine = this.#afterwards(before, work);
    this.#queues.set(key, mine);
    try {
      return await mine;
    } finally {
      if (this.#queues.get(key) === mine) this.#queues.delete(key);
    }
  }

  async #afterwards<T>(before: Promise<unknown> | undefined, work: () => Promise<T>): Promise<T> {
    await before?.catch(() => {}); // its caller was told
    if (this.#running >= maxAtOnce) await new Promise<void>((go) => this.#waiting.push(go));
    else this.#running += 1;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }

  #note(command: string, request: CniRequest, startedMs: number, error?: string): void {
    const { clock, log } = this.#deps;
    if (command === 'STATUS') return; // asked every few seconds; who asks is answered
    const name =
      /K8S_POD_NAME=([^;]{1,253})/.exec(request.args)?.[1] ?? request.containerId.slice(0, 64);
    const fields = { command, name, durationMs: Math.round(clock.now() - startedMs) };
    if (error === undefined) log.info('cni call', fields);
    else log.warn('cni call failed', { ...fields, error });
  }
}

const nothing = (): null => null;

function parseCommand(text: string): Command {
  const command = commands.find((each) => each === text);
  if (command !== undefined) return command;
  throw new CniError(
    'invalid-environment',
    `CNI_COMMAND is ${JSON.stringify(text.slice(0, 40))}, not one of ${commands.join(', ')}, VERSION`,
  );
}

/** What the specification demands of each verb before it is looked at. */
function checkVerb(command: Command, { conf, containerId, ifname }: VerbCall): void {
  const oldest = command === 'CHECK' ? 1 : command === 'GC' || command === 'STATUS' ? 3 : 0;
  if (versions.indexOf(conf.cniVersion) < oldest) {
    throw new CniError('incompatible-version', `cniVersion ${conf.cniVersion} has no ${command}`);
  }
  if (command === 'GC' || command === 'STATUS') return;
  checkContainerId(containerId);
  checkIfname(ifname);
}
