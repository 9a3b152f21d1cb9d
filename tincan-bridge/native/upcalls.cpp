/** Packed queues: one allocation for a batch, none for an item. */
#include "upcalls.h"

namespace evio {

static UpcallHeader headerOf(UpcallKind kind, int32_t number, size_t length) {
  UpcallHeader header;
  memset(static_cast<void*>(&header), 0, sizeof header);
  header.kind = kind;
  header.number = number;
  header.length = static_cast<uint32_t>(length);
  return header;
}

void Upcalls::push(Queue* queue, size_t maxCount, size_t maxBytes, const UpcallHeader& header,
                   const uint8_t* bytes, EngineCounters* counters, Counter* dropped) {
  bool wake = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (queue->count >= maxCount ||
        queue->bytes.size() + sizeof header + header.length > maxBytes) {
      dropped->add();
      return;
    }
    const uint8_t* raw = reinterpret_cast<const uint8_t*>(&header);
    queue->count++;
    queue->bytes.insert(queue->bytes.end(), raw, raw + sizeof header);
    queue->bytes.insert(queue->bytes.end(), bytes, bytes + header.length);
    wake = !waking_;
    waking_ = true;
  }
  counters->upcalls.add();
  if (wake) wake_();
}

void Upcalls::pushFrame(const UpcallHeader& header, const uint8_t* bytes,
                        EngineCounters* counters) {
  push(&frames_, limits::kFrameUpcalls, limits::kFrameUpcallBytes, header, bytes, counters,
       &counters->upcallsDroppedFrames);
}

void Upcalls::pushControl(const UpcallHeader& header, const uint8_t* bytes,
                          EngineCounters* counters) {
  push(&datagrams_, limits::kDatagramUpcalls, limits::kDatagramUpcallBytes, header, bytes,
       counters, &counters->upcallsDroppedDatagrams);
}

void Upcalls::frameOut(FrameReason reason, int32_t session, const VnetHeader& vnet,
                       const uint8_t* frame, size_t length, EngineCounters* counters) {
  UpcallHeader header = headerOf(UpcallKind::kFrameOut, session, length);
  header.code = static_cast<uint8_t>(reason);
  header.flags = vnet.flags != 0 || vnet.gsoType != kGsoNone;
  header.offload = vnet;
  pushFrame(header, frame, counters);
}

void Upcalls::frameIn(FrameReason reason, int32_t session, bool checksumUndone,
                      const uint8_t* frame, size_t length, EngineCounters* counters) {
  UpcallHeader header = headerOf(UpcallKind::kFrameIn, session, length);
  header.code = static_cast<uint8_t>(reason);
  header.flags = checksumUndone;
  if (checksumUndone) header.offload = undoneOffload();
  pushFrame(header, frame, counters);
}

void Upcalls::message(int32_t session, FrameType type, bool checksumUndone, const uint8_t* bytes,
                      size_t length, EngineCounters* counters) {
  UpcallHeader header = headerOf(UpcallKind::kMessage, session, length);
  header.code = type;
  header.flags = checksumUndone;
  if (type == kControl) return pushControl(header, bytes, counters);
  pushFrame(header, bytes, counters);
}

void Upcalls::envelope(int32_t session, const uint8_t* ids, uint8_t ttl, const uint8_t* bytes,
                       size_t length, EngineCounters* counters) {
  UpcallHeader header = headerOf(UpcallKind::kEnvelope, session, length);
  header.ttl = ttl;
  memcpy(header.ids, ids, sizeof header.ids);
  // Handshakes travel like control traffic, records like frames.
  if (length > 0 && bytes[0] == kApplicationData) return pushFrame(header, bytes, counters);
  pushControl(header, bytes, counters);
}

void Upcalls::datagram(int32_t socket, const Address& from, const uint8_t* bytes, size_t length,
                       EngineCounters* counters) {
  UpcallHeader header = headerOf(UpcallKind::kDatagram, socket, length);
  header.port = formatAddress(from, header.address, sizeof header.address);
  pushControl(header, bytes, counters);
}

void Upcalls::take(std::vector<uint8_t>* datagrams, std::vector<uint8_t>* frames) {
  datagrams->clear();
  frames->clear();
  const std::lock_guard<std::mutex> lock(mutex_);
  datagrams_.bytes.swap(*datagrams);
  frames_.bytes.swap(*frames);
  datagrams_.count = 0;
  frames_.count = 0;
  waking_ = false;
}

}  // namespace evio
