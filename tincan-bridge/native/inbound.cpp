/** From a datagram to a frame: classify (RFC 7983), open, check the source, deliver or send on. */
#include "inbound.h"

#include <errno.h>
#include <netinet/udp.h>
#include <sys/epoll.h>
#include <unistd.h>

namespace evio {

// Two sets of buffers in turn, so that a run of frames may go on from one set into the next.
constexpr size_t kSetBytes = limits::kReceiveBatch * limits::kReceiveBytes;

Inbound::Inbound(const Tap& tap, const NodeId& self, Upcalls* upcalls, EngineCounters* counters)
    : self_(self),
      upcalls_(upcalls),
      counters_(counters),
      coalescer_(tap, counters),
      transmit_(kLaneInbound, self, counters),
      buffers_(new uint8_t[2 * kSetBytes]) {}

Inbound::~Inbound() {
  if (epoll_ >= 0) close(epoll_);
}

bool Inbound::open() {
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = 0;  // socket numbers begin at 1
  return epoll_ >= 0 && commands.open() &&
         epoll_ctl(epoll_, EPOLL_CTL_ADD, commands.fd(), &event) == 0;
}

void Inbound::watch(const std::shared_ptr<Socket>& socket) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = static_cast<uint32_t>(socket->number);
  epoll_ctl(epoll_, EPOLL_CTL_ADD, socket->fd, &event);
}

void Inbound::unwatch(const std::shared_ptr<Socket>& socket) {
  epoll_ctl(epoll_, EPOLL_CTL_DEL, socket->fd, nullptr);
}

void Inbound::run() {
  epoll_event events[limits::kEpollEvents];
  while (!commands.stopped()) {
    const int count = epoll_wait(epoll_, events, limits::kEpollEvents, -1);
    if (count < 0 && errno != EINTR) return;
    now_ = coarseMs();
    transmit_.setNow(now_);
    // First: what JavaScript said before a datagram was sent holds for that datagram.
    if (commands.waiting()) commands.apply(&tables_);
    for (int i = 0; i < count; i++) {
      const int32_t number = static_cast<int32_t>(events[i].data.u64);
      SocketEntry* socket = number == 0 ? nullptr : tables_.socket(number);
      if (socket == nullptr) continue;
      int turn = 0;
      while (receive(*socket) && ++turn < limits::kReceiveTurns && !commands.waiting()) {
      }
    }
    coalescer_.flush();
    transmit_.flush();
  }
}

static size_t segmentSize(msghdr* header, size_t length) {
  for (cmsghdr* option = CMSG_FIRSTHDR(header); option != nullptr;
       option = CMSG_NXTHDR(header, option)) {
    if (option->cmsg_level != IPPROTO_UDP || option->cmsg_type != UDP_GRO) continue;
    int size = 0;
    memcpy(&size, CMSG_DATA(option), sizeof size);
    if (size > 0) return static_cast<size_t>(size);
  }
  return length;
}

/** True when more may be waiting. */
bool Inbound::receive(SocketEntry& socket) {
  mmsghdr headers[limits::kReceiveBatch] = {};
  iovec bytes[limits::kReceiveBatch];
  Address from[limits::kReceiveBatch];
  alignas(cmsghdr) uint8_t control[limits::kReceiveBatch][CMSG_SPACE(sizeof(int)) + 64];
  uint8_t* buffers = buffers_.get() + set_ * kSetBytes;
  set_ ^= 1;
  for (size_t i = 0; i < limits::kReceiveBatch; i++) {
    bytes[i] = {buffers + i * limits::kReceiveBytes, limits::kReceiveBytes};
    msghdr& header = headers[i].msg_hdr;
    header.msg_iov = &bytes[i];
    header.msg_iovlen = 1;
    header.msg_name = &from[i].any;
    header.msg_namelen = sizeof from[i].v6;
    header.msg_control = control[i];
    header.msg_controllen = sizeof control[i];
  }
  if (coalescer_.beganIn(buffers, buffers + kSetBytes)) coalescer_.flush();
  const int count =
      recvmmsg(socket.socket->fd, headers, limits::kReceiveBatch, MSG_DONTWAIT, nullptr);
  for (int i = 0; i < count; i++) {
    const size_t length = headers[i].msg_len;
    from[i].length = headers[i].msg_hdr.msg_namelen;
    const size_t step = segmentSize(&headers[i].msg_hdr, length);
    uint8_t* datagrams = buffers + static_cast<size_t>(i) * limits::kReceiveBytes;
    for (size_t at = 0; at < length; at += step)
      handleDatagram(socket, from[i], datagrams + at, std::min(step, length - at));
  }
  return count == static_cast<int>(limits::kReceiveBatch);
}

