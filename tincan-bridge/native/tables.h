/**
 * Sessions, stations, relays and sockets as one thread sees them. Each thread (outbound, inbound,
 * script) has its own copy, changed by the same commands in the same order; what all share (keys of
 * a lane, counters, times of use) hangs on shared pointers. Holds no policy.
 */
#pragma once
#include <memory>
#include <unordered_map>
#include <vector>

#include "records.h"
#include "udp.h"

namespace evio {

/** Shared by all threads; each lane's sealer by its writer only, the opener by inbound only. */
struct Session {
  int32_t number = 0;
  NodeId peer{};
  Suite suite = Suite::kAes128Gcm;
  Sealer sealers[kWriters];
  Opener opener;
  SessionCounters counters[kWriters];
};

enum class PathKind : uint8_t { kNone = 0, kUdp = 1, kTurn = 2, kRing = 3 };

struct Path {
  PathKind kind = PathKind::kNone;
  int32_t socket = 0;
  Address to;
  uint16_t channel = 0;
  int32_t via = 0;
  uint8_t ttl = 0;
};

struct SessionEntry {
  std::shared_ptr<Session> session;
  Path path;
  size_t maxFrameBytes = 0;
  // Found anew after each command: null when the path leads nowhere.
  std::shared_ptr<Socket> socket;
  SessionEntry* via = nullptr;
  /** The entry whose records are datagrams: itself, or the next hop; null: no path. */
  SessionEntry* carrier = nullptr;
};

enum class StationKind : uint8_t { kSession = 0, kLocal = 1, kDrop = 2 };

struct Station {
  StationKind kind = StationKind::kDrop;
  SessionEntry* session = nullptr;
  std::shared_ptr<LastUse> used;
};

struct SocketEntry {
  std::shared_ptr<Socket> socket;
  /** Sessions whose records may arrive on it; the last to succeed first. */
  std::vector<SessionEntry*> sessions;
};

/** Six bytes as a number, and a hash that spreads MACs that differ only at the end. */
inline uint64_t macKey(const uint8_t* mac) { return get48(mac); }
struct MacHash {
  size_t operator()(uint64_t key) const {
    return static_cast<size_t>((key * 0x9e3779b97f4a7c15u) >> 16);
  }
};
struct NodeIdHash {
  size_t operator()(const NodeId& id) const {  // ids are uniform, but a peer chooses its own
    uint64_t a, b;
    memcpy(&a, id.data(), 8);
    memcpy(&b, id.data() + 8, 8);
    return static_cast<size_t>((a ^ (b * 0x9e3779b97f4a7c15u)) >> 8);
  }
};

class Tables {
 public:
  void addSocket(const std::shared_ptr<Socket>& socket);
  void removeSocket(int32_t number);
  void addSession(const std::shared_ptr<Session>& session);
  void setPath(int32_t session, const Path& path, const std::vector<int32_t>& sockets,
               size_t maxFrameBytes);
  void replaceSession(int32_t from, int32_t to);
  void removeSession(int32_t number);
  void setStation(uint64_t mac, StationKind kind, int32_t session,
                  const std::shared_ptr<LastUse>& used);
  void removeStation(uint64_t mac) { stations_.erase(mac); }
  void setRelay(const NodeId& destination, int32_t session);
  void removeRelay(const NodeId& destination) { relays_.erase(destination); }

  SessionEntry* session(int32_t number);
  SocketEntry* socket(int32_t number);
  Station* station(uint64_t mac);
  SessionEntry* relay(const NodeId& destination);
  /** Sessions with that peer, newest first; null when there is none. */
  std::vector<SessionEntry*>* sessionsWith(const NodeId& peer);

  size_t stationCount() const { return stations_.size(); }
  size_t relayCount() const { return relays_.size(); }
  size_t sessionCount() const { return sessions_.size(); }

 private:
  void relink();

  std::unordered_map<int32_t, SessionEntry> sessions_;
  std::unordered_map<int32_t, SocketEntry> sockets_;
  std::unordered_map<uint64_t, Station, MacHash> stations_;
  std::unordered_map<NodeId, SessionEntry*, NodeIdHash> relays_;
  std::unordered_map<NodeId, std::vector<SessionEntry*>, NodeIdHash> peers_;
};

}  // namespace evio
