/**
 * Messages that cannot go now: the latest of each kind per peer, for a while. Owns the bounds.
 * Older ones are dropped and not queued: a later description repeats all that an earlier one said.
 */
import type { NodeId } from '../../../base/ids.ts';
import type { PeerMessage } from '../../peer-messages.ts';

/** How long a message waits for its peer or for the server; what asked for it will ask again. */
export const maxWaitMs = 30_000;

/** Peers with waiting messages; with all in use, the one waiting longest is dropped. */
export const maxWaitingPeers = 512;

interface Waiting {
  readonly message: PeerMessage;
  readonly atMs: number;
}
export type Outbox = ReadonlyMap<NodeId, readonly Waiting[]>;
export const emptyOutbox: Outbox = new Map();

/** Keeps a message; `dropped` counts those that gave way for it or had become stale. */
export function putMessage(
  outbox: Outbox,
  to: NodeId,
  message: PeerMessage,
  nowMs: number,
): { readonly outbox: Outbox; readonly dropped: number } {
  const next = new Map<NodeId, readonly Waiting[]>();
  let dropped = 0;
  for (const [peer, waiting] of outbox) {
    const kept = waiting.filter(
      (w) => nowMs - w.atMs <= maxWaitMs && !(peer === to && replaces(message, w.message)),
    );
    dropped += waiting.length - kept.length;
    if (kept.length > 0 && peer !== to) next.set(peer, kept);
    if (peer === to) next.set(peer, kept);
  }
  next.set(to, [...(next.get(to) ?? []), { message, atMs: nowMs }]);
  const [oldest] = next.keys();
  if (next.size > maxWaitingPeers && oldest !== undefined) {
    dropped += next.get(oldest)?.length ?? 0;
    next.delete(oldest);
  }
  return { outbox: next, dropped };
}

/** Takes what still waits for a peer, in the order it was put. */
export function takeMessages(
  outbox: Outbox,
  to: NodeId,
  nowMs: number,
): { readonly outbox: Outbox; readonly messages: readonly PeerMessage[] } {
  const waiting = outbox.get(to);
  if (waiting === undefined) return { outbox, messages: [] };
  const next = new Map(outbox);
  next.delete(to);
  const fresh = waiting.filter((w) => nowMs - w.atMs <= maxWaitMs);
  return { outbox: next, messages: fresh.map((w) => w.message) };
}

/** An end also ends what was described before it. */
const replaces = (later: PeerMessage, earlier: PeerMessage): boolean =>
  later.kind === earlier.kind || later.kind === 'ended';
