/** TCP and UDP segmentation as the kernel's own tcp_gso_segment and __udp_gso_segment do it. */
#include "segmentation.h"

#include <algorithm>

namespace evio {

bool Segmenter::begin(const uint8_t* frame, size_t length, const VnetHeader& vnet) {
  frame_ = frame;
  length_ = length;
  gsoSize_ = 0;
  at_ = 0;
  index_ = 0;
  facts_ = Segment{};
  if (length < kEthernetBytes) return false;
  if (vnet.flags & kVnetNeedsChecksum) {
    const size_t start = vnet.checksumStart;
    const size_t field = start + vnet.checksumOffset;
    if (start < kEthernetBytes || field + 2 > length) return false;
    facts_.checksumStart = start;
    facts_.checksumOffset = vnet.checksumOffset;
    Layers layers;
    facts_.undone = parseLayers(frame, length, &layers) && layers.transport == start &&
                    layers.checksumOffset() == vnet.checksumOffset;
    facts_.complete = !facts_.undone;
  }
  return (vnet.gsoType & ~kGsoEcn) == kGsoNone || beginSuper(vnet);
}

bool Segmenter::beginSuper(const VnetHeader& vnet) {
  const uint8_t type = vnet.gsoType & static_cast<uint8_t>(~kGsoEcn);
  if (type != kGsoTcp4 && type != kGsoTcp6 && type != kGsoUdp) return false;
  // Without the checksum request the transport header would have to be guessed; the kernel never
  // hands out such a super-frame.
  if (!(vnet.flags & kVnetNeedsChecksum) || vnet.gsoSize == 0) return false;
  uint16_t etherType = 0;
  if (!networkHeader(frame_, length_, &network_, &etherType)) return false;
  ipv6_ = etherType == 0x86dd;
  if (!ipv6_ && etherType != 0x0800) return false;
  if ((type == kGsoTcp4 && ipv6_) || (type == kGsoTcp6 && !ipv6_)) return false;
  tcp_ = type != kGsoUdp;
  transport_ = facts_.checksumStart;
  const size_t ipBytes = ipv6_ ? 40 : 20;
  if (transport_ < network_ + ipBytes || transport_ + (tcp_ ? 20 : 8) > length_) return false;
  if (!ipv6_ && network_ + (frame_[network_] & 15u) * 4 != transport_) return false;
  const size_t header = tcp_ ? (frame_[transport_ + 12] >> 4) * 4u : 8u;
  if (tcp_ && header < 20) return false;
  headerLength_ = transport_ + header;
  if (headerLength_ > length_ || headerLength_ > sizeof header_) return false;
  if (facts_.checksumOffset != (tcp_ ? 16u : 6u)) return false;
  // The payload cannot be empty: an empty super-frame would be no segment at all.
  if (headerLength_ == length_) return false;
  gsoSize_ = vnet.gsoSize;
  if (headerLength_ + gsoSize_ > length_) gsoSize_ = length_ - headerLength_;
  memcpy(header_, frame_, headerLength_);
  if (!ipv6_) {
    uint8_t* ip = header_ + network_;
    memset(ip + 2, 0, 4);
    memset(ip + 10, 0, 2);
    ipSum_ = checksumAdd(ip, transport_ - network_, 0);
  }
  at_ = headerLength_;
  return true;
}

bool Segmenter::next(Segment* segment) {
  if (at_ >= length_) return false;
  *segment = facts_;
  if (gsoSize_ == 0) {
    segment->header = frame_;
    segment->headerLength = length_;
    at_ = length_;
    return true;
  }
  const size_t payload = std::min(gsoSize_, length_ - at_);
  patchHeader(payload, at_ + payload == length_);
  segment->header = header_;
  segment->headerLength = headerLength_;
  segment->payload = frame_ + at_;
  segment->payloadLength = payload;
  at_ += payload;
  index_++;
  return true;
}

void Segmenter::patchHeader(size_t payloadLength, bool last) {
  uint8_t* ip = header_ + network_;
  const size_t ipLength = headerLength_ - network_ + payloadLength;
  if (ipv6_) {
    put16(ip + 4, static_cast<uint16_t>(ipLength - 40));
  } else {
    put16(ip + 2, static_cast<uint16_t>(ipLength));
    put16(ip + 4, static_cast<uint16_t>(get16(frame_ + network_ + 4) + index_));
    const uint16_t sum = static_cast<uint16_t>(~checksumFold(checksumAdd(ip + 2, 4, ipSum_)));
    memcpy(ip + 10, &sum, 2);
  }
  const uint8_t* original = frame_ + transport_;
  uint8_t* transport = header_ + transport_;
  const size_t length = headerLength_ - transport_ + payloadLength;
  if (tcp_) {
    put32(transport + 4, get32(original + 4) + static_cast<uint32_t>(at_ - headerLength_));
    uint8_t flags = original[13];
    if (!last) flags &= static_cast<uint8_t>(~0x09);       // FIN and PSH: on the last one
    if (index_ > 0) flags &= static_cast<uint8_t>(~0x80);  // CWR: on the first (RFC 3168 6.1.2)
    transport[13] = flags;
  } else {
    put16(transport + 4, static_cast<uint16_t>(length));
  }
  if (!facts_.complete) return;
  // The field holds the pseudo header sum with the length of the whole: take that out, put the
  // segment's in. In this order it also serves IPv6 with extension headers.
  uint8_t lengths[4];
  put16(lengths, static_cast<uint16_t>(~(length_ - transport_)));
  put16(lengths + 2, static_cast<uint16_t>(length));
  const size_t field = facts_.checksumOffset;
  const uint16_t sum = checksumFold(checksumAdd(lengths, 4, checksumAdd(original + field, 2, 0)));
  memcpy(transport + field, &sum, 2);
}

}  // namespace evio
