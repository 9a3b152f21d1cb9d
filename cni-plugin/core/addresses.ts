/**
 * Which address a pod is given: the next free one of a range, so that one that was just freed rests.
 * Owns the reserved addresses; remembers nothing.
 */
import { type Address, formatAddress, type Range } from '../../base/cidr.ts';

/** The addresses that pods can have; IPv4 keeps the last one for broadcasts. */
function usable({ family, first, last }: Range): { readonly from: bigint; readonly to: bigint } {
  return { from: first + 2n, to: family === 4 ? last - 1n : last };
}

/** How many pods fit. */
export function capacityOf(range: Range): bigint {
  const { from, to } = usable(range);
  return to < from ? 0n : to - from + 1n;
}

/** The addresses that are taken, in their text form. */
export interface Used {
  readonly size: number;
  has(address: string): boolean;
}

/** The first free address after `after`, round the range once; null when none is free. */
export function nextFree(range: Range, used: Used, after: bigint | null): Address | null {
  const { from, to } = usable(range);
  const count = capacityOf(range);
  const start = after === null || after < from || after >= to ? from : after + 1n;
  // Among one more candidates than there are used addresses one is free, if any is.
  const tries = count < BigInt(used.size + 1) ? count : BigInt(used.size + 1);
  for (let step = 0n; step < tries; step += 1n) {
    const address = { family: range.family, bits: from + ((start - from + step) % count) };
    if (!used.has(formatAddress(address))) return address;
  }
  return null;
}
