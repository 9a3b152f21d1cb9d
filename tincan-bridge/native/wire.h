/**
 * The bytes that two tunnel processes exchange; the same constants as datapath/wire.ts (a contract
 * test compares them), and unaligned big-endian access. Decides nothing.
 */
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace evio {

enum FrameType : uint8_t { kEthernet = 0, kFlood = 1, kEnvelope = 2, kControl = 3 };
constexpr uint8_t kFrameTypeMask = 0x0f;
constexpr uint8_t kChecksumUndone = 0x80;

/** Envelope after the type byte: source id, destination id, ttl. */
constexpr size_t kNodeIdBytes = 16;
constexpr size_t kEnvelopeBytes = 33;

/** Lanes of record numbers: who seals. Lane 0 is OpenSSL's. */
enum Lane : uint8_t { kLaneOpenSsl = 0, kLaneOutbound = 1, kLaneInbound = 2, kLaneScript = 3 };
constexpr size_t kLanes = 16;  // 4 bits
constexpr unsigned kLaneShift = 44;
constexpr uint64_t kLaneCapacity = (uint64_t{1} << kLaneShift) - 1;
constexpr uint64_t kReplayWindow = 4096;

/** DTLS 1.2 record header (RFC 6347 section 4.1): type, version, epoch, number, length. */
constexpr size_t kRecordHeaderBytes = 13;
constexpr uint8_t kApplicationData = 23;
constexpr uint16_t kDtls12 = 0xfefd;
constexpr size_t kExplicitNonceBytes = 8;
constexpr size_t kTagBytes = 16;

/** ChannelData of TURN (RFC 8656 section 12.4). */
constexpr size_t kChannelHeaderBytes = 4;

constexpr size_t kEthernetBytes = 14;

using NodeId = std::array<uint8_t, kNodeIdBytes>;

inline uint16_t get16(const uint8_t* p) { return static_cast<uint16_t>(p[0] << 8 | p[1]); }
inline uint32_t get32(const uint8_t* p) {
  return static_cast<uint32_t>(p[0]) << 24 | static_cast<uint32_t>(p[1]) << 16 |
         static_cast<uint32_t>(p[2]) << 8 | p[3];
}
inline uint64_t get48(const uint8_t* p) {
  return static_cast<uint64_t>(get16(p)) << 32 | get32(p + 2);
}
inline void put16(uint8_t* p, uint16_t v) {
  p[0] = static_cast<uint8_t>(v >> 8);
  p[1] = static_cast<uint8_t>(v);
}
inline void put32(uint8_t* p, uint32_t v) {
  put16(p, static_cast<uint16_t>(v >> 16));
  put16(p + 2, static_cast<uint16_t>(v));
}
inline void put48(uint8_t* p, uint64_t v) {
  put16(p, static_cast<uint16_t>(v >> 32));
  put32(p + 2, static_cast<uint32_t>(v));
}

/** struct virtio_net_hdr, 10 bytes, in the byte order of this machine. Declared here because the
 *  headers of Debian 12 do not know UDP_L4 yet. */
struct VnetHeader {
  uint8_t flags;
  uint8_t gsoType;
  uint16_t headerLength;
  uint16_t gsoSize;
  uint16_t checksumStart;
  uint16_t checksumOffset;
};
static_assert(sizeof(VnetHeader) == 10, "virtio_net_hdr has 10 bytes");
constexpr uint8_t kVnetNeedsChecksum = 1;
constexpr uint8_t kGsoNone = 0;
constexpr uint8_t kGsoTcp4 = 1;
constexpr uint8_t kGsoTcp6 = 4;
constexpr uint8_t kGsoUdp = 5;
constexpr uint8_t kGsoEcn = 0x80;

}  // namespace evio
