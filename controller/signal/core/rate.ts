/**
 * Token buckets: how much of each sender is processed. Owns the arithmetic and the bound on
 * senders; time is an argument.
 */

export interface RateLimit {
  readonly perSecond: number;
  readonly burst: number;
  /** Senders that are remembered; with all in use, the one heard first is forgotten. */
  readonly maxSenders: number;
}

interface Bucket {
  readonly tokens: number;
  readonly atMs: number;
}
export type Buckets = ReadonlyMap<string, Bucket>;

/** Takes one token of the sender; `allowed` is false when it has none left. */
export function takeToken(
  buckets: Buckets,
  sender: string,
  nowMs: number,
  limit: RateLimit,
): { readonly buckets: Buckets; readonly allowed: boolean } {
  const last = buckets.get(sender) ?? { tokens: limit.burst, atMs: nowMs };
  const refilled = last.tokens + (Math.max(0, nowMs - last.atMs) / 1_000) * limit.perSecond;
  const tokens = Math.min(limit.burst, refilled);
  const allowed = tokens >= 1;
  const next = new Map(buckets);
  next.set(sender, { tokens: allowed ? tokens - 1 : tokens, atMs: nowMs });
  const [oldest] = next.keys();
  if (next.size > limit.maxSenders && oldest !== undefined) next.delete(oldest);
  return { buckets: next, allowed };
}
