/**
 * The network configuration list that `evio cni install` writes, and how ours are told from others'.
 * Owns its text; touches no file.
 */
import { z } from 'zod';
import type { OverlayId } from '../../base/ids.ts';

/** The `type` of our plugin: the name of the executable. */
export const pluginType = 'evio-cni';

export interface ListOptions {
  readonly cniVersion: string;
  /** Name of the network. */
  readonly name: string;
  readonly overlay: OverlayId | null;
  readonly socket: string;
  /** Plugins behind ours: portmap, bandwidth or others that need no settings. */
  readonly chain: readonly string[];
}

/** What each of the usual plugins is to be told by the runtime (CNI conventions). */
const capabilities: Readonly<Record<string, Readonly<Record<string, boolean>>>> = {
  portmap: { portMappings: true },
  bandwidth: { bandwidth: true },
};

export function formatList({ cniVersion, name, overlay, socket, chain }: ListOptions): string {
  const own = { type: pluginType, ...(overlay === null ? {} : { overlay }), socket };
  const chained = chain.map((type) => {
    const needs = capabilities[type];
    return needs === undefined ? { type } : { type, capabilities: needs };
  });
  return `${JSON.stringify({ cniVersion, name, plugins: [own, ...chained] }, null, 2)}\n`;
}

const List = z.looseObject({
  plugins: z.array(z.looseObject({ type: z.string(), socket: z.string().optional() })).min(1),
});

/** The socket that a list of ours names; null for a list that is not ours. */
export function readList(text: string): { readonly socket: string | null } | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null; // not JSON: somebody else's, whatever it is
  }
  const parsed = List.safeParse(value);
  const [first] = parsed.success ? parsed.data.plugins : [];
  return first?.type === pluginType ? { socket: first.socket ?? null } : null;
}
