/** Commands on one thread's tables. Pointers into the session map stay valid until erased. */
#include "tables.h"

#include <algorithm>

namespace evio {

template <typename Map, typename Key>
static typename Map::mapped_type* find(Map& map, const Key& key) {
  const auto found = map.find(key);
  return found == map.end() ? nullptr : &found->second;
}

template <typename T>
static void eraseValue(std::vector<T>& values, const T& value) {
  values.erase(std::remove(values.begin(), values.end(), value), values.end());
}

SessionEntry* Tables::session(int32_t number) { return find(sessions_, number); }
SocketEntry* Tables::socket(int32_t number) { return find(sockets_, number); }
Station* Tables::station(uint64_t mac) { return find(stations_, mac); }
SessionEntry* Tables::relay(const NodeId& destination) {
  SessionEntry** found = find(relays_, destination);
  return found == nullptr ? nullptr : *found;
}
std::vector<SessionEntry*>* Tables::sessionsWith(const NodeId& peer) { return find(peers_, peer); }

void Tables::addSocket(const std::shared_ptr<Socket>& socket) {
  sockets_[socket->number].socket = socket;
}

void Tables::removeSocket(int32_t number) {
  sockets_.erase(number);
  relink();
}

void Tables::addSession(const std::shared_ptr<Session>& session) {
  SessionEntry& entry = sessions_[session->number];
  entry.session = session;
  std::vector<SessionEntry*>& same = peers_[session->peer];
  same.insert(same.begin(), &entry);
}

void Tables::setPath(int32_t number, const Path& path, const std::vector<int32_t>& sockets,
                     size_t maxFrameBytes) {
  SessionEntry* entry = session(number);
  if (entry == nullptr) return;
  entry->path = path;
  entry->maxFrameBytes = maxFrameBytes;
  for (auto& [socketNumber, socketEntry] : sockets_) {
    const bool wanted =
        std::find(sockets.begin(), sockets.end(), socketNumber) != sockets.end();
    auto& list = socketEntry.sessions;
    const bool present = std::find(list.begin(), list.end(), entry) != list.end();
    if (wanted && !present) list.insert(list.begin(), entry);
    if (!wanted && present) eraseValue(list, entry);
  }
  relink();
}

/** One level of nesting: the next hop of a ring path must itself have a path of datagrams. */
void Tables::relink() {
  for (auto& [number, entry] : sessions_) {
    const Path& path = entry.path;
    const bool direct = path.kind == PathKind::kUdp || path.kind == PathKind::kTurn;
    SocketEntry* found = direct ? socket(path.socket) : nullptr;
    entry.socket = found == nullptr ? nullptr : found->socket;
    entry.carrier = entry.socket ? &entry : nullptr;
    entry.via = nullptr;
  }
  for (auto& [number, entry] : sessions_) {
    if (entry.path.kind != PathKind::kRing) continue;
    SessionEntry* via = session(entry.path.via);
    if (via == nullptr || via->carrier != via) continue;
    entry.via = via;
    entry.carrier = via;
  }
}

void Tables::replaceSession(int32_t from, int32_t to) {
  SessionEntry* old = session(from);
  SessionEntry* next = session(to);
  if (old == nullptr || next == nullptr) return;
  for (auto& [mac, station] : stations_)
    if (station.session == old) station.session = next;
  for (auto& [destination, relay] : relays_)
    if (relay == old) relay = next;
  for (auto& [number, entry] : sessions_)
    if (entry.path.kind == PathKind::kRing && entry.path.via == from) entry.path.via = to;
  relink();
}

template <typename Map, typename Predicate>
static void eraseIf(Map& map, Predicate matches) {
  for (auto it = map.begin(); it != map.end();) it = matches(it->second) ? map.erase(it) : ++it;
}

void Tables::removeSession(int32_t number) {
  SessionEntry* entry = session(number);
  if (entry == nullptr) return;
  eraseIf(stations_, [entry](const Station& s) { return s.session == entry; });
  eraseIf(relays_, [entry](SessionEntry* s) { return s == entry; });
  for (auto& [socketNumber, socketEntry] : sockets_) eraseValue(socketEntry.sessions, entry);
  const auto same = peers_.find(entry->session->peer);
  if (same != peers_.end()) {
    eraseValue(same->second, entry);
    if (same->second.empty()) peers_.erase(same);
  }
  sessions_.erase(number);
  relink();
}

void Tables::setStation(uint64_t mac, StationKind kind, int32_t number,
                        const std::shared_ptr<LastUse>& used) {
  stations_[mac] = {kind, kind == StationKind::kSession ? session(number) : nullptr, used};
}

void Tables::setRelay(const NodeId& destination, int32_t number) {
  relays_[destination] = session(number);
}

}  // namespace evio
