/**
 * Joins received frames that follow each other in a TCP or UDP flow into one super-frame, written
 * to the TAP by one call. Copies nothing: the frames stay in the receive buffers until `flush`,
 * which must come before those are used again.
 */
#pragma once
#include "frame.h"
#include "limits.h"
#include "tap.h"

namespace evio {

class Coalescer {
 public:
  Coalescer(const Tap& tap, EngineCounters* counters) : tap_(tap), counters_(counters) {}
  /** Takes a frame of at least 14 bytes; its headers may be overwritten. */
  void add(uint8_t* frame, size_t length, bool checksumUndone);
  void flush();
  /** The run that is held began between these addresses. */
  bool beganIn(const uint8_t* begin, const uint8_t* end) const {
    return first_ != nullptr && first_ >= begin && first_ < end;
  }

 private:
  void writePlain(uint8_t* frame, size_t length);
  void start(uint8_t* frame, const Layers& layers);
  bool append(const uint8_t* frame, const Layers& layers);
  bool continuesTcp(const uint8_t* frame, const Layers& layers) const;
  bool sameFlow(const uint8_t* frame, const Layers& layers) const;
  void finishHeaders(VnetHeader* vnet);

  const Tap& tap_;
  EngineCounters* counters_;
  uint8_t* first_ = nullptr;  // null: nothing is held
  Layers layers_{};
  size_t length_ = 0;   // of the whole super-frame
  size_t gsoSize_ = 0;  // payload of the first, and of all but the last
  size_t segments_ = 0;
  uint32_t nextSequence_ = 0;
  uint8_t flags_ = 0;
  iovec pieces_[limits::kCoalescedSegments + 2];
};

}  // namespace evio