void Inbound::handleInjected(Tables& tables, int32_t socket, const Address& from,
                             std::vector<uint8_t>* bytes) {
  SocketEntry* entry = tables.socket(socket);
  if (entry == nullptr) return;
  now_ = coarseMs();
  handleDatagram(*entry, from, bytes->data(), bytes->size());
  coalescer_.flush();  // the bytes end with the command
  transmit_.flush();
}

static bool isChannelData(const uint8_t* bytes, size_t length) {
  return length > kChannelHeaderBytes && bytes[0] >= 64 && bytes[0] <= 79 &&
         get16(bytes + 2) <= length - kChannelHeaderBytes;
}

void Inbound::handleDatagram(SocketEntry& socket, const Address& from, uint8_t* bytes,
                             size_t length) {
  uint8_t* inner = bytes;
  size_t innerLength = length;
  if (isChannelData(bytes, length)) {
    inner = bytes + kChannelHeaderBytes;
    innerLength = get16(bytes + 2);
  }
  if (handleRecords(socket, inner, innerLength)) return;
  upcalls_->datagram(socket.socket->number, from, bytes, length, counters_);
}

/** False when it does not begin with an application-data record of a later epoch than 0. */
bool Inbound::handleRecords(SocketEntry& socket, uint8_t* bytes, size_t length) {
  if (length < kRecordHeaderBytes || bytes[0] != kApplicationData ||
      get16(bytes + 1) != kDtls12 || get16(bytes + 3) == 0)
    return false;
  // RFC 6347 section 4.1.1: a datagram may hold several records.
  while (length > 0) {
    const size_t record =
        length < kRecordHeaderBytes ? length + 1 : kRecordHeaderBytes + get16(bytes + 11);
    if (record > length || bytes[0] != kApplicationData || get16(bytes + 1) != kDtls12 ||
        get16(bytes + 3) != 1) {
      counters_->unopened.add();
      return true;
    }
    handleRecord(socket.sessions, bytes, record, false);
    bytes += record;
    length -= record;
  }
  return true;
}

void Inbound::handleRecord(std::vector<SessionEntry*>& sessions, uint8_t* record, size_t length,
                           bool nested) {
  const size_t count = sessions.size();
  for (size_t i = 0; i < count; i++) {
    SessionEntry* entry = sessions[i];
    // A failed try spoils the bytes for the next one.
    const bool retry = i + 1 < count;
    if (retry) memcpy(scratch_, record, length);
    uint8_t* text = nullptr;
    size_t size = 0;
    const Opened opened = entry->session->opener.open(record, length, &text, &size);
    if (opened == Opened::kForged) {
      if (retry) memcpy(record, scratch_, length);
      continue;
    }
    if (i > 0) std::swap(sessions[0], sessions[i]);
    SessionCounters& counters = countersOf(*entry);
    if (opened == Opened::kReplayed) {
      counters.replayed.add();
      return;
    }
    counters.receivedFrames.add();
    counters.receivedBytes.add(size);
    counters.receivedAt.set(now_);
    handlePayload(*entry, text, size, nested);
    return;
  }
  counters_->unopened.add();
  if (count > 0) countersOf(*sessions[0]).forged.add();
}

