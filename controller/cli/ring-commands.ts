/**
 * `evio links|routes|ping|trace`: the ring as a running node sees it. Owns how often is asked and
 * when that is a failure; formatting is in `core`.
 */
import { z } from 'zod';
import { sleep, systemClock } from '../../base/clock.ts';
import { EvioError } from '../../base/errors.ts';
import type { NodeId, OverlayId } from '../../base/ids.ts';
import type { Client } from '../local-api/client.ts';
import type { PingReply } from '../local-api/schema.ts';
import { type AskOptions, clientFor } from './commands.ts';
import { findPeersIn } from './core/peers.ts';
import {
  formatLinks,
  formatPing,
  formatPingSummary,
  formatRoutes,
  formatTrace,
  type TracedHop,
} from './core/ring.ts';
import { printJson, printLines, screenOf } from './output.ts';
import { parse } from './trust-commands.ts';

/** A session over the ring may have to be made first. */
const answerWithinMs = 4_000;
const betweenPingsMs = 1_000;
/** A trace asks again: the first ping may fall into the making of a session. */
const traceTries = 3;

export async function linksCommand(options: AskOptions): Promise<void> {
  const reply = await clientFor(options).links();
  if (options.json === true) printJson(reply);
  else printLines(formatLinks(screenOf(process.stdout), reply));
}

export async function routesCommand(options: AskOptions): Promise<void> {
  const reply = await clientFor(options).routes();
  if (options.json === true) printJson(reply);
  else printLines(formatRoutes(screenOf(process.stdout), reply));
}

export interface PingOptions extends AskOptions {
  readonly count: string;
}

const Count = z
  .string()
  .regex(/^[1-9]\d{0,3}$/, 'must be 1 to 9999')
  .transform(Number);

/** Exit code 1 when nothing was answered. */
export async function pingCommand(wanted: string, options: PingOptions): Promise<void> {
  const count = parse(Count, '--count', options.count);
  const client = clientFor(options);
  const target = await findTarget(client, wanted);
  const replies: PingReply[] = [];
  const life = new AbortController();
  for (let number = 1; number <= count; number += 1) {
    if (number > 1) await sleep(systemClock, betweenPingsMs, life.signal);
    const reply = await client.ping({ ...target.place, timeoutMs: answerWithinMs });
    replies.push(reply);
    if (options.json !== true) printLines([formatPing(number, reply)]);
  }
  const answered = replies.filter(({ rttMs }) => rttMs !== null).length;
  if (answered === 0) process.exitCode = 1;
  if (options.json === true) {
    const { place, name } = target;
    printJson({ ...place, name, sent: count, answered, replies });
  } else printLines([formatPingSummary(replies)]);
}

/** Each node on the way and its own round trip; exit code 1 when the peer does not answer. */
export async function traceCommand(wanted: string, options: AskOptions): Promise<void> {
  const client = clientFor(options);
  const { place, name } = await findTarget(client, wanted);
  let reply = await client.ping({ ...place, timeoutMs: answerWithinMs });
  for (let tries = 1; tries < traceTries && reply.rttMs === null; tries += 1) {
    reply = await client.ping({ ...place, timeoutMs: answerWithinMs });
  }
  if (reply.rttMs === null) process.exitCode = 1;
  const hops: TracedHop[] = [];
  for (const hop of reply.hops) {
    const isLast = hop.nodeId === place.peer;
    const asked = isLast
      ? reply
      : await client.ping({ ...place, peer: hop.nodeId, timeoutMs: answerWithinMs });
    hops.push({ ...hop, rttMs: asked.rttMs });
  }
  if (options.json === true) printJson({ ...place, name, rttMs: reply.rttMs, hops });
  else if (hops.length === 0) printLines([`no answer from ${name || place.peer}`]);
  else printLines(formatTrace(screenOf(process.stdout), hops));
}

interface Target {
  readonly place: { readonly overlay: OverlayId; readonly peer: NodeId };
  readonly name: string;
}

/** The one peer that is meant. */
async function findTarget(client: Client, wanted: string): Promise<Target> {
  const { overlays } = await client.status();
  const found = overlays.flatMap((overlay) =>
    findPeersIn(overlay, wanted).map(({ nodeId, name }) => ({
      place: { overlay: overlay.overlay, peer: nodeId },
      name,
    })),
  );
  const [first, second] = found;
  if (first === undefined) {
    throw new EvioError('peer.unknown', `no peer has the name or id ${JSON.stringify(wanted)}`);
  }
  if (second === undefined) return first;
  const places = found.map(({ place }) => `${place.peer} in ${place.overlay}`).join(', ');
  throw new EvioError('peer.unknown', `${JSON.stringify(wanted)} is more than one peer: ${places}`);
}
