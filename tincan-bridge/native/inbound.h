/**
 * The inbound thread: sockets → records → TAP, next hop or JavaScript. Owns lane 2, all openers and
 * replay windows. Trusts no byte: the seal decides whose a record is, never its address.
 */
#pragma once
#include "coalescing.h"
#include "commands.h"
#include "transmit.h"
#include "upcalls.h"

namespace evio {

class Inbound {
 public:
  Inbound(const Tap& tap, const NodeId& self, Upcalls* upcalls, EngineCounters* counters);
  ~Inbound();
  bool open();
  void run();
  /** On this thread, as a command: a datagram as if it had come in on the socket. */
  void handleInjected(Tables& tables, int32_t socket, const Address& from,
                      std::vector<uint8_t>* bytes);
  /** On this thread, as commands: watches the socket, or no longer. */
  void watch(const std::shared_ptr<Socket>& socket);
  void unwatch(const std::shared_ptr<Socket>& socket);
  Commands commands;

 private:
  bool receive(SocketEntry& socket);
  void handleDatagram(SocketEntry& socket, const Address& from, uint8_t* bytes, size_t length);
  bool handleRecords(SocketEntry& socket, uint8_t* bytes, size_t length);
  void handleRecord(std::vector<SessionEntry*>& sessions, uint8_t* record, size_t length,
                    bool nested);
  void handlePayload(SessionEntry& session, uint8_t* bytes, size_t length, bool nested);
  void handleFrame(SessionEntry& session, uint8_t* frame, size_t length, bool checksumUndone);
  void handleEnvelope(SessionEntry& session, uint8_t* bytes, size_t length);
  SessionCounters& countersOf(SessionEntry& entry) {
    return entry.session->counters[kLaneInbound - 1];
  }

  const NodeId& self_;
  Upcalls* upcalls_;
  EngineCounters* counters_;
  Coalescer coalescer_;
  Transmitter transmit_;
  Tables tables_;
  int epoll_ = -1;
  int64_t now_ = 0;
  std::unique_ptr<uint8_t[]> buffers_;
  size_t set_ = 0;
  uint8_t scratch_[kRecordHeaderBytes + 65536];
};

}  // namespace evio
