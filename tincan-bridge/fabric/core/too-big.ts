/**
 * The answer to a frame that no record of its path can carry: ICMP "fragmentation needed" (RFC 792,
 * RFC 1191) or ICMPv6 "packet too big" (RFC 4443 section 3.2). Owns the codec. The answer comes from
 * the packet's own destination, as a switch has no address of its own (Linux tunnels do the same).
 */
import { etherTypes } from '../../datapath/wire.ts';

const macsBytes = 12;
const vlanBytes = 4;
const icmp = 1;
const icmpv6 = 58;
/** RFC 792 wants 8 bytes beyond the header; RFC 1812 section 4.3.2.3 as much as fits 576. */
const quotedIpv4Bytes = 548;
/** The whole answer fits the smallest IPv6 MTU, 1280 (RFC 4443 section 3.2). */
const quotedIpv6Bytes = 1_232;

/**
 * The frame to hand to the host that sent `frame`, or null when none may be sent: not IP, a group
 * address, an ICMP error, a later fragment. `mtu` is the largest IP packet that fits.
 */
export function tooBigAnswer(frame: Uint8Array, mtu: number): Uint8Array | null {
  if (frame.length < macsBytes + 2 || ((frame[0] ?? 1) & 1) === 1 || ((frame[6] ?? 1) & 1) === 1) {
    return null;
  }
  const view = viewOf(frame);
  const tagged = view.getUint16(macsBytes) === etherTypes.vlan && frame.length >= macsBytes + 6;
  const at = macsBytes + (tagged ? vlanBytes : 0);
  const header = frame.subarray(0, at + 2);
  const packet = frame.subarray(at + 2);
  const type = view.getUint16(at);
  const fits = tagged ? mtu - vlanBytes : mtu;
  if (type === etherTypes.ipv4) return wrap(header, answerIpv4(packet, fits));
  if (type === etherTypes.ipv6) return wrap(header, answerIpv6(packet, fits));
  return null;
}

function wrap(header: Uint8Array, packet: Uint8Array | null): Uint8Array | null {
  if (packet === null) return null;
  const frame = new Uint8Array(header.length + packet.length);
  frame.set(header);
  frame.set(header.subarray(6, 12), 0);
  frame.set(header.subarray(0, 6), 6);
  frame.set(packet, header.length);
  return frame;
}

function answerIpv4(packet: Uint8Array, mtu: number): Uint8Array | null {
  if (packet.length < 20 || (packet[0] ?? 0) >> 4 !== 4) return null;
  const headerBytes = ((packet[0] ?? 0) & 15) * 4;
  if (headerBytes < 20 || packet.length < headerBytes + 8) return null;
  const view = viewOf(packet);
  const laterFragment = (view.getUint16(6) & 0x1fff) !== 0;
  const group = (packet[16] ?? 255) >= 224 || (packet[12] ?? 0) >= 224;
  const icmpType = packet[headerBytes] ?? 0;
  // RFC 1122 section 3.2.2: never an error about an error (types other than the query ones).
  const error = packet[9] === icmp && ![0, 8, 13, 14].includes(icmpType);
  if (laterFragment || group || error) return null;

  const quoted = packet.subarray(0, Math.min(packet.length, quotedIpv4Bytes));
  const answer = new Uint8Array(20 + 8 + quoted.length);
  const out = viewOf(answer);
  out.setUint8(0, 0x45);
  out.setUint8(1, 0xc0); // internetwork control, as routers do
  out.setUint16(2, answer.length);
  out.setUint8(8, 64);
  out.setUint8(9, icmp);
  answer.set(packet.subarray(16, 20), 12);
  answer.set(packet.subarray(12, 16), 16);
  out.setUint16(10, checksum(answer.subarray(0, 20), 0));
  out.setUint8(20, 3); // destination unreachable
  out.setUint8(21, 4); // fragmentation needed
  out.setUint16(26, mtu);
  answer.set(quoted, 28);
  out.setUint16(22, checksum(answer.subarray(20), 0));
  return answer;
}

function answerIpv6(packet: Uint8Array, mtu: number): Uint8Array | null {
  if (packet.length < 48 || (packet[0] ?? 0) >> 4 !== 6) return null;
  const group = packet[24] === 0xff || packet[8] === 0xff;
  // ICMPv6 types below 128 are errors (RFC 4443 section 2.1).
  const error = packet[6] === icmpv6 && (packet[40] ?? 0) < 128;
  if (group || error) return null;

  const quoted = packet.subarray(0, Math.min(packet.length, quotedIpv6Bytes));
  const body = 8 + quoted.length;
  const answer = new Uint8Array(40 + body);
  const out = viewOf(answer);
  out.setUint8(0, 0x60);
  out.setUint16(4, body);
  out.setUint8(6, icmpv6);
  out.setUint8(7, 64);
  answer.set(packet.subarray(24, 40), 8);
  answer.set(packet.subarray(8, 24), 24);
  out.setUint8(40, 2); // packet too big
  out.setUint32(44, mtu);
  answer.set(quoted, 48);
  // Pseudo header (RFC 8200 section 8.1): addresses, length, next header.
  const pseudo = sum(answer.subarray(8, 40), body + icmpv6);
  out.setUint16(42, checksum(answer.subarray(40), pseudo));
  return answer;
}

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function sum(bytes: Uint8Array, start: number): number {
  let total = start;
  for (let i = 0; i < bytes.length; i += 2) {
    total += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  }
  return total;
}

/** RFC 1071. */
function checksum(bytes: Uint8Array, start: number): number {
  let total = sum(bytes, start);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return ~total & 0xffff;
}
