/**
 * The TAP device: opened with vnet headers and offloads, read by the outbound thread, written by
 * any. Owns its descriptor; the device itself persists. Without offloads it gives and takes plain
 * frames only: each of one segment, its checksum complete.
 */
#pragma once
#include <sys/uio.h>

#include <string>

#include "counters.h"
#include "wire.h"

namespace evio {

/** Why something of the host failed: an error code of base/errors.ts and what to say. */
struct Failure {
  const char* code = nullptr;
  std::string message;
};

class Tap {
 public:
  ~Tap() { close(); }
  bool open(const std::string& name, bool offload, Failure* failure);
  void close();
  int fd() const { return fd_; }
  /** Super-frames and undone checksums may be written. */
  bool offload() const { return offload_; }
  /** The kernel takes UDP super-frames from us (Linux 6.2 or later). */
  bool udpSegmentation() const { return udpSegmentation_; }
  /** Writes one frame of `segments` wire frames; pieces[0] must be left free for the header. */
  bool write(const VnetHeader& vnet, iovec* pieces, size_t count, size_t segments,
             EngineCounters* counters) const;

 private:
  int fd_ = -1;
  bool offload_ = true;
  bool udpSegmentation_ = false;
};

}  // namespace evio
