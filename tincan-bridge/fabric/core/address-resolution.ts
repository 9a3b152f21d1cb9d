/**
 * Frames that ask which station has an IP address, or say it: ARP (RFC 826) and IPv6 neighbour discovery
 * (RFC 4861 sections 4.3 and 4.4). Owns the codec; what it cannot read is null, tagged frames too.
 */

import { parseAddress, widthOf } from '../../../base/cidr.ts';
import { type Mac, macFromBytes } from '../../../base/ids.ts';
import { etherTypes } from '../../datapath/wire.ts';

/** Address in hexadecimal digits: 8 of IPv4, 32 of IPv6. */
export type IpText = string;

/** Who has `ip`? */
export interface Question {
  readonly ip: IpText;
  readonly asker: IpText;
}

export interface Resolution {
  /** Sent to all; null: no such question, or one that all must hear (an address in probe). */
  readonly asks: Question | null;
  /** The station that sent the frame says that it has the address. */
  readonly says: { readonly ip: IpText; readonly mac: Mac } | null;
}

const headerBytes = 14;
const arpBytes = 28;
/** Ethernet, IPv4, and their lengths (RFC 826). */
const arpKind = '00010800060400';
const icmpv6 = 58;
const solicitation = 135;
const advertisement = 136;
const ipv6Bytes = 40;
/** Type, code, checksum, flags, target. */
const discoveryBytes = 24;
/** A link-layer address option is 8 bytes long: type, length 1, address (RFC 4861 section 4.6.1). */
const optionBytes = 8;

/** `10.77.1.3` as `0a4d0103`; null where it is no address. */
export function ipTextOf(text: string): IpText | null {
  const address = parseAddress(text);
  if (address === null) return null;
  return address.bits.toString(16).padStart(widthOf(address.family) / 4, '0');
}

export function decodeResolution(frame: Uint8Array): Resolution | null {
  if (frame.length < headerBytes + arpBytes) return null;
  const type = at16(frame, 12);
  if (type === etherTypes.arp) return decodeArp(frame);
  return type === etherTypes.ipv6 ? decodeDiscovery(frame) : null;
}

function decodeArp(frame: Uint8Array): Resolution | null {
  const arp = frame.subarray(headerBytes, headerBytes + arpBytes);
  const operation = arp[7] ?? 0;
  if (!hex(arp.subarray(0, 8)).startsWith(arpKind) || operation < 1 || operation > 2) return null;
  const mac = macFromBytes(frame.subarray(6, 12));
  const [sender, target] = [hex(arp.subarray(14, 18)), hex(arp.subarray(24, 28))];
  // Whoever answers for others is not learnt from; nor is who only probes (RFC 5227).
  const own = macFromBytes(arp.subarray(8, 14)) === mac && !isZero(sender);
  const forAll = !own || operation !== 1 || sender === target || !isToGroup(frame);
  return {
    asks: forAll ? null : { ip: target, asker: sender },
    says: own ? { ip: sender, mac } : null,
  };
}

function decodeDiscovery(frame: Uint8Array): Resolution | null {
  const packet = frame.subarray(headerBytes);
  if (packet.length < ipv6Bytes + discoveryBytes || packet[6] !== icmpv6 || packet[7] !== 255) {
    return null;
  }
  const body = packet.subarray(ipv6Bytes);
  const [kind, code] = body;
  if (code !== 0 || (kind !== solicitation && kind !== advertisement)) return null;
  const mac = macFromBytes(frame.subarray(6, 12));
  const source = hex(packet.subarray(8, 24));
  const target = hex(body.subarray(8, 24));
  const named = linkLayerAddress(body.subarray(discoveryBytes), kind === solicitation ? 1 : 2);
  if (kind === advertisement) {
    return { asks: null, says: named === mac ? { ip: target, mac } : null };
  }
  const own = named === mac && !isZero(source);
  return {
    asks: own && isToGroup(frame) ? { ip: target, asker: source } : null,
    says: own ? { ip: source, mac } : null,
  };
}

/** Of the first option, where the kernels that are known put it. */
function linkLayerAddress(options: Uint8Array, type: number): Mac | null {
  const found = options.length >= optionBytes && options[0] === type && options[1] === 1;
  return found ? macFromBytes(options.subarray(2, optionBytes)) : null;
}

const isToGroup = (frame: Uint8Array): boolean => ((frame[0] ?? 0) & 1) === 1;
const isZero = (ip: IpText): boolean => /^0+$/.test(ip);
const at16 = (bytes: Uint8Array, at: number): number =>
  ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
