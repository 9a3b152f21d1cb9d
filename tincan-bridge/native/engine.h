/**
 * One data path: TAP, two threads, the script lane, upcalls. Everything here runs on the JavaScript
 * thread but `wake`. Knows no Node-API.
 */
#pragma once
#include <thread>

#include "inbound.h"
#include "outbound.h"

namespace evio {

/** Keys of one association, as JavaScript passes them. */
struct Keys {
  Suite suite;
  Piece sendKey, sendIv, receiveKey, receiveIv;
};

class Engine {
 public:
  /** `wake` is called on any thread when upcalls wait and JavaScript was not told yet. */
  static std::unique_ptr<Engine> open(const std::string& tap, bool offload, const NodeId& self,
                                      std::function<void()> wake, Failure* failure);
  ~Engine() { close(); }
  /** Ends and joins the threads, frees everything. Idempotent; other calls then do nothing. */
  void close();
  bool closed() const { return closed_; }

  int32_t openSocket(int family, const char* address, uint16_t port, uint16_t* bound,
                     Failure* failure);
  void closeSocket(int32_t number);
  bool sendDatagram(int32_t socket, const char* address, uint16_t port, Piece bytes);
  void injectDatagram(int32_t socket, const char* address, uint16_t port, Piece bytes);

  bool addSession(int32_t number, const NodeId& peer, const Keys& keys, Failure* failure);
  bool setPath(int32_t session, Path path, const char* address, uint16_t port,
               std::vector<int32_t> sockets, size_t maxFrameBytes, Failure* failure);
  void replaceSession(int32_t from, int32_t to);
  void removeSession(int32_t number);
  bool setStation(uint64_t mac, StationKind kind, int32_t session, Failure* failure);
  void removeStation(uint64_t mac);
  /** -1 when there is no such entry. */
  int64_t stationIdleMs(uint64_t mac);
  bool setRelay(const NodeId& destination, int32_t session, Failure* failure);
  void removeRelay(const NodeId& destination);

  bool sendFrame(int32_t session, uint8_t type, Piece bytes, const VnetHeader& offload);
  bool sendEnvelope(int32_t via, const uint8_t* ids, uint8_t ttl, Piece bytes);
  bool deliverFrame(Piece bytes, const VnetHeader& offload);

  Upcalls& upcalls() { return upcalls_; }
  /** Fourteen sums in the order of EngineCounters. */
  void counters(double* out) const;
  /** Eleven values in the order of SessionCounters; false when there is no such session. */
  bool sessionCounters(int32_t session, double* out);

 private:
  Engine(const NodeId& self, std::function<void()> wake);
  void change(const Change& change);

  const NodeId self_;
  Tap tap_;
  EngineCounters counters_[kWriters];
  std::atomic<size_t> injectedBytes_{0};
  Upcalls upcalls_;
  std::unique_ptr<Outbound> outbound_;
  std::unique_ptr<Inbound> inbound_;
  std::unique_ptr<Transmitter> script_;
  Tables tables_;
  std::thread outboundThread_, inboundThread_;
  int32_t nextSocket_ = 1;
  bool closed_ = false;
};

/** Offload facts with checksumStart 0 ("find it yourself") made exact; writes the pseudo header
 *  sum. False when the frame has no checksum that could be found. */
bool resolveOffload(uint8_t* frame, size_t length, VnetHeader* vnet);

}  // namespace evio
