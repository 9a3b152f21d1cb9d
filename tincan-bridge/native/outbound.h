/**
 * The outbound thread: TAP → tables → records → sockets. Owns lane 1. Never waits for JavaScript;
 * what the tables do not answer goes up.
 */
#pragma once
#include "commands.h"
#include "transmit.h"
#include "upcalls.h"

namespace evio {

class Outbound {
 public:
  Outbound(const Tap& tap, const NodeId& self, Upcalls* upcalls, EngineCounters* counters)
      : tap_(tap), upcalls_(upcalls), counters_(counters), transmit_(kLaneOutbound, self, counters) {}
  /** Until the commands say stop. */
  void run();
  Commands commands;

 private:
  bool readTap();
  void handle(const VnetHeader& vnet, const uint8_t* frame, size_t length);
  void up(FrameReason reason, int32_t session, const VnetHeader& vnet, const uint8_t* frame,
          size_t length) {
    upcalls_->frameOut(reason, session, vnet, frame, length, counters_);
  }

  const Tap& tap_;
  Upcalls* upcalls_;
  EngineCounters* counters_;
  Transmitter transmit_;
  Tables tables_;
  int64_t now_ = 0;
  uint8_t buffer_[sizeof(VnetHeader) + limits::kFrameBytes];
};

}  // namespace evio
