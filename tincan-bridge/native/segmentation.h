/**
 * Cuts a super-frame that the kernel left whole (TSO, USO) into the frames that go over the wire.
 * Gives header and payload of each apart, so that they are copied once, into the send buffer.
 */
#pragma once
#include "frame.h"
#include "limits.h"

namespace evio {

struct Segment {
  const uint8_t* header;
  size_t headerLength;
  const uint8_t* payload;
  size_t payloadLength;
  /** The far end finds and writes the checksum (kChecksumUndone). */
  bool undone;
  /** Otherwise, when `complete`: to be completed over the joined bytes. */
  bool complete;
  size_t checksumStart;
  size_t checksumOffset;
  size_t length() const { return headerLength + payloadLength; }
};

class Segmenter {
 public:
  /** False when header and facts contradict each other: the frame makes no sense. */
  bool begin(const uint8_t* frame, size_t length, const VnetHeader& vnet);
  /** The next segment, valid until the call after; false at the end. */
  bool next(Segment* segment);
  /** Bytes of the largest segment. */
  size_t largest() const { return gsoSize_ == 0 ? length_ : headerLength_ + gsoSize_; }
  /** How many segments there are. */
  size_t count() const {
    return gsoSize_ == 0 ? 1 : (length_ - headerLength_ + gsoSize_ - 1) / gsoSize_;
  }

 private:
  bool beginSuper(const VnetHeader& vnet);
  void patchHeader(size_t payloadLength, bool last);

  const uint8_t* frame_ = nullptr;
  size_t length_ = 0;
  size_t headerLength_ = 0;
  size_t gsoSize_ = 0;  // 0: an ordinary frame
  size_t network_ = 0;
  size_t transport_ = 0;
  size_t at_ = 0;
  unsigned index_ = 0;
  uint64_t ipSum_ = 0;  // of the IPv4 header without length, identification and checksum
  bool ipv6_ = false;
  bool tcp_ = false;
  Segment facts_{};
  uint8_t header_[limits::kHeaderBytes];
};

}  // namespace evio
