/**
 * What an Ethernet frame says about itself: where its IP and TCP/UDP headers stand, and its
 * checksums. Bounds-checks every byte; keeps no state.
 */
#pragma once
#include "wire.h"

namespace evio {

constexpr uint8_t kProtocolTcp = 6;
constexpr uint8_t kProtocolUdp = 17;

/** A frame whose transport checksum the far end can find by itself: IPv4 or IPv6 without extension
 *  headers, not a fragment, TCP or UDP, behind at most two VLAN tags. */
struct Layers {
  size_t network = 0;    // offset of the IP header
  size_t transport = 0;  // offset of the TCP or UDP header
  size_t payload = 0;    // offset behind the TCP or UDP header
  size_t end = 0;        // offset behind the IP packet: Ethernet padding begins here
  uint8_t protocol = 0;
  bool ipv6 = false;
  size_t checksumOffset() const { return protocol == kProtocolTcp ? 16 : 6; }
};

/** Offset of the network header and its EtherType, past VLAN tags; false when there is none. */
bool networkHeader(const uint8_t* frame, size_t length, size_t* offset, uint16_t* etherType);

/** False for every other frame. */
bool parseLayers(const uint8_t* frame, size_t length, Layers* layers);

/** ARP, or IPv6 neighbour solicitation or advertisement, without a tag: it may say who has an address. */
bool resolvesAddress(const uint8_t* frame, size_t length);

/** One's complement sum, not folded; `sum` carries on. An odd length only at the end. */
uint64_t checksumAdd(const uint8_t* bytes, size_t length, uint64_t sum);
uint16_t checksumFold(uint64_t sum);

/** Writes the IPv4 header checksum of the header of `headerLength` bytes at `ip`. */
void setIpv4Checksum(uint8_t* ip, size_t headerLength);

/** Writes the folded pseudo header sum where the kernel wants it (VIRTIO_NET_HDR_F_NEEDS_CSUM);
 *  the transport length is `layers.end - layers.transport`. */
void setPseudoChecksum(uint8_t* frame, const Layers& layers);

/** Ends a checksum whose field holds the pseudo header sum. The caller has checked the bounds. */
void completeChecksum(uint8_t* frame, size_t length, size_t start, size_t offset);

}  // namespace evio
