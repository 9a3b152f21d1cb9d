/**
 * What the threads hand up to JavaScript: two bounded queues of packed items, control (datagrams,
 * control messages, handshakes in envelopes) and frames, so that data never starves control. Full queues drop and count. JavaScript takes all at once.
 */
#pragma once
#include <functional>
#include <mutex>
#include <vector>

#include "limits.h"
#include "tables.h"

namespace evio {

enum class UpcallKind : uint8_t { kFrameOut = 0, kFrameIn = 1, kMessage = 2, kEnvelope = 3,
                                  kDatagram = 4 };
enum class FrameReason : uint8_t {
  kGroup = 0,
  kUnknownDestination = 1,
  kSource = 2,
  kTooBig = 3,
  kResolution = 4,
};

/** In front of the bytes of each item, in the byte order of this machine; native.ts decodes it. */
struct UpcallHeader {
  UpcallKind kind;
  uint8_t code;   // FrameReason, or FrameType of a message
  uint8_t flags;  // 1: has offload facts (frames), checksum undone (messages)
  uint8_t ttl;
  int32_t number;  // session or socket
  uint32_t length;
  uint16_t port;
  uint16_t unused;
  union {
    VnetHeader offload;
    uint8_t ids[2 * kNodeIdBytes];  // source, destination
    char address[64];
  };
};
static_assert(sizeof(UpcallHeader) == 80, "native.ts reads 80 bytes");

class Upcalls {
 public:
  explicit Upcalls(std::function<void()> wake) : wake_(std::move(wake)) {}

  void frameOut(FrameReason reason, int32_t session, const VnetHeader& vnet, const uint8_t* frame,
                size_t length, EngineCounters* counters);
  void frameIn(FrameReason reason, int32_t session, bool checksumUndone, const uint8_t* frame,
               size_t length, EngineCounters* counters);
  void message(int32_t session, FrameType type, bool checksumUndone, const uint8_t* bytes,
               size_t length, EngineCounters* counters);
  void envelope(int32_t session, const uint8_t* ids, uint8_t ttl, const uint8_t* bytes,
                size_t length, EngineCounters* counters);
  void datagram(int32_t socket, const Address& from, const uint8_t* bytes, size_t length,
                EngineCounters* counters);

  /** Moves everything that waits into the two vectors (cleared first). */
  void take(std::vector<uint8_t>* datagrams, std::vector<uint8_t>* frames);

 private:
  struct Queue {
    size_t count = 0;
    std::vector<uint8_t> bytes;
  };
  void push(Queue* queue, size_t maxCount, size_t maxBytes, const UpcallHeader& header,
            const uint8_t* bytes, EngineCounters* counters, Counter* dropped);
  void pushFrame(const UpcallHeader& header, const uint8_t* bytes, EngineCounters* counters);
  void pushControl(const UpcallHeader& header, const uint8_t* bytes, EngineCounters* counters);

  std::mutex mutex_;
  Queue datagrams_;
  Queue frames_;
  bool waking_ = false;
  std::function<void()> wake_;
};

/** Offload facts that say "checksum undone, find it yourself" (checksumStart 0). */
inline VnetHeader undoneOffload() {
  VnetHeader vnet{};
  vnet.flags = kVnetNeedsChecksum;
  return vnet;
}

}  // namespace evio
