/**
 * Runs host commands: argv only (no shell), with a deadline, standard error in the error. Owns the
 * deadline; never interprets output.
 */
import { execFile } from 'node:child_process';
import { EvioError } from './errors.ts';

export interface ExecOptions {
  /** Default 10 000 ms. */
  readonly timeoutMs?: number;
  /** Text for standard input. */
  readonly input?: string;
}

/** Runs commands of the host; the function that shells take, so that tests can watch it. */
export type Exec = (argv: readonly string[], options?: ExecOptions) => Promise<string>;

/**
 * Standard output of the command (at most 4 MiB). Throws `host.command-failed` with the command
 * and its message, `host.not-permitted` when the kernel said no.
 */
export const exec: Exec = (argv, options = {}) =>
  new Promise((resolve, reject) => {
    const [file = '', ...args] = argv;
    const timeout = options.timeoutMs ?? 10_000;
    const child = execFile(
      file,
      args,
      { timeout, killSignal: 'SIGKILL', maxBuffer: 4 << 20 },
      (error, stdout, stderr) => {
        if (error === null) {
          resolve(stdout);
          return;
        }
        const why = error.killed ? `no end within ${timeout} ms` : stderr.trim() || error.message;
        const code = /not permitted|must be root/i.test(why)
          ? 'host.not-permitted'
          : 'host.command-failed';
        reject(new EvioError(code, `${argv.join(' ')}: ${why}`, { cause: error }));
      },
    );
    child.stdin?.on('error', () => {}); // a command that ends without reading its input is fine
    child.stdin?.end(options.input ?? '');
  });
