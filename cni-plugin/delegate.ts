/**
 * Another plugin that gives the addresses (host-local and its like): called as a runtime would call
 * it, by the specification's section "Delegated plugins". Owns the call and its deadline.
 */
import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { CniError } from './cni-error.ts';
import { PluginResult, parsePath } from './schema.ts';

/** An address plugin reads a file; more than this is a plugin that hangs. */
const timeoutMs = 20_000;

export interface DelegateCall {
  readonly command: string;
  readonly containerId: string;
  readonly netns: string;
  readonly ifname: string;
  readonly args: string;
  readonly path: string;
}

const ErrorResult = z.looseObject({
  code: z.number(),
  msg: z.string().optional(),
  details: z.string().optional(),
});

/** What it answered; an empty result for verbs that have none. Throws CniError. */
export async function delegate(
  type: string,
  call: DelegateCall,
  config: string,
): Promise<PluginResult> {
  const file = find(type, call.path);
  const env = {
    CNI_COMMAND: call.command,
    CNI_CONTAINERID: call.containerId,
    CNI_NETNS: call.netns,
    CNI_IFNAME: call.ifname,
    CNI_ARGS: call.args,
    CNI_PATH: call.path,
  };
  const { output, error } = await run(file, env, config);
  if (error !== null) throw failure(type, output, error);
  if (output.trim() === '') return {};
  try {
    return PluginResult.parse(JSON.parse(output));
  } catch (cause) {
    throw new CniError('delegated-ipam', `${type}: its result is malformed`, String(cause), {
      cause,
    });
  }
}

/** Where the plugin is. Throws CniError 7 when it is nowhere in CNI_PATH. */
export function find(type: string, path: string): string {
  const folders = parsePath(path);
  for (const folder of folders) {
    const file = join(folder, type);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // The next folder may have it; if none does, that is said below.
    }
  }
  throw new CniError(
    'invalid-config',
    `ipam: plugin ${type} is not in CNI_PATH ${JSON.stringify(path)}`,
  );
}

function run(
  file: string,
  env: Readonly<Record<string, string>>,
  input: string,
): Promise<{ readonly output: string; readonly error: Error | null }> {
  return new Promise((resolve) => {
    const options = { env, timeout: timeoutMs, killSignal: 'SIGKILL' as const, maxBuffer: 1 << 20 };
    const child = execFile(file, [], options, (error, output) => resolve({ output, error }));
    child.stdin?.on('error', () => {}); // one that ends without reading says why on its output
    child.stdin?.end(input);
  });
}

function failure(type: string, output: string, error: Error): CniError {
  let told: unknown;
  try {
    told = JSON.parse(output);
  } catch {
    told = null; // it died before it could say why: the message of the process is all there is
  }
  const parsed = ErrorResult.safeParse(told);
  if (!parsed.success) return new CniError('delegated-ipam', `${type} failed`, error.message);
  const { code, msg = '', details = '' } = parsed.data;
  const reason = code === 11 ? 'try-again-later' : 'delegated-ipam';
  return new CniError(reason, `${type}: ${msg} (code ${code})`, details, { cause: error });
}
