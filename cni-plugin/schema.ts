/**
 * What runtimes send: the network configuration, results of plugins before us, CNI_ARGS. Owns the
 * schemas and the translation of what breaks them to the codes of the specification.
 */
import { z } from 'zod';
import { OverlayId } from '../base/ids.ts';
import { CniError } from './cni-error.ts';

/** Versions of the specification, oldest first. */
export const versions = ['0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;

export const commands = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS'] as const;
export type Command = (typeof commands)[number];

/** A result as any plugin of a chain may give it; what we have no use for is passed on. */
export const PluginResult = z.looseObject({
  interfaces: z
    .array(
      z.looseObject({
        name: z.string(),
        mac: z.string().optional(),
        sandbox: z.string().optional(),
      }),
    )
    .max(256)
    .optional(),
  ips: z
    .array(
      z.looseObject({
        address: z.string(),
        gateway: z.string().optional(),
        interface: z.int().optional(),
      }),
    )
    .max(256)
    .optional(),
  routes: z
    .array(z.looseObject({ dst: z.string() }))
    .max(256)
    .optional(),
  dns: z.looseObject({}).optional(),
});
export type PluginResult = z.infer<typeof PluginResult>;

const Attachment = z.looseObject({ containerID: z.string(), ifname: z.string() });

/** Names of networks and of delegated plugins: they become parts of paths. */
const name = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;

export const NetConf = z.strictObject({
  cniVersion: z.enum(versions),
  name: z.string().regex(name, 'must be letters, digits, ".", "_" or "-"'),
  type: z.string().max(128),
  /** Needed where pods can be attached to several overlays of this node. */
  overlay: OverlayId.optional(),
  /** Read by the executable. */
  socket: z.string().optional(),
  /** At most that of the overlay, which is the default. */
  mtu: z.int().min(576).max(9_000).optional(),
  /** Of another plugin, by its type; absent or empty: our own. */
  ipam: z.looseObject({ type: z.string().regex(name).optional() }).optional(),
  dns: z.looseObject({}).optional(),
  prevResult: PluginResult.nullish(),
  // Keys of the specification that others act upon.
  cniVersions: z.array(z.string()).max(16).optional(),
  capabilities: z.record(z.string(), z.boolean()).nullish(),
  /** Port mappings, bandwidth, annotations: portmap and bandwidth, chained, read either spelling. */
  runtimeConfig: z.looseObject({}).nullish(),
  args: z.looseObject({}).nullish(),
  'cni.dev/valid-attachments': z.array(Attachment).max(100_000).nullish(),
  'cni.dev/attachments': z.array(Attachment).max(100_000).nullish(),
});
export type NetConf = z.infer<typeof NetConf>;

/** The configuration from standard input. Throws CniError 6, 1, 2 or 7. */
export function parseNetConf(text: string): NetConf {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const message = 'the network configuration is no JSON';
    throw new CniError('decode-failure', message, String(error), { cause: error });
  }
  const version = z.looseObject({ cniVersion: z.string().optional() }).safeParse(value);
  if (version.success && !versions.some((known) => known === version.data.cniVersion)) {
    const given = version.data.cniVersion ?? '';
    const message = `cniVersion ${JSON.stringify(given)} is not supported`;
    throw new CniError('incompatible-version', message, `supported: ${versions.join(', ')}`);
  }
  const parsed = NetConf.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  if (issue?.code === 'unrecognized_keys') {
    const key = issue.keys[0] ?? '';
    const found = JSON.stringify(at(value, [...issue.path, key]))?.slice(0, 200);
    const message = `unsupported field ${JSON.stringify(key)} with value ${found}`;
    throw new CniError('unsupported-field', message);
  }
  const where = issue?.path.join('.') ?? '';
  throw new CniError('invalid-config', `${where}: ${issue?.message ?? 'is invalid'}`);
}

function at(value: unknown, path: readonly PropertyKey[]): unknown {
  let here = value;
  for (const part of path) {
    if (typeof here !== 'object' || here === null) return undefined;
    here = Reflect.get(here, part);
  }
  return here;
}

/** What Kubernetes tells of the pod by CNI_ARGS; empty where it does not. */
export interface PodName {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

const knownArgs = [
  'IgnoreUnknown',
  'K8S_POD_NAMESPACE',
  'K8S_POD_NAME',
  'K8S_POD_INFRA_CONTAINER_ID',
  'K8S_POD_UID',
];

/** `K=V;K=V`. An unknown key is an error unless IgnoreUnknown says otherwise (CNI conventions). */
export function parseArgs(text: string): PodName | null {
  const pairs = new Map<string, string>();
  for (const part of text.split(';').filter((each) => each !== '')) {
    const [, key = '', value = ''] = /^([^=]+)=(.*)$/s.exec(part) ?? [];
    if (key === '')
      throw new CniError(
        'invalid-environment',
        `CNI_ARGS: no "=" in ${JSON.stringify(part.slice(0, 80))}`,
      );
    pairs.set(key, value.slice(0, 253));
  }
  const ignored = /^(1|t|true)$/i.test(pairs.get('IgnoreUnknown') ?? '');
  const unknown = [...pairs.keys()].find((key) => !knownArgs.includes(key));
  if (unknown !== undefined && !ignored) {
    throw new CniError(
      'invalid-environment',
      `CNI_ARGS: unknown key ${JSON.stringify(unknown.slice(0, 80))}`,
    );
  }
  const podName = pairs.get('K8S_POD_NAME');
  if (podName === undefined) return null;
  return {
    namespace: pairs.get('K8S_POD_NAMESPACE') ?? '',
    name: podName,
    uid: pairs.get('K8S_POD_UID') ?? '',
  };
}

/** Of the specification, section "Parameters". */
const containerIdForm = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,255}$/;

export function checkContainerId(text: string): void {
  if (containerIdForm.test(text)) return;
  throw new CniError(
    'invalid-environment',
    `CNI_CONTAINERID is ${JSON.stringify(text.slice(0, 80))}, not letters, digits, ".", "_" or "-"`,
  );
}

/** What the kernel takes as a name (dev_valid_name), and we can hand to ip(8). */
export function checkIfname(text: string): void {
  const isName = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}$/.test(text);
  if (isName) return;
  throw new CniError(
    'invalid-environment',
    `CNI_IFNAME is ${JSON.stringify(text.slice(0, 80))}, not a name of 1 to 15 characters`,
  );
}

/** The directories of CNI_PATH. */
export function parsePath(text: string): readonly string[] {
  const folders = text.split(':').filter((each) => each !== '');
  const relative = folders.find((folder) => !folder.startsWith('/'));
  if (relative === undefined) return folders;
  throw new CniError(
    'invalid-environment',
    `CNI_PATH has a relative directory ${JSON.stringify(relative.slice(0, 80))}`,
  );
}
