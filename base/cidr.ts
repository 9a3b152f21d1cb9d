/**
 * IP addresses and ranges (CIDR) of both families as numbers: parsing, printing, arithmetic. Owns
 * their one text form (RFC 5952 for IPv6); knows nothing of who uses which.
 */

export type Family = 4 | 6;

/** An address of a family. */
export interface Address {
  readonly family: Family;
  readonly bits: bigint;
}

/** The addresses `first`…`last`: `length` leading bits are fixed. */
export interface Range {
  readonly family: Family;
  readonly first: bigint;
  readonly last: bigint;
  readonly length: number;
}

export const widthOf = (family: Family): number => (family === 4 ? 32 : 128);

/** The address, or null: leading zeros in IPv4 (octal elsewhere) and zones are refused. */
export function parseAddress(text: string): Address | null {
  const bits4 = parse4(text);
  if (bits4 !== null) return { family: 4, bits: bits4 };
  const bits6 = parse6(text);
  return bits6 === null ? null : { family: 6, bits: bits6 };
}

function parse4(text: string): bigint | null {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part))) return null;
  const values = parts.map(Number);
  if (values.some((value) => value > 255)) return null;
  return values.reduce((bits, value) => (bits << 8n) | BigInt(value), 0n);
}

function parse6(text: string): bigint | null {
  if (text.length > 45 || !text.includes(':')) return null;
  const halves = text.split('::');
  if (halves.length > 2) return null;
  const last = halves.length - 1;
  const [head, tail] = halves.map((half, index) => groups6(half, index === last));
  if (head === undefined || head === null || tail === null) return null;
  const given = head.length + (tail?.length ?? 0);
  if (tail === undefined ? given !== 8 : given > 7) return null;
  const zeros = Array.from({ length: 8 - given }, () => 0);
  return [...head, ...zeros, ...(tail ?? [])].reduce((bits, g) => (bits << 16n) | BigInt(g), 0n);
}

/** The 16-bit groups of one side of `::`; an IPv4 address may stand for the last two. */
function groups6(text: string, isLast: boolean): number[] | null {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (const [index, part] of parts.entries()) {
    const mapped = isLast && index === parts.length - 1 ? parse4(part) : null;
    if (mapped !== null) groups.push(Number(mapped >> 16n), Number(mapped & 0xffffn));
    else if (/^[0-9a-f]{1,4}$/i.test(part)) groups.push(Number.parseInt(part, 16));
    else return null;
  }
  return groups;
}

export function formatAddress({ family, bits }: Address): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => (bits >> shift) & 255n).join('.');
  const groups = Array.from({ length: 8 }, (_, i) =>
    Number((bits >> BigInt(112 - 16 * i)) & 0xffffn),
  );
  const { start, count } = longestZeros(groups);
  const hex = (part: readonly number[]): string => part.map((g) => g.toString(16)).join(':');
  if (count < 2) return hex(groups);
  return `${hex(groups.slice(0, start))}::${hex(groups.slice(start + count))}`;
}

/** RFC 5952 section 4.2: the longest run, the first of equals. */
function longestZeros(groups: readonly number[]): { start: number; count: number } {
  let best = { start: 0, count: 0 };
  for (let start = 0; start < groups.length; start += 1) {
    let end = start;
    while (groups[end] === 0) end += 1;
    if (end - start > best.count) best = { start, count: end - start };
  }
  return best;
}

/** The range of an address: host bits are cut off. */
export function rangeOf({ family, bits }: Address, length: number): Range {
  const size = 1n << BigInt(widthOf(family) - length);
  const first = bits - (bits % size);
  return { family, first, last: first + size - 1n, length };
}

/** `10.1.0.0/16` as a range; null where it is none, or host bits are set. */
export function parseRange(text: string): Range | null {
  const found = parseInterface(text);
  if (found === null || found.range.first !== found.address.bits) return null;
  return found.range;
}

/** `10.1.0.7/16`: an address with its range; null where it is none. */
export function parseInterface(text: string): { address: Address; range: Range } | null {
  const match = /^([^/]+)\/(0|[1-9]\d{0,2})$/.exec(text);
  const address = parseAddress(match?.[1] ?? '');
  const length = Number(match?.[2]);
  if (address === null || length > widthOf(address.family)) return null;
  return { address, range: rangeOf(address, length) };
}

export const formatRange = ({ family, first, length }: Range): string =>
  `${formatAddress({ family, bits: first })}/${length}`;

export const overlaps = (a: Range, b: Range): boolean =>
  a.family === b.family && a.first <= b.last && b.first <= a.last;

export const contains = (range: Range, { family, bits }: Address): boolean =>
  range.family === family && range.first <= bits && bits <= range.last;

/** Whether all of `inner` is in `outer`. */
export const covers = (outer: Range, inner: Range): boolean =>
  outer.family === inner.family && outer.first <= inner.first && inner.last <= outer.last;

/** Ranges that no host or pod can have: unspecified, loopback, link-local, multicast, reserved. */
const special = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/3',
  '::/8',
  'fe80::/10',
  'ff00::/8',
]
  .map(parseRange)
  .filter((range) => range !== null);

/** Whether a range is not for hosts, in part or as a whole; a default route is so too. */
export const isSpecial = (range: Range): boolean => special.some((other) => overlaps(other, range));
