/**
 * A program that a lab started: its log, its end. Owns one process by its pid; never touches a
 * process that it did not start.
 */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { waitFor } from './scope.ts';

export interface ChildOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Text for standard input; default none. */
  readonly input?: string;
  /** Where the log goes instead of a pipe: the program may then outlive this process. */
  readonly logFile?: string;
}

/** How a process ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** The last bytes of a log that are kept: a chatty server must not fill the test's memory. */
const maxLogBytes = 1 << 20;

export class Child {
  readonly pid: number;
  readonly argv: readonly string[];
  readonly #process: ReturnType<typeof spawn>;
  readonly #logFile: string | undefined;
  readonly #end = Promise.withResolvers<Exit>();
  #exit: Exit | undefined;
  #log = '';

  constructor(argv: readonly string[], options: ChildOptions = {}) {
    const [file = '', ...args] = argv;
    this.argv = argv;
    this.#logFile = options.logFile;
    const out = options.logFile === undefined ? 'pipe' : openSync(options.logFile, 'a');
    this.#process = spawn(file, args, {
      stdio: [options.input === undefined ? 'ignore' : 'pipe', out, out],
      env: { ...process.env, ...options.env },
      cwd: options.cwd,
      detached: options.logFile !== undefined,
    });
    if (typeof out === 'number') closeSync(out);
    this.pid = this.#process.pid ?? 0;
    this.#process.on('error', (error) => {
      this.#log += `${error.message}\n`;
      this.#ended({ code: 127, signal: null });
    });
    // `exit`, not `close`: a grandchild may keep the pipes open.
    this.#process.on('exit', (code, signal) => this.#ended({ code, signal }));
    const collect = (data: Buffer): void => {
      this.#log = (this.#log + data.toString()).slice(-maxLogBytes);
    };
    this.#process.stdout?.on('data', collect);
    this.#process.stderr?.on('data', collect);
    this.#process.stdin?.on('error', () => {}); // a program may end without reading its input
    this.#process.stdin?.end(options.input);
  }

  /** What it printed, standard error included. */
  log(): string {
    if (this.#logFile === undefined) return this.#log;
    return (readFileSync(this.#logFile, 'utf8') + this.#log).slice(-maxLogBytes);
  }

  /** Lets this process end without it. */
  leave(): void {
    this.#process.unref();
  }

  /** Undefined while it runs. */
  get exit(): Exit | undefined {
    return this.#exit;
  }

  get ended(): Promise<Exit> {
    return this.#end.promise;
  }

  kill(signal: NodeJS.Signals): void {
    if (this.#exit === undefined) this.#process.kill(signal);
  }

  /** SIGTERM, then SIGKILL after `graceMs`; how it ended. */
  async stop(graceMs = 10_000): Promise<Exit> {
    if (this.#exit !== undefined) return this.#exit;
    this.kill('SIGTERM');
    const timer = setTimeout(() => this.kill('SIGKILL'), graceMs);
    const exit = await this.#end.promise;
    clearTimeout(timer);
    return exit;
  }

  /** Waits until the log has the text; fails at once when the program ends before. */
  async waitLog(text: string | RegExp, timeoutMs = 5_000): Promise<void> {
    const has = (): boolean =>
      typeof text === 'string' ? this.log().includes(text) : text.test(this.log());
    await waitFor(`${this.argv.join(' ')} prints ${text}`, () => has() || this.#exit, {
      timeoutMs,
      context: () => this.log().slice(-2_000),
    });
    if (!has()) throw new Error(`${this.argv.join(' ')} ended: ${this.log().slice(-2_000)}`);
  }

  #ended(exit: Exit): void {
    this.#exit ??= exit;
    // A grandchild may hold the pipes: read what is in them, then let our process end.
    setTimeout(() => {
      this.#process.stdout?.destroy();
      this.#process.stderr?.destroy();
    }, 200).unref();
    this.#end.resolve(this.#exit);
  }
}

/** Whether a process exists (a zombie does not count). */
export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
