/**
 * `evio trust list|accept|forget`: the pinned keys of a running node. Owns the check of the words
 * given; what may be accepted is the controller's to say.
 */
import type { z } from 'zod';
import { EvioError } from '../../base/errors.ts';
import { NodeId, OverlayId } from '../../base/ids.ts';
import type { Client } from '../local-api/client.ts';
import type { AskOptions } from './commands.ts';
import { clientFor } from './commands.ts';
import { formatPins } from './core/trust.ts';
import { printJson, printLines, screenOf } from './output.ts';

export interface KeyOptions extends AskOptions {
  readonly overlay?: string;
  readonly account: string;
  readonly name: string;
}

export async function trustListCommand(options: AskOptions): Promise<void> {
  const reply = await clientFor(options).trust();
  if (options.json === true) printJson(reply);
  else printLines(formatPins(screenOf(process.stdout), reply));
}

export async function trustAcceptCommand(
  options: KeyOptions & { readonly from: string; readonly to: string },
): Promise<void> {
  const client = clientFor(options);
  const { account, name } = options;
  const from = parse(NodeId, '--from', options.from);
  const to = parse(NodeId, '--to', options.to);
  const change = { overlay: await overlayOf(client, options), account, name, from, to };
  await client.acceptKey(change);
  if (options.json === true) printJson(change);
  else printLines([`node "${name}" of ${account} now has key ${to}; ${from} is refused`]);
}

export async function trustForgetCommand(
  options: KeyOptions & { readonly key: string },
): Promise<void> {
  const client = clientFor(options);
  const { account, name } = options;
  const node = parse(NodeId, '--key', options.key);
  const claim = { overlay: await overlayOf(client, options), account, name, node };
  await client.forgetKey(claim);
  if (options.json === true) printJson(claim);
  else printLines([`node "${name}" of ${account} is forgotten`]);
}

/** The overlay that is named, or the only one that pins keys. */
async function overlayOf(client: Client, { overlay }: KeyOptions): Promise<OverlayId> {
  if (overlay !== undefined) return parse(OverlayId, '--overlay', overlay);
  const { overlays } = await client.trust();
  const pinning = overlays.filter(({ policy }) => policy === 'roster');
  const [only] = pinning;
  if (only !== undefined && pinning.length === 1) return only.overlay;
  throw new EvioError(
    'request.invalid',
    only === undefined
      ? 'no overlay of this node pins keys'
      : 'name one of the overlays: --overlay',
  );
}

/** An option's text in its form; says which option is wrong. */
export function parse<S extends z.ZodType>(schema: S, option: string, text: string): z.infer<S> {
  const parsed = schema.safeParse(text);
  if (parsed.success) return parsed.data;
  const why = parsed.error.issues[0]?.message ?? 'is wrong';
  throw new EvioError('request.invalid', `${option} ${JSON.stringify(text)} ${why}`);
}