void Inbound::handlePayload(SessionEntry& session, uint8_t* bytes, size_t length, bool nested) {
  if (length == 0) return counters_->dropped.add();
  const uint8_t first = bytes[0];
  const bool undone = (first & kChecksumUndone) != 0;
  const int32_t number = session.session->number;
  switch (first & ~kChecksumUndone) {  // the bits between are for later versions: refused
    case kEthernet:
      countersOf(session).receivedPayloadBytes.add(length - 1);
      return handleFrame(session, bytes + 1, length - 1, undone);
    case kFlood:
      return upcalls_->message(number, kFlood, undone, bytes + 1, length - 1, counters_);
    case kControl:
      return upcalls_->message(number, kControl, undone, bytes + 1, length - 1, counters_);
    case kEnvelope:
      if (nested) break;  // an envelope in an envelope could loop for ever
      return handleEnvelope(session, bytes + 1, length - 1);
    default:
      break;
  }
  counters_->dropped.add();
}

void Inbound::handleFrame(SessionEntry& session, uint8_t* frame, size_t length,
                          bool checksumUndone) {
  if (length < kEthernetBytes || (frame[6] & 1)) return counters_->dropped.add();
  Station* source = tables_.station(macKey(frame + 6));
  // Any association with the node that the station is behind: keys are replaced under way.
  if (source == nullptr ||
      (source->kind == StationKind::kSession && source->session != &session &&
       source->session->session->peer != session.session->peer))
    return upcalls_->frameIn(FrameReason::kSource, session.session->number, checksumUndone, frame,
                             length, counters_);
  if (source->kind == StationKind::kLocal) {  // not a use of it: a peer must not keep it alive
    counters_->spoofed.add();
    return;
  }
  source->used->set(now_);
  if (source->kind == StationKind::kDrop) return counters_->dropped.add();
  if (resolvesAddress(frame, length))
    upcalls_->frameIn(FrameReason::kResolution, session.session->number, checksumUndone, frame,
                      length, counters_);
  coalescer_.add(frame, length, checksumUndone);
}

void Inbound::handleEnvelope(SessionEntry& session, uint8_t* bytes, size_t length) {
  if (length <= kEnvelopeBytes) return counters_->dropped.add();
  const uint8_t* ids = bytes;
  const uint8_t ttl = bytes[2 * kNodeIdBytes];
  uint8_t* inner = bytes + kEnvelopeBytes;
  const size_t innerLength = length - kEnvelopeBytes;
  NodeId source, destination;
  memcpy(source.data(), ids, kNodeIdBytes);
  memcpy(destination.data(), ids + kNodeIdBytes, kNodeIdBytes);
  const int32_t number = session.session->number;
  if (destination == self_) {
    std::vector<SessionEntry*>* sessions = tables_.sessionsWith(source);
    if (sessions != nullptr && innerLength >= kRecordHeaderBytes &&
        inner[0] == kApplicationData && get16(inner + 1) == kDtls12 && get16(inner + 3) == 1 &&
        kRecordHeaderBytes + get16(inner + 11) == innerLength)
      return handleRecord(*sessions, inner, innerLength, true);
    return upcalls_->envelope(number, ids, ttl, inner, innerLength, counters_);
  }
  SessionEntry* next = tables_.relay(destination);
  // Never back to whom it came from: the ways have changed, and JavaScript finds another.
  if (next == nullptr || next->carrier != next ||
      next->session->peer == session.session->peer)
    return upcalls_->envelope(number, ids, ttl, inner, innerLength, counters_);
  if (ttl <= 1) return counters_->ttlExpired.add();
  if (transmit_.sendEnvelope(*next, ids, static_cast<uint8_t>(ttl - 1), {inner, innerLength}))
    counters_->relayed.add();
}

}  // namespace evio
