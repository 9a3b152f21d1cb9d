/**
 * Fuzz target: everything a datagram can set off on the inbound thread, with two sessions whose keys
 * the fuzzer may use: raw bytes, ChannelData, sealed payloads, envelopes with records inside.
 */
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <functional>
#include <mutex>
#include <thread>

#define private public  // the thread's tables, without its thread
#include "inbound.h"
#undef private
#include "input.h"
#include "walk.h"

using namespace evio;

constexpr uint8_t kKey[16] = {1}, kIv[4] = {2};
constexpr uint8_t kMacs[3][6] = {{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}, {2, 0, 0, 0, 0, 3}};

static NodeId nodeOf(uint8_t n) {
  NodeId id{};
  id[0] = n;
  return id;
}

struct World {
  NodeId self = nodeOf(1);
  EngineCounters counters;
  Upcalls upcalls{[] {}};
  Tap tap;
  std::unique_ptr<Inbound> inbound;
  Sealer peers[2];
  World() {
    tap.fd_ = open("/dev/null", O_WRONLY | O_CLOEXEC);
    tap.udpSegmentation_ = true;
    inbound = std::make_unique<Inbound>(tap, self, &upcalls, &counters);
    // Sends go to a discarding address: a socket that is bound and not read.
    uint16_t port = 0;
    Failure failure;
    const auto socket = Socket::open(1, 4, "127.0.0.1", 0, &port, &failure);
    check(socket != nullptr);
    Tables& tables = inbound->tables_;
    tables.addSocket(socket);
    for (int32_t i = 1; i <= 2; i++) {
      auto session = std::make_shared<Session>();
      session->number = i;
      session->peer = nodeOf(static_cast<uint8_t>(i + 1));
      check(session->opener.init(session->suite, kKey, kIv));
      for (size_t lane = 0; lane < kWriters; lane++)
        check(session->sealers[lane].init(session->suite, static_cast<Lane>(lane + 1), kKey, kIv));
      check(peers[i - 1].init(session->suite, kLaneOutbound, kKey, kIv));
      tables.addSession(session);
      Path path;
      path.kind = PathKind::kUdp;
      path.socket = 1;
      check(parseAddress(4, "127.0.0.1", port, &path.to));
      tables.setPath(i, path, {1}, 1400);
    }
    const auto used = std::make_shared<LastUse>();
    tables.setStation(macKey(kMacs[0]), StationKind::kSession, 1, used);
    tables.setStation(macKey(kMacs[1]), StationKind::kSession, 2, used);
    tables.setStation(macKey(kMacs[2]), StationKind::kLocal, 0, used);
    tables.setRelay(nodeOf(3), 2);
  }
  std::vector<uint8_t> seal(size_t peer, const std::vector<uint8_t>& text) {
    std::vector<uint8_t> record(recordOverhead(Suite::kAes128Gcm) + text.size());
    std::copy(text.begin(), text.end(), record.begin() + static_cast<long>(recordPrefix(Suite::kAes128Gcm)));
    check(peers[peer].seal(record.data(), text.size()));
    return record;
  }
};

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t length) {
  World world;
  Input input(bytes, length);
  Address from;
  check(parseAddress(4, "127.0.0.1", 9, &from));
  std::vector<uint8_t> datagram, control, frames;
  while (!input.empty()) {
    const uint8_t kind = input.byte();
    std::vector<uint8_t> body = input.take(input.two() % 2048);
    const size_t peer = kind >> 7;
    if (kind & 1) {
      if ((kind & 2) && body.size() >= 13) std::copy_n(kMacs[(kind >> 2) % 3], 6, body.begin() + 7);
      if (kind & 16) {  // an envelope; its record is sealed by the peer
        std::vector<uint8_t> inner = kind & 32 ? world.seal(peer, body) : body;
        std::vector<uint8_t> text = {kEnvelope};
        const NodeId ids[2] = {nodeOf(static_cast<uint8_t>(2 + (kind >> 6 & 1))),
                               nodeOf(static_cast<uint8_t>(kind & 64 ? 3 : 1))};
        for (const NodeId& id : ids) text.insert(text.end(), id.begin(), id.end());
        text.push_back(kind & 8 ? 1 : 5);
        text.insert(text.end(), inner.begin(), inner.end());
        body = text;
      }
      body = world.seal(peer, body);
    }
    if (kind & 4) {  // ChannelData
      const std::vector<uint8_t> head = {0x40, 1, static_cast<uint8_t>(body.size() >> 8),
                                         static_cast<uint8_t>(body.size())};
      body.insert(body.begin(), head.begin(), head.end());
    }
    datagram.insert(datagram.end(), body.begin(), body.end());
    if ((kind & 8) && datagram.size() < 32768) continue;  // several records in one datagram
    datagram.shrink_to_fit();
    world.inbound->handleInjected(world.inbound->tables_, 1, from, &datagram);
    datagram.clear();
  }
  world.upcalls.take(&control, &frames);
  const size_t items = walk(control, limits::kDatagramUpcalls, limits::kDatagramUpcallBytes) +
                       walk(frames, limits::kFrameUpcalls, limits::kFrameUpcallBytes);
  check(items == world.counters.upcalls.get());
  return 0;
}
