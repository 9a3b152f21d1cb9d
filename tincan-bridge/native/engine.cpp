/** Commands go to three copies of the tables: ours at once, the threads' between two packets. */
#include "engine.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>

namespace evio {

/** A thread that no signal handler of the process runs on. */
template <typename Body>
static std::thread startThread(const char* name, Body body) {
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  std::thread thread(body);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  pthread_setname_np(thread.native_handle(), name);
  return thread;
}

Engine::Engine(const NodeId& self, std::function<void()> wake)
    : self_(self), upcalls_(std::move(wake)) {}

std::unique_ptr<Engine> Engine::open(const std::string& tap, bool offload, const NodeId& self,
                                     std::function<void()> wake, Failure* failure) {
  std::unique_ptr<Engine> engine(new Engine(self, std::move(wake)));
  Engine* e = engine.get();
  if (!e->tap_.open(tap, offload, failure)) return nullptr;
  e->outbound_ = std::make_unique<Outbound>(e->tap_, e->self_, &e->upcalls_, &e->counters_[0]);
  e->inbound_ = std::make_unique<Inbound>(e->tap_, e->self_, &e->upcalls_, &e->counters_[1]);
  e->script_ = std::make_unique<Transmitter>(kLaneScript, e->self_, &e->counters_[2]);
  if (!e->outbound_->commands.open() || !e->inbound_->open()) {
    *failure = {"host.command-failed", std::string("eventfd or epoll: ") + strerror(errno)};
    return nullptr;
  }
  e->outboundThread_ = startThread("evio-outbound", [e] { e->outbound_->run(); });
  e->inboundThread_ = startThread("evio-inbound", [e] { e->inbound_->run(); });
  return engine;
}

void Engine::close() {
  if (closed_) return;
  closed_ = true;
  if (outboundThread_.joinable()) {
    outbound_->commands.stop();
    outboundThread_.join();
  }
  if (inboundThread_.joinable()) {
    inbound_->commands.stop();
    inboundThread_.join();
  }
  tables_ = Tables{};
  outbound_.reset();
  inbound_.reset();
  script_.reset();
  tap_.close();
}

void Engine::change(const Change& change) {
  change(tables_);
  outbound_->commands.post(change);
  inbound_->commands.post(change);
}

int32_t Engine::openSocket(int family, const char* address, uint16_t port, uint16_t* bound,
                           Failure* failure) {
  const std::shared_ptr<Socket> socket =
      Socket::open(nextSocket_, family, address, port, bound, failure);
  if (!socket) return 0;
  nextSocket_++;
  change([socket](Tables& t) { t.addSocket(socket); });
  Inbound* inbound = inbound_.get();
  inbound->commands.post([socket, inbound](Tables&) { inbound->watch(socket); });
  return socket->number;
}

void Engine::closeSocket(int32_t number) {
  SocketEntry* entry = tables_.socket(number);
  if (entry == nullptr) return;
  const std::shared_ptr<Socket> socket = entry->socket;
  Inbound* inbound = inbound_.get();
  inbound->commands.post([socket, inbound](Tables&) { inbound->unwatch(socket); });
  change([number](Tables& t) { t.removeSocket(number); });
  // The port is free once both threads have let go of it: some 100 µs, unless one waits to send.
  const timespec pause{0, 50'000};
  for (int i = 0; i < limits::kCloseTurns && socket.use_count() > 1; i++)
    nanosleep(&pause, nullptr);
}

bool Engine::sendDatagram(int32_t number, const char* text, uint16_t port, Piece bytes) {
  SocketEntry* entry = tables_.socket(number);
  Address to;
  if (entry == nullptr || !parseAddress(entry->socket->family, text, port, &to)) {
    counters_[2].sendErrors.add();
    return false;
  }
  const ssize_t sent = sendto(entry->socket->fd, bytes.bytes, bytes.length, 0, &to.any, to.length);
  if (sent < 0) counters_[2].sendErrors.add();
  return sent >= 0;
}

void Engine::injectDatagram(int32_t number, const char* text, uint16_t port, Piece bytes) {
  SocketEntry* entry = tables_.socket(number);
  Address from;
  if (entry == nullptr || !parseAddress(entry->socket->family, text, port, &from)) return;
  if (bytes.length > limits::kReceiveBytes ||
      injectedBytes_.load(std::memory_order_relaxed) + bytes.length > limits::kInjectedBytes) {
    counters_[2].upcallsDroppedDatagrams.add();
    return;
  }
  injectedBytes_.fetch_add(bytes.length, std::memory_order_relaxed);
  auto copy = std::make_shared<std::vector<uint8_t>>(bytes.bytes, bytes.bytes + bytes.length);
  Inbound* inbound = inbound_.get();
  inbound->commands.post([this, inbound, number, from, copy](Tables& tables) {
    injectedBytes_.fetch_sub(copy->size(), std::memory_order_relaxed);
    inbound->handleInjected(tables, number, from, copy.get());
  });
}

bool Engine::addSession(int32_t number, const NodeId& peer, const Keys& keys, Failure* failure) {
  if (tables_.session(number) != nullptr || tables_.sessionCount() >= limits::kSessions) {
    *failure = {"internal", "session " + std::to_string(number) + " cannot be added: " +
                                (tables_.session(number) ? "it exists" : "too many")};
    return false;
  }
  const size_t key = keyBytes(keys.suite);
  const size_t iv = ivBytes(keys.suite);
  if (keys.sendKey.length != key || keys.receiveKey.length != key || keys.sendIv.length != iv ||
      keys.receiveIv.length != iv) {
    *failure = {"internal", "keys of session " + std::to_string(number) +
                                " have the wrong length for their suite"};
    return false;
  }
  auto session = std::make_shared<Session>();
  session->number = number;
  session->peer = peer;
  session->suite = keys.suite;
  bool made = session->opener.init(keys.suite, keys.receiveKey.bytes, keys.receiveIv.bytes);
  for (size_t i = 0; i < kWriters; i++)
    made = made && session->sealers[i].init(keys.suite, static_cast<Lane>(i + 1),
                                            keys.sendKey.bytes, keys.sendIv.bytes);
  if (!made) {
    *failure = {"internal", "openssl refuses the keys of session " + std::to_string(number)};
    return false;
  }
  change([session](Tables& t) { t.addSession(session); });
  return true;
}

bool Engine::setPath(int32_t number, Path path, const char* address, uint16_t port,
                     std::vector<int32_t> sockets, size_t maxFrameBytes, Failure* failure) {
  if (tables_.session(number) == nullptr) {
    *failure = {"internal", "no session " + std::to_string(number)};
    return false;
  }
  if (path.kind == PathKind::kUdp || path.kind == PathKind::kTurn) {
    // A socket that was closed meanwhile is no error: the session has no path then.
    SocketEntry* socket = tables_.socket(path.socket);
    if (socket == nullptr) {
      path.kind = PathKind::kNone;
    } else if (!parseAddress(socket->socket->family, address, port, &path.to)) {
      *failure = {"internal", std::string("not an address of the socket's family: ") + address};
      return false;
    }
  }
  const size_t most = std::min(maxFrameBytes, limits::kPlaintextBytes - 1);
  change([number, path, sockets = std::move(sockets), most](Tables& t) {
    t.setPath(number, path, sockets, most);
  });
  return true;
}

void Engine::replaceSession(int32_t from, int32_t to) {
  change([from, to](Tables& t) { t.replaceSession(from, to); });
}

void Engine::removeSession(int32_t number) {
  change([number](Tables& t) { t.removeSession(number); });
}

bool Engine::setStation(uint64_t mac, StationKind kind, int32_t session, Failure* failure) {
  const bool known = tables_.station(mac) != nullptr;
  if (!known && tables_.stationCount() >= limits::kStations) {
    *failure = {"internal", "the station table is full"};
    return false;
  }
  if (kind == StationKind::kSession && tables_.session(session) == nullptr) {
    *failure = {"internal", "no session " + std::to_string(session)};
    return false;
  }
  auto used = std::make_shared<LastUse>();
  used->set(coarseMs());
  change([mac, kind, session, used](Tables& t) { t.setStation(mac, kind, session, used); });
  return true;
}

void Engine::removeStation(uint64_t mac) {
  change([mac](Tables& t) { t.removeStation(mac); });
}

int64_t Engine::stationIdleMs(uint64_t mac) {
  const Station* station = tables_.station(mac);
  return station == nullptr ? -1 : std::max<int64_t>(0, coarseMs() - station->used->get());
}

bool Engine::setRelay(const NodeId& destination, int32_t session, Failure* failure) {
  if (tables_.session(session) == nullptr ||
      (tables_.relay(destination) == nullptr && tables_.relayCount() >= limits::kRelays)) {
    *failure = {"internal", "relay over session " + std::to_string(session) +
                                " cannot be set: no such session, or the table is full"};
    return false;
  }
  change([destination, session](Tables& t) { t.setRelay(destination, session); });
  return true;
}

void Engine::removeRelay(const NodeId& destination) {
  change([destination](Tables& t) { t.removeRelay(destination); });
}

bool Engine::sendFrame(int32_t number, uint8_t type, Piece bytes, const VnetHeader& offload) {
  SessionEntry* to = tables_.session(number);
  if (to == nullptr) return false;
  script_->setNow(coarseMs());
  if (type != kEthernet) {
    const uint8_t undone = offload.flags & kVnetNeedsChecksum ? kChecksumUndone : 0;
    const bool sent =
        offload.gsoType == kGsoNone && script_->send(*to, type | undone, &bytes, 1);
    return script_->flush() && sent;
  }
  VnetHeader vnet = offload;
  std::vector<uint8_t> copy(bytes.bytes, bytes.bytes + bytes.length);
  Segmenter segments;
  if (!resolveOffload(copy.data(), copy.size(), &vnet) ||
      !segments.begin(copy.data(), copy.size(), vnet)) {
    counters_[2].dropped.add();
    return false;
  }
  if (segments.largest() > to->maxFrameBytes) {
    to->session->counters[kLaneScript - 1].tooBig.add();
    return false;
  }
  const bool sent = script_->sendEthernet(*to, segments);
  return script_->flush() && sent;
}

bool Engine::sendEnvelope(int32_t number, const uint8_t* ids, uint8_t ttl, Piece bytes) {
  SessionEntry* via = tables_.session(number);
  if (via == nullptr || via->carrier != via) return false;
  script_->setNow(coarseMs());
  const bool sent = script_->sendEnvelope(*via, ids, ttl, bytes);
  return script_->flush() && sent;
}

bool resolveOffload(uint8_t* frame, size_t length, VnetHeader* vnet) {
  if (!(vnet->flags & kVnetNeedsChecksum) || vnet->checksumStart != 0) return true;
  Layers layers;
  if (vnet->gsoType != kGsoNone || !parseLayers(frame, length, &layers)) return false;
  setPseudoChecksum(frame, layers);
  vnet->checksumStart = static_cast<uint16_t>(layers.transport);
  vnet->checksumOffset = static_cast<uint16_t>(layers.checksumOffset());
  return true;
}

bool Engine::deliverFrame(Piece bytes, const VnetHeader& offload) {
  VnetHeader vnet = offload;
  std::vector<uint8_t> copy(bytes.bytes, bytes.bytes + bytes.length);
  if (copy.size() < kEthernetBytes || !resolveOffload(copy.data(), copy.size(), &vnet)) {
    counters_[2].dropped.add();
    return false;
  }
  iovec pieces[2] = {{}, {copy.data(), copy.size()}};
  return tap_.write(vnet, pieces, 2, 1, &counters_[2]);
}

void Engine::counters(double* out) const {
  constexpr size_t count = sizeof(CounterList) / sizeof(CounterList[0]);
  for (size_t i = 0; i < count; i++) {
    uint64_t sum = 0;
    for (const EngineCounters& c : counters_) sum += (c.*CounterList[i]).get();
    out[i] = static_cast<double>(sum);
  }
}

bool Engine::sessionCounters(int32_t number, double* out) {
  const SessionEntry* entry = tables_.session(number);
  if (entry == nullptr) return false;
  const SessionCounters(&all)[kWriters] = entry->session->counters;
  constexpr size_t count = sizeof(SessionCounterList) / sizeof(SessionCounterList[0]);
  for (size_t i = 0; i < count; i++) {
    uint64_t sum = 0;
    for (const SessionCounters& c : all) sum += (c.*SessionCounterList[i]).get();
    out[i] = static_cast<double>(sum);
  }
  int64_t sent = 0, received = 0;
  for (const SessionCounters& c : all) {
    sent = std::max(sent, c.sentAt.get());
    received = std::max(received, c.receivedAt.get());
  }
  const int64_t now = coarseMs();
  out[count] = sent == 0 ? -1 : static_cast<double>(std::max<int64_t>(0, now - sent));
  out[count + 1] = received == 0 ? -1 : static_cast<double>(std::max<int64_t>(0, now - received));
  return true;
}

}  // namespace evio
