/**
 * Seals payloads over sessions and sends them, in one lane: records of one size to one address
 * leave by one UDP_SEGMENT message, uneven ones by one sendmmsg. Each thread has its own. Pending
 * messages point into the tables: flush before commands are applied.
 */
#pragma once
#include "limits.h"
#include "segmentation.h"
#include "tables.h"

namespace evio {

/** A piece of a payload; several are joined in the send buffer. */
struct Piece {
  const uint8_t* bytes;
  size_t length;
};

class Transmitter {
 public:
  Transmitter(Lane lane, const NodeId& self, EngineCounters* counters)
      : lane_(lane), self_(self), counters_(counters) {}
  void setNow(int64_t ms) { now_ = ms; }

  /** Cuts and sends an Ethernet frame; false when part of it was not sent. */
  bool sendEthernet(SessionEntry& to, Segmenter& segments);
  /** Sends a payload whose type byte and pieces are given. */
  bool send(SessionEntry& to, uint8_t type, const Piece* pieces, size_t count);
  /** Sends an envelope over a session that has a path of datagrams. */
  bool sendEnvelope(SessionEntry& via, const uint8_t* ids, uint8_t ttl, Piece datagram);
  /** False when the kernel refused something since the last flush. */
  bool flush();

 private:
  struct Message {
    SessionEntry* carrier;
    size_t offset;
    size_t length;
    size_t segmentSize;
    size_t segments;
  };
  uint8_t* begin(SessionEntry& to, size_t payloadLength);
  bool end(SessionEntry& to, size_t payloadLength);
  bool append(SessionEntry& carrier, size_t length);
  void sendMessages();
  bool sendOne(const Message& message);
  bool sendSegments(const Message& message);
  bool waitWritable(int fd);
  void failed(const Message& message, size_t segments);
  SessionCounters& countersOf(SessionEntry& entry) {
    return entry.session->counters[lane_ - 1];
  }

  const Lane lane_;
  const NodeId& self_;
  EngineCounters* counters_;
  int64_t now_ = 0;
  size_t used_ = 0;
  size_t messages_ = 0;
  bool refused_ = false;
  int waitedMs_ = 0;
  Message message_[limits::kMessagesPerSend];
  uint8_t buffer_[limits::kBytesPerSend + limits::kSendSlackBytes];
};

}  // namespace evio
