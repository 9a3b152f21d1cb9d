/**
 * Layout of a datagram in the send buffer, built in place from the inside out:
 *   direct  [channel header] record(type, payload)
 *   ring    [channel header] record(envelope, ids, ttl, record(type, payload))
 */
#include "transmit.h"

#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>

namespace evio {

static size_t channelBytes(const SessionEntry& carrier) {
  return carrier.path.kind == PathKind::kTurn ? kChannelHeaderBytes : 0;
}

/** Bytes of the datagram before the payload's type byte. */
static size_t prefixOf(const SessionEntry& to) {
  size_t prefix = channelBytes(*to.carrier) + recordPrefix(to.session->suite);
  if (to.via != nullptr) prefix += recordPrefix(to.via->session->suite) + 1 + kEnvelopeBytes;
  return prefix;
}

/** Where the payload (type byte first) goes; null when it cannot be sent. */
uint8_t* Transmitter::begin(SessionEntry& to, size_t payloadLength) {
  SessionCounters& counters = countersOf(to);
  if (to.carrier == nullptr) {
    counters.noPath.add();
    return nullptr;
  }
  size_t plaintext = payloadLength;
  if (to.via != nullptr)
    plaintext += recordOverhead(to.session->suite) + 1 + kEnvelopeBytes;
  if (plaintext > limits::kPlaintextBytes) {
    counters.tooBig.add();
    return nullptr;
  }
  return buffer_ + used_ + prefixOf(to);
}

/** Seals what `begin` gave room for and queues the datagram. */
bool Transmitter::end(SessionEntry& to, size_t payloadLength) {
  SessionEntry& carrier = *to.carrier;
  uint8_t* datagram = buffer_ + used_;
  uint8_t* outer = datagram + channelBytes(carrier);
  size_t length = payloadLength;
  if (to.via != nullptr) {
    uint8_t* envelope = outer + recordPrefix(to.via->session->suite);
    uint8_t* inner = envelope + 1 + kEnvelopeBytes;
    if (!to.session->sealers[lane_ - 1].seal(inner, payloadLength)) {
      countersOf(to).sendErrors.add();
      counters_->sendErrors.add();
      return false;
    }
    envelope[0] = kEnvelope;
    memcpy(envelope + 1, self_.data(), kNodeIdBytes);
    memcpy(envelope + 1 + kNodeIdBytes, to.session->peer.data(), kNodeIdBytes);
    envelope[2 * kNodeIdBytes + 1] = to.path.ttl;
    length = 1 + kEnvelopeBytes + recordOverhead(to.session->suite) + payloadLength;
    SessionCounters& via = countersOf(*to.via);
    via.sentFrames.add();
    via.sentBytes.add(length);
    via.sentAt.set(now_);
  }
  if (!carrier.session->sealers[lane_ - 1].seal(outer, length)) {
    countersOf(to).sendErrors.add();
    counters_->sendErrors.add();
    return false;
  }
  const size_t record = length + recordOverhead(carrier.session->suite);
  if (carrier.path.kind == PathKind::kTurn) {
    put16(datagram, carrier.path.channel);
    put16(datagram + 2, static_cast<uint16_t>(record));
  }
  SessionCounters& counters = countersOf(to);
  counters.sentFrames.add();
  counters.sentBytes.add(payloadLength);
  counters.sentAt.set(now_);
  return append(carrier, channelBytes(carrier) + record);
}

/** Takes `length` bytes at the end of the buffer as one more datagram. */
bool Transmitter::append(SessionEntry& carrier, size_t length) {
  Message* last = messages_ == 0 ? nullptr : &message_[messages_ - 1];
  const bool joins = last != nullptr && last->carrier == &carrier &&
                     last->segments < limits::kSegmentsPerSend && length <= last->segmentSize &&
                     last->length == last->segmentSize * last->segments &&
                     last->length + length <= limits::kBytesPerSend &&
                     carrier.socket->segmentation.load(std::memory_order_relaxed);
  if (joins) {
    last->length += length;
    last->segments++;
  } else {
    message_[messages_++] = {&carrier, used_, length, length, 1};
  }
  used_ += length;
  // Whoever goes on would have to begin a new message: send while the other threads can work.
  if (used_ >= limits::kBytesPerSend - length || messages_ == limits::kMessagesPerSend)
    sendMessages();
  return true;
}

bool Transmitter::send(SessionEntry& to, uint8_t type, const Piece* pieces, size_t count) {
  size_t length = 1;
  for (size_t i = 0; i < count; i++) length += pieces[i].length;
  uint8_t* payload = begin(to, length);
  if (payload == nullptr) return false;
  *payload++ = type;
  for (size_t i = 0; i < count; i++) {
    memcpy(payload, pieces[i].bytes, pieces[i].length);
    payload += pieces[i].length;
  }
  return end(to, length);
}

bool Transmitter::sendEthernet(SessionEntry& to, Segmenter& segments) {
  bool all = true;
  Segment segment;
  while (segments.next(&segment)) {
    const size_t length = 1 + segment.length();
    uint8_t* payload = begin(to, length);
    if (payload == nullptr) {
      all = false;
      continue;
    }
    payload[0] = segment.undone ? kEthernet | kChecksumUndone : kEthernet;
    memcpy(payload + 1, segment.header, segment.headerLength);
    if (segment.payloadLength > 0)
      memcpy(payload + 1 + segment.headerLength, segment.payload, segment.payloadLength);
    if (segment.complete)
      completeChecksum(payload + 1, segment.length(), segment.checksumStart,
                       segment.checksumOffset);
    if (end(to, length))
      countersOf(to).sentPayloadBytes.add(length - 1);
    else
      all = false;
  }
  return all;
}

bool Transmitter::sendEnvelope(SessionEntry& via, const uint8_t* ids, uint8_t ttl,
                               Piece datagram) {
  const Piece pieces[3] = {{ids, 2 * kNodeIdBytes}, {&ttl, 1}, datagram};
  return send(via, kEnvelope, pieces, 3);
}

bool Transmitter::flush() {
  sendMessages();
  const bool sent = !refused_;
  refused_ = false;
  waitedMs_ = 0;
  return sent;
}

static void setSegmentSize(msghdr* header, uint8_t* control, size_t segmentSize) {
  header->msg_control = control;
  header->msg_controllen = CMSG_SPACE(sizeof(uint16_t));
  cmsghdr* option = CMSG_FIRSTHDR(header);
  option->cmsg_level = IPPROTO_UDP;
  option->cmsg_type = UDP_SEGMENT;
  option->cmsg_len = CMSG_LEN(sizeof(uint16_t));
  const uint16_t size = static_cast<uint16_t>(segmentSize);
  memcpy(CMSG_DATA(option), &size, sizeof size);
}

/** Messages of one socket that follow each other leave by one system call. */
void Transmitter::sendMessages() {
  mmsghdr headers[limits::kMessagesPerSend];
  iovec bytes[limits::kMessagesPerSend];
  alignas(cmsghdr) uint8_t control[limits::kMessagesPerSend][CMSG_SPACE(sizeof(uint16_t))];
  size_t at = 0;
  while (at < messages_) {
    const Socket* socket = message_[at].carrier->socket.get();
    size_t count = 0;
    for (; at + count < messages_; count++) {
      const Message& message = message_[at + count];
      if (message.carrier->socket.get() != socket) break;
      headers[count] = {};
      bytes[count] = {buffer_ + message.offset, message.length};
      msghdr& header = headers[count].msg_hdr;
      header.msg_iov = &bytes[count];
      header.msg_iovlen = 1;
      header.msg_name = &message.carrier->path.to.any;
      header.msg_namelen = message.carrier->path.to.length;
      if (message.segments > 1) setSegmentSize(&header, control[count], message.segmentSize);
    }
    const int sent = sendmmsg(socket->fd, headers, static_cast<unsigned>(count), 0);
    if (sent > 0) {
      at += static_cast<size_t>(sent);
      continue;
    }
    sendOne(message_[at]);  // the first one was refused: find out why, then go on behind it
    at++;
  }
  messages_ = 0;
  used_ = 0;
}

bool Transmitter::waitWritable(int fd) {
  if (waitedMs_ >= limits::kSendWaitMs) return false;
  waitedMs_++;
  pollfd waiting{fd, POLLOUT, 0};
  return poll(&waiting, 1, 1) > 0;
}

/** True when it was sent at last; each failure is counted, none ends anything. */
bool Transmitter::sendOne(const Message& message) {
  const Socket& socket = *message.carrier->socket;
  for (;;) {
    iovec bytes{buffer_ + message.offset, message.length};
    alignas(cmsghdr) uint8_t control[CMSG_SPACE(sizeof(uint16_t))];
    msghdr header{};
    header.msg_iov = &bytes;
    header.msg_iovlen = 1;
    header.msg_name = &message.carrier->path.to.any;
    header.msg_namelen = message.carrier->path.to.length;
    if (message.segments > 1) setSegmentSize(&header, control, message.segmentSize);
    if (sendmsg(socket.fd, &header, 0) >= 0) return true;
    const int error = errno;
    if (error == EINTR) continue;
    if (error == EAGAIN && waitWritable(socket.fd)) continue;
    if (message.segments > 1 && (error == EIO || error == EINVAL || error == EMSGSIZE ||
                                 error == ENOPROTOOPT || error == EOPNOTSUPP))
      return sendSegments(message);
    failed(message, message.segments);
    return false;
  }
}

/** UDP_SEGMENT was refused: one by one. */
bool Transmitter::sendSegments(const Message& message) {
  Socket& socket = *message.carrier->socket;
  const Address& to = message.carrier->path.to;
  bool any = false;
  for (size_t at = 0; at < message.length; at += message.segmentSize) {
    const size_t length = std::min(message.segmentSize, message.length - at);
    ssize_t sent = -1;
    do {
      sent = sendto(socket.fd, buffer_ + message.offset + at, length, 0, &to.any, to.length);
    } while (sent < 0 && (errno == EINTR || (errno == EAGAIN && waitWritable(socket.fd))));
    if (sent < 0) failed(message, 1);
    any = any || sent >= 0;
  }
  // Single datagrams pass where the joined ones did not: the device or kernel cannot segment.
  if (any) socket.segmentation.store(false, std::memory_order_relaxed);
  return any;
}

void Transmitter::failed(const Message& message, size_t segments) {
  refused_ = true;
  counters_->sendErrors.add(segments);
  countersOf(*message.carrier).sendErrors.add(segments);
}

}  // namespace evio
