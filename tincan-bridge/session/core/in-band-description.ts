/**
 * Descriptions as control payloads: as much of one as any path carries in one record, and back. Owns
 * which candidates are left out; the first ones are the best.
 */
import { SessionDescription } from '../../protocol/description.ts';
import { encodeControl } from './control.ts';

/** Longest JSON that any path carries, with all headers. */
const maxJsonBytes = 1_200;

/** Null: not even one candidate fits. */
export function encodeDescription(description: SessionDescription): Uint8Array | null {
  const { candidates } = description;
  for (let count = candidates.length; count > 0; count -= 1) {
    const json = JSON.stringify({ ...description, candidates: candidates.slice(0, count) });
    if (json.length <= maxJsonBytes) return encodeControl({ kind: 'description', nonce: 0n, json });
  }
  return null;
}

/** Null when it is none: nonsense of an authenticated peer, or of a later version. */
export function decodeDescription(json: string): SessionDescription | null {
  try {
    return SessionDescription.safeParse(JSON.parse(json)).data ?? null;
  } catch {
    return null;
  }
}
