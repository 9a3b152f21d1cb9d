/**
 * Addresses as the configuration writes them: host names, IPv4, IPv6, `host:port`. Owns their
 * syntax and the arithmetic of IPv4 subnets; never resolves a name.
 */

/** A host and a port; `host` is a name or a literal address without brackets. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** The 32 bits of a dotted IPv4 address, or null; leading zeros are refused (they mean octal). */
export function parseIpv4(text: string): number | null {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (match === null) return null;
  let bits = 0;
  for (const part of match.slice(1)) {
    if (Number(part) > 255 || (part.length > 1 && part.startsWith('0'))) return null;
    bits = bits * 256 + Number(part);
  }
  return bits;
}

export const isIpv4 = (text: string): boolean => parseIpv4(text) !== null;

/** IPv6 in any of the text forms of RFC 4291 section 2.2, without zone and brackets. */
export function isIpv6(text: string): boolean {
  if (!/^[0-9A-Fa-f:.]{2,45}$/.test(text)) return false;
  const halves = text.split('::');
  if (halves.length > 2) return false;
  const groups = halves.flatMap((half) => (half === '' ? [] : half.split(':')));
  let count = 0;
  for (const [index, group] of groups.entries()) {
    if (/^[0-9A-Fa-f]{1,4}$/.test(group)) count += 1;
    else if (index === groups.length - 1 && text.endsWith(group) && isIpv4(group)) count += 2;
    else return false;
  }
  return halves.length === 2 ? count <= 7 : count === 8;
}

/** A host name (RFC 1123, underscore tolerated) or a literal address. */
export function isHost(text: string): boolean {
  if (isIpv4(text) || isIpv6(text)) return true;
  // Only digits and dots would be an address that was mistyped.
  return (
    text.length <= 253 &&
    !/^[\d.]+$/.test(text) &&
    /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?$/.test(
      text,
    )
  );
}

/** `host`, `host:port`, `[IPv6]:port` or `[IPv6]`; null when it is none of them. */
export function parseHostPort(text: string, defaultPort: number): HostPort | null {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::([1-9]\d{0,4}))?$/.exec(text);
  if (match === null) return null;
  const [, bracketed, plain, portText] = match;
  const port = portText === undefined ? defaultPort : Number(portText);
  if (port > 65_535) return null;
  if (bracketed !== undefined) return isIpv6(bracketed) ? { host: bracketed, port } : null;
  return plain !== undefined && isHost(plain) ? { host: plain, port } : null;
}

/** An IPv4 subnet: first and last address as numbers. */
export interface Subnet {
  readonly first: number;
  readonly last: number;
}

export function subnetOf(address: number, prefix: number): Subnet {
  const size = 2 ** (32 - prefix);
  const first = Math.floor(address / size) * size;
  return { first, last: first + size - 1 };
}

export const overlaps = (a: Subnet, b: Subnet): boolean => a.first <= b.last && b.first <= a.last;
