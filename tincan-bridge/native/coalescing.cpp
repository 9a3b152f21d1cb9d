/** The rules are those of the kernel's GRO (tcp_gro_receive, udp_gro_receive), but one flow is
 *  held at a time: a sender's batch is a run of one flow nearly always. */
#include "coalescing.h"

namespace evio {

constexpr uint8_t kFin = 0x01, kPsh = 0x08, kAck = 0x10;

void Coalescer::add(uint8_t* frame, size_t length, bool checksumUndone) {
  Layers layers;
  // Only frames whose checksum nobody has computed: joining the others would need them checked.
  if (!checksumUndone || !parseLayers(frame, length, &layers)) {
    flush();
    writePlain(frame, length);
    return;
  }
  if (first_ != nullptr && append(frame, layers)) return;
  flush();
  start(frame, layers);
}

void Coalescer::writePlain(uint8_t* frame, size_t length) {
  const VnetHeader vnet{};
  iovec pieces[2] = {{}, {frame, length}};
  tap_.write(vnet, pieces, 2, 1, counters_);
}

void Coalescer::start(uint8_t* frame, const Layers& layers) {
  first_ = frame;
  layers_ = layers;
  length_ = layers.end;  // Ethernet padding would be taken for payload
  gsoSize_ = layers.end - layers.payload;
  segments_ = 1;
  pieces_[1] = {frame, length_};
  bool open = gsoSize_ > 0 && tap_.offload();
  if (layers.protocol == kProtocolTcp) {
    const uint8_t* tcp = frame + layers.transport;
    flags_ = tcp[13];
    nextSequence_ = get32(tcp + 4) + static_cast<uint32_t>(gsoSize_);
    open = open && flags_ == kAck;  // PSH or FIN ends a run; SYN, RST, URG, ECE, CWR stand alone
  } else {
    open = open && tap_.udpSegmentation() &&
           get16(frame + layers.transport + 4) == layers.end - layers.transport;
  }
  if (!open) flush();
}

bool Coalescer::sameFlow(const uint8_t* frame, const Layers& layers) const {
  if (layers.network != layers_.network || layers.transport != layers_.transport ||
      layers.payload != layers_.payload || layers.protocol != layers_.protocol ||
      layers.ipv6 != layers_.ipv6)
    return false;
  if (memcmp(frame, first_, layers.network) != 0) return false;
  const uint8_t* a = frame + layers.network;
  const uint8_t* b = first_ + layers.network;
  if (layers.ipv6) {  // all but the payload length
    if (memcmp(a, b, 4) != 0 || memcmp(a + 6, b + 6, 34) != 0) return false;
  } else {  // version…tos; flags, ttl, protocol; addresses and options
    if (memcmp(a, b, 2) != 0 || memcmp(a + 6, b + 6, 4) != 0 ||
        memcmp(a + 12, b + 12, layers.transport - layers.network - 12) != 0)
      return false;
    // Cut again, identifications count up; they matter only where fragmenting is allowed.
    const bool dontFragment = (a[6] & 0x40) != 0;
    if (!dontFragment && get16(a + 4) != static_cast<uint16_t>(get16(b + 4) + segments_))
      return false;
  }
  return memcmp(frame + layers.transport, first_ + layers.transport, 4) == 0;
}

bool Coalescer::continuesTcp(const uint8_t* frame, const Layers& layers) const {
  const uint8_t* a = frame + layers.transport;
  const uint8_t* b = first_ + layers.transport;
  if (get32(a + 4) != nextSequence_) return false;
  if ((a[13] & ~(kPsh | kFin)) != kAck) return false;
  // Acknowledgement and data offset; window; urgent pointer and options (time stamps).
  return memcmp(a + 8, b + 8, 5) == 0 && memcmp(a + 14, b + 14, 2) == 0 &&
         memcmp(a + 18, b + 18, layers.payload - layers.transport - 18) == 0;
}

bool Coalescer::append(const uint8_t* frame, const Layers& layers) {
  const size_t payload = layers.end - layers.payload;
  if (payload == 0 || payload > gsoSize_ || segments_ == limits::kCoalescedSegments) return false;
  if (length_ - layers_.network + payload > limits::kIpBytes) return false;
  if (!sameFlow(frame, layers)) return false;
  bool last = payload < gsoSize_;
  if (layers.protocol == kProtocolTcp) {
    if (!continuesTcp(frame, layers)) return false;
    const uint8_t flags = frame[layers.transport + 13];
    flags_ |= flags;
    nextSequence_ += static_cast<uint32_t>(payload);
    last = last || flags != kAck;
  } else if (get16(frame + layers.transport + 4) != layers.end - layers.transport) {
    return false;
  }
  segments_++;
  pieces_[segments_] = {const_cast<uint8_t*>(frame + layers.payload), payload};
  length_ += payload;
  if (last) flush();
  return true;
}

void Coalescer::finishHeaders(VnetHeader* vnet) {
  vnet->flags = kVnetNeedsChecksum;
  vnet->checksumStart = static_cast<uint16_t>(layers_.transport);
  vnet->checksumOffset = static_cast<uint16_t>(layers_.checksumOffset());
  if (segments_ > 1) {
    uint8_t* ip = first_ + layers_.network;
    layers_.end = length_;
    if (layers_.ipv6) {
      put16(ip + 4, static_cast<uint16_t>(length_ - layers_.transport));
    } else {
      put16(ip + 2, static_cast<uint16_t>(length_ - layers_.network));
      setIpv4Checksum(ip, layers_.transport - layers_.network);
    }
    uint8_t* transport = first_ + layers_.transport;
    if (layers_.protocol == kProtocolTcp) {
      transport[13] = flags_;
      vnet->gsoType = layers_.ipv6 ? kGsoTcp6 : kGsoTcp4;
    } else {
      put16(transport + 4, static_cast<uint16_t>(length_ - layers_.transport));
      vnet->gsoType = kGsoUdp;
    }
    vnet->gsoSize = static_cast<uint16_t>(gsoSize_);
    vnet->headerLength = static_cast<uint16_t>(layers_.payload);
  }
  setPseudoChecksum(first_, layers_);
}

void Coalescer::flush() {
  if (first_ == nullptr) return;
  VnetHeader vnet{};
  finishHeaders(&vnet);
  tap_.write(vnet, pieces_, segments_ + 1, segments_, counters_);
  first_ = nullptr;
}

}  // namespace evio
