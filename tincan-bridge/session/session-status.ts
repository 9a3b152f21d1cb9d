/**
 * What the operator is told of one session. Owns the words of its path and the choice of its figures;
 * changes nothing.
 */
import type { Clock } from '../../base/clock.ts';
import type { NodeId } from '../../base/ids.ts';
import type { SessionStatus } from '../protocol/schema.ts';
import { ethernetHeaderBytes, pathKind } from './core/path.ts';
import { explained, pathNote, ringNote } from './core/path-note.ts';
import { phaseOf, type SessionState } from './core/session-state.ts';
import type { SessionParts } from './session-parts.ts';

/** `historyLimit`: newest transitions that are told. */
export function sessionStatus(
  peer: NodeId,
  state: SessionState,
  parts: SessionParts,
  clock: Clock,
  historyLimit: number,
): SessionStatus {
  const { link, lastError } = state;
  const { traffic, path, attempts, associations, probe, history } = parts;
  const nowMs = clock.now();
  const up = link.kind === 'up' ? link : null;
  const counters = associations.counters(up?.number ?? null);
  const cause = up === null ? attempts.cause : null;
  return {
    peer,
    state: phaseOf(state),
    path: path.path,
    rttMs: traffic.rttMs,
    sentBytes: counters?.sentBytes ?? 0,
    receivedBytes: counters?.receivedBytes ?? 0,
    sentFrames: counters?.sentFrames ?? 0,
    receivedFrames: counters?.receivedFrames ?? 0,
    sentBitsPerSecond: traffic.sentBitsPerSecond,
    receivedBitsPerSecond: traffic.receivedBitsPerSecond,
    upSinceMs: up === null ? null : clock.wallNow() - (nowMs - up.sinceMs),
    lastError: explained(lastError, cause)?.slice(0, 300) ?? null,
    cipher: path.cipher,
    pathNote: noteOf(state, parts)?.slice(0, 300) ?? null,
    mtu: up === null ? null : probe.fits - ethernetHeaderBytes,
    history: history.newest(historyLimit, nowMs),
  };
}

function noteOf(
  { link, wanted }: SessionState,
  { associations, attempts }: SessionParts,
): string | null {
  if (link.kind === 'down') return attempts.cause;
  if (associations.isOnRing(link.number)) return ringNote(wanted, attempts.cause);
  const attempt = associations.attemptOf(link.number);
  if (attempt?.selected == null) return null;
  return pathNote(pathKind(attempt.selected.facts), attempt.ice.diagnosis);
}
