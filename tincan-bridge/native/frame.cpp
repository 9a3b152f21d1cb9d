/** Ethernet, IP and transport headers, and the Internet checksum (RFC 1071). */
#include "frame.h"

namespace evio {

bool networkHeader(const uint8_t* frame, size_t length, size_t* offset, uint16_t* etherType) {
  size_t at = 12;
  for (int tags = 0; tags <= 2; tags++) {
    if (length < at + 2) return false;
    const uint16_t type = get16(frame + at);
    if (type != 0x8100 && type != 0x88a8) {
      *offset = at + 2;
      *etherType = type;
      return true;
    }
    at += 4;
  }
  return false;
}

static bool parseIpv4(const uint8_t* frame, size_t length, Layers* layers) {
  const uint8_t* ip = frame + layers->network;
  const size_t room = length - layers->network;
  if (room < 20 || ip[0] >> 4 != 4) return false;
  const size_t header = (ip[0] & 15u) * 4;
  const size_t total = get16(ip + 2);
  if (header < 20 || total < header || total > room) return false;
  if ((get16(ip + 6) & 0x3fff) != 0) return false;  // a fragment has no transport checksum
  layers->protocol = ip[9];
  layers->transport = layers->network + header;
  layers->end = layers->network + total;
  return true;
}

static bool parseIpv6(const uint8_t* frame, size_t length, Layers* layers) {
  const uint8_t* ip = frame + layers->network;
  const size_t room = length - layers->network;
  if (room < 40 || ip[0] >> 4 != 6) return false;
  const size_t total = 40 + get16(ip + 4);
  if (total > room) return false;
  layers->protocol = ip[6];
  layers->ipv6 = true;
  layers->transport = layers->network + 40;
  layers->end = layers->network + total;
  return true;
}

bool parseLayers(const uint8_t* frame, size_t length, Layers* layers) {
  uint16_t type = 0;
  *layers = Layers{};
  if (!networkHeader(frame, length, &layers->network, &type)) return false;
  if (type == 0x0800) {
    if (!parseIpv4(frame, length, layers)) return false;
  } else if (type == 0x86dd) {
    if (!parseIpv6(frame, length, layers)) return false;
  } else {
    return false;
  }
  const size_t room = layers->end - layers->transport;
  if (layers->protocol == kProtocolUdp) {
    if (room < 8) return false;
    layers->payload = layers->transport + 8;
    return true;
  }
  if (layers->protocol != kProtocolTcp || room < 20) return false;
  const size_t header = (frame[layers->transport + 12] >> 4) * 4u;
  if (header < 20 || header > room) return false;
  layers->payload = layers->transport + header;
  return true;
}

uint64_t checksumAdd(const uint8_t* bytes, size_t length, uint64_t sum) {
  // 32-bit words in the machine's order: the sum is the same up to the byte order of the result.
  while (length >= 4) {
    uint32_t word;
    memcpy(&word, bytes, 4);
    sum += word;
    bytes += 4;
    length -= 4;
  }
  if (length >= 2) {
    uint16_t word;
    memcpy(&word, bytes, 2);
    sum += word;
    bytes += 2;
    length -= 2;
  }
  if (length == 1) {
    const uint8_t last[2] = {bytes[0], 0};
    uint16_t word;
    memcpy(&word, last, 2);
    sum += word;
  }
  return sum;
}

uint16_t checksumFold(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

bool resolvesAddress(const uint8_t* frame, size_t length) {
  if (length < kEthernetBytes) return false;
  const uint16_t type = get16(frame + 12);
  if (type == 0x0806) return true;
  // Next header ICMPv6 behind the fixed header, type 135 or 136 (RFC 4861 sections 4.3 and 4.4).
  return type == 0x86dd && length > 54 && frame[20] == 58 && (frame[54] == 135 || frame[54] == 136);
}

void setIpv4Checksum(uint8_t* ip, size_t headerLength) {
  put16(ip + 10, 0);
  const uint16_t sum = static_cast<uint16_t>(~checksumFold(checksumAdd(ip, headerLength, 0)));
  memcpy(ip + 10, &sum, 2);
}

void setPseudoChecksum(uint8_t* frame, const Layers& layers) {
  const uint8_t* ip = frame + layers.network;
  const size_t length = layers.end - layers.transport;
  uint8_t tail[4] = {0, layers.protocol, 0, 0};
  put16(tail + 2, static_cast<uint16_t>(length));
  uint64_t sum = checksumAdd(tail, sizeof tail, 0);
  sum = layers.ipv6 ? checksumAdd(ip + 8, 32, sum) : checksumAdd(ip + 12, 8, sum);
  const uint16_t folded = checksumFold(sum);
  memcpy(frame + layers.transport + layers.checksumOffset(), &folded, 2);
}

void completeChecksum(uint8_t* frame, size_t length, size_t start, size_t offset) {
  uint16_t sum =
      static_cast<uint16_t>(~checksumFold(checksumAdd(frame + start, length - start, 0)));
  // 0 means "no checksum" in UDP (RFC 768); the other zero is the same number for TCP.
  if (sum == 0) sum = 0xffff;
  memcpy(frame + start + offset, &sum, 2);
}

}  // namespace evio
