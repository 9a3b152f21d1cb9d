/**
 * Commands of ip(8) in one process. Owns how they are handed over and which of them is named when one
 * fails; decides none.
 */
import { EvioError, messageOf } from './errors.ts';
import type { Exec } from './exec.ts';

export interface IpBatchOptions {
  /** Words before `ip`: the program that enters a namespace. */
  readonly before?: readonly string[];
  readonly timeoutMs?: number;
}

/** Runs the commands in order; the first failure ends the batch and is named. */
export async function runIp(
  exec: Exec,
  commands: ReadonlyArray<readonly string[]>,
  { before = [], ...options }: IpBatchOptions = {},
): Promise<void> {
  if (commands.length === 0) return;
  const lines = commands.map((command) => command.join(' '));
  try {
    await exec([...before, 'ip', '-batch', '-'], { input: `${lines.join('\n')}\n`, ...options });
  } catch (error) {
    const code = error instanceof EvioError ? error.code : 'host.command-failed';
    // ip says "Command failed -:N" with the number of the line.
    const line = Number(/Command failed -:(\d+)/.exec(messageOf(error))?.[1] ?? '0');
    const which = lines[line - 1] ?? 'batch';
    throw new EvioError(code, `ip ${which}: ${messageOf(error)}`, { cause: error });
  }
}
