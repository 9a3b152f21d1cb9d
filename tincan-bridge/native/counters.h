/**
 * Counters that one thread writes and JavaScript reads, and the coarse clock of "last used". Owns
 * no table. One set for each lane, so that no addition needs a locked instruction.
 */
#pragma once
#include <time.h>

#include <atomic>
#include <cstdint>

#include "wire.h"

namespace evio {

/** Milliseconds of CLOCK_MONOTONIC_COARSE: 4 ms steps, a few nanoseconds to read. */
inline int64_t coarseMs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1000000;
}

/** Written by one thread only; read by any. */
class Counter {
 public:
  void add(uint64_t n = 1) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

/** A time written by any thread; 0 means never. */
class LastUse {
 public:
  void set(int64_t ms) {
    if (value_.load(std::memory_order_relaxed) != ms) value_.store(ms, std::memory_order_relaxed);
  }
  int64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

/** Of the whole data path, one for each lane. */
struct alignas(64) EngineCounters {
  Counter tapReadFrames, tapReadBytes, tapWrittenFrames, tapWrittenBytes, tapWriteErrors, upcalls,
      upcallsDroppedFrames, upcallsDroppedDatagrams, dropped, spoofed, unopened, relayed,
      ttlExpired, sendErrors;
};

/** Of one session, one for each lane. */
struct alignas(64) SessionCounters {
  Counter sentFrames, sentBytes, receivedFrames, receivedBytes, replayed, forged, tooBig, noPath,
      sendErrors, sentPayloadBytes, receivedPayloadBytes;
  LastUse sentAt, receivedAt;
};

/** The sums that JavaScript reads, in its order. */
constexpr Counter EngineCounters::*CounterList[] = {
    &EngineCounters::tapReadFrames,    &EngineCounters::tapReadBytes,
    &EngineCounters::tapWrittenFrames, &EngineCounters::tapWrittenBytes,
    &EngineCounters::tapWriteErrors,   &EngineCounters::upcalls,
    &EngineCounters::upcallsDroppedFrames, &EngineCounters::upcallsDroppedDatagrams,
    &EngineCounters::dropped,          &EngineCounters::spoofed,
    &EngineCounters::unopened,         &EngineCounters::relayed,
    &EngineCounters::ttlExpired,       &EngineCounters::sendErrors};
constexpr Counter SessionCounters::*SessionCounterList[] = {
    &SessionCounters::sentFrames,    &SessionCounters::sentBytes,
    &SessionCounters::receivedFrames, &SessionCounters::receivedBytes,
    &SessionCounters::replayed,      &SessionCounters::forged,
    &SessionCounters::tooBig,        &SessionCounters::noPath,
    &SessionCounters::sendErrors,    &SessionCounters::sentPayloadBytes,
    &SessionCounters::receivedPayloadBytes};

/** Lanes that seal and count: outbound, inbound, script. Index: lane - 1. */
constexpr size_t kWriters = 3;

}  // namespace evio
