/**
 * Whether a correctly signed message or announcement is for us, of now, and new. Owns the replay
 * memory and the time limits; the signature was checked before, the time is an argument.
 */
import type { NodeId, OverlayId } from '../../../base/ids.ts';
import {
  type AnnouncementBody,
  peerProtocolVersion,
  type SignedBody,
} from '../../peer-messages.ts';

/** Life of a message after it was signed: signalling that is older describes a past attempt. */
export const messageLifetimeMs = 60_000;

/**
 * Difference of two clocks that is accepted. Edge machines without a battery clock are minutes off
 * until NTP has answered; the sequence, not the expiry, is what stops replays within this time.
 */
export const maxClockSkewMs = 300_000;

/** Senders whose sequence is remembered; with all in use a new one is refused. */
const maxReplayEntries = 8_192;

/** The highest sequence of a sender, and when no message up to it could be accepted any more. */
interface ReplayEntry {
  readonly sequence: number;
  readonly forgetAtMs: number;
}

/** Key: overlay and sender. */
export type ReplayMemory = ReadonlyMap<string, ReplayEntry>;
export const emptyReplayMemory: ReplayMemory = new Map();

export type Acceptance =
  | { readonly kind: 'accepted'; readonly memory: ReplayMemory }
  | { readonly kind: 'refused'; readonly reason: RefusedReason; readonly detail: string };

export type RefusedReason =
  | 'wrong-overlay'
  | 'wrong-sender'
  | 'wrong-recipient'
  | 'expired'
  | 'from-the-future'
  | 'replayed'
  | 'too-many-senders';

export interface Expected {
  readonly overlay: OverlayId;
  /** Whose channel it came by: the sender cannot be another one. */
  readonly from: NodeId;
  readonly self: NodeId;
}

/** Judges a message whose signature is right. `nowMs` is the wall clock. */
export function acceptMessage(
  memory: ReplayMemory,
  body: SignedBody,
  expected: Expected,
  nowMs: number,
): Acceptance {
  if (body.overlay !== expected.overlay) {
    return no('wrong-overlay', `it is for overlay ${body.overlay}, not ${expected.overlay}`);
  }
  if (body.from !== expected.from) {
    return no('wrong-sender', `it says it is from ${body.from}, not ${expected.from}`);
  }
  if (body.to !== expected.self) return no('wrong-recipient', `it is addressed to ${body.to}`);
  const late = judgeTime(body.expiresAtMs, nowMs);
  if (late !== null) return late;
  return remember(memory, `${body.overlay} ${body.from}`, body, nowMs);
}

function judgeTime(expiresAtMs: number, nowMs: number): Acceptance | null {
  const overdueMs = nowMs - expiresAtMs;
  if (overdueMs > maxClockSkewMs) {
    return no(
      'expired',
      `it expired ${seconds(overdueMs)} s ago by our clock: it was delayed, or the clocks differ by more than ${seconds(maxClockSkewMs)} s`,
    );
  }
  const aheadMs = -overdueMs - messageLifetimeMs;
  if (aheadMs > maxClockSkewMs) {
    return no(
      'from-the-future',
      `the sender's clock is ${seconds(aheadMs)} s ahead of ours, more than ${seconds(maxClockSkewMs)} s`,
    );
  }
  return null;
}

/**
 * Entries are forgotten once every message up to their sequence would be refused as expired, so
 * that forgetting never opens a replay and a sender whose clock was set back is heard again.
 */
function remember(memory: ReplayMemory, key: string, body: SignedBody, nowMs: number): Acceptance {
  const last = memory.get(key);
  if (last !== undefined && last.forgetAtMs > nowMs && body.sequence <= last.sequence) {
    return no('replayed', `its sequence ${body.sequence} is not above ${last.sequence}`);
  }
  const next = new Map(memory);
  if (last === undefined && next.size >= maxReplayEntries) {
    for (const [other, entry] of next) if (entry.forgetAtMs <= nowMs) next.delete(other);
    if (next.size >= maxReplayEntries) {
      return no('too-many-senders', `${maxReplayEntries} senders are remembered already`);
    }
  }
  const forgetAtMs = Math.max(body.expiresAtMs + maxClockSkewMs + 1, last?.forgetAtMs ?? 0);
  next.set(key, { sequence: body.sequence, forgetAtMs });
  return { kind: 'accepted', memory: next };
}

/** Judges the fields of an announcement; null when it is fine. Key and signature come after. */
export function judgeAnnouncement(
  body: AnnouncementBody,
  expected: { readonly overlay: OverlayId; readonly jid: string },
  nowMs: number,
): string | null {
  if (body.version !== peerProtocolVersion) {
    return `it speaks version ${body.version} of the peer messages, this node speaks ${peerProtocolVersion}`;
  }
  if (body.overlay !== expected.overlay) {
    return `it announces overlay ${body.overlay}, not ${expected.overlay}`;
  }
  if (body.jid !== expected.jid) return `it was made for ${body.jid}`;
  const aheadMs = body.issuedAtMs - nowMs;
  if (aheadMs > maxClockSkewMs) {
    return `its clock is ${seconds(aheadMs)} s ahead of ours, more than ${seconds(maxClockSkewMs)} s`;
  }
  return null;
}

const seconds = (ms: number): number => Math.round(ms / 1_000);
const no = (reason: RefusedReason, detail: string): Acceptance => ({
  kind: 'refused',
  reason,
  detail,
});
