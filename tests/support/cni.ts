/**
 * A container runtime as far as CNI is concerned: namespaces as pods, and calls of the executable as
 * the specification has them. Owns the namespaces it made; knows nothing of controllers.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { repositoryRoot } from '../reference/pages.ts';
import type { Lab } from './netns.ts';

export const shim = join(repositoryRoot, 'cni-plugin', 'shim', 'build', 'evio-cni');

export const needsShim: string | null = existsSync(shim)
  ? null
  : 'cni-plugin/shim is not built (npm run build)';

/** What a call printed, and its exit status. */
export interface Outcome {
  readonly status: number;
  readonly text: string;
  readonly ms: number;
}

export interface CniCall {
  readonly command: string;
  readonly containerId?: string;
  readonly netns?: string;
  readonly ifname?: string;
  readonly args?: string;
  readonly path?: string;
  /** The configuration as an object, or the bytes to write. */
  readonly config: object | string;
  /** Variables that a runtime has in its own environment. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Another executable than ours. */
  readonly plugin?: string;
  readonly signal?: AbortSignal;
}

/** Calls the executable as a runtime does. */
export function callCni(call: CniCall): Promise<Outcome> {
  const env = {
    ...call.environment,
    CNI_COMMAND: call.command,
    CNI_CONTAINERID: call.containerId ?? '',
    CNI_NETNS: call.netns ?? '',
    CNI_IFNAME: call.ifname ?? 'eth0',
    CNI_ARGS: call.args ?? '',
    CNI_PATH: call.path ?? '/opt/cni/bin',
  };
  const startedMs = performance.now();
  return new Promise((resolve) => {
    const options = {
      env,
      maxBuffer: 8 << 20,
      killSignal: 'SIGKILL' as const,
      ...(call.signal === undefined ? {} : { signal: call.signal }),
    };
    const child = execFile(call.plugin ?? shim, [], options, (error, text) => {
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ status, text, ms: performance.now() - startedMs });
    });
    child.stdin?.on('error', () => {});
    child.stdin?.end(typeof call.config === 'string' ? call.config : JSON.stringify(call.config));
  });
}

/** The parts of a result that tests look at. */
export const Result = z.looseObject({
  cniVersion: z.string(),
  interfaces: z.array(
    z.looseObject({
      name: z.string(),
      mac: z.string(),
      mtu: z.int().optional(),
      sandbox: z.string().optional(),
    }),
  ),
  ips: z.array(
    z.looseObject({
      address: z.string(),
      gateway: z.string(),
      interface: z.int(),
      version: z.string().optional(),
    }),
  ),
  routes: z.array(z.looseObject({ dst: z.string(), gw: z.string() })),
});
export type Result = z.infer<typeof Result>;

export const ErrorResult = z.looseObject({
  cniVersion: z.string(),
  code: z.int(),
  msg: z.string(),
  details: z.string().optional(),
});

export function resultOf({ status, text }: Outcome): Result {
  if (status !== 0) throw new Error(`the call failed: ${text}`);
  return Result.parse(JSON.parse(text));
}

export function errorOf({ status, text }: Outcome): z.infer<typeof ErrorResult> {
  if (status === 0) throw new Error(`the call succeeded: ${text}`);
  return ErrorResult.parse(JSON.parse(text));
}

/** A pod: a namespace of the lab by which nothing but a veth of the plugin gets in. */
export async function makePod(lab: Lab, name: string): Promise<{ ns: string; netns: string }> {
  await lab.namespace(name);
  return { ns: name, netns: `/run/netns/${lab.fullName(name)}` };
}

/** Address of a result, of a family, without its length. */
export const addressOf = (result: Result, family: 4 | 6): string =>
  result.ips
    .map(({ address }) => address.replace(/\/.*/, ''))
    .find((address) => address.includes(':') === (family === 6)) ?? '';
