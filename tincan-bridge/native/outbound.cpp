/** What happens to a frame that was read from the TAP. */
#include "outbound.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

namespace evio {

void Outbound::run() {
  pollfd waiting[2] = {{tap_.fd(), POLLIN, 0}, {commands.fd(), POLLIN, 0}};
  while (!commands.stopped()) {
    if (poll(waiting, 2, -1) < 0 && errno != EINTR) return;
    now_ = coarseMs();
    transmit_.setNow(now_);
    if (waiting[0].revents != 0) {
      // A device that is down or gone reports an error for ever: wait for a command instead.
      if (!readTap() && (waiting[0].revents & POLLIN) == 0) waiting[0].fd = -1;
      transmit_.flush();
    }
    if (commands.waiting()) {
      commands.apply(&tables_);
      waiting[0].fd = tap_.fd();
    }
  }
}

/** False when the first read failed for good. */
bool Outbound::readTap() {
  for (int turn = 0; turn < limits::kTapTurns && !commands.waiting(); turn++) {
    const ssize_t got = read(tap_.fd(), buffer_, sizeof buffer_);
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    if (static_cast<size_t>(got) < sizeof(VnetHeader)) continue;
    VnetHeader vnet;
    memcpy(&vnet, buffer_, sizeof vnet);
    handle(vnet, buffer_ + sizeof vnet, static_cast<size_t>(got) - sizeof vnet);
  }
  return true;
}

void Outbound::handle(const VnetHeader& vnet, const uint8_t* frame, size_t length) {
  Segmenter segments;
  if (!segments.begin(frame, length, vnet)) {
    counters_->dropped.add();
    return;
  }
  counters_->tapReadFrames.add(segments.count());
  counters_->tapReadBytes.add(length);
  Station* source = tables_.station(macKey(frame + 6));
  if (source == nullptr || source->kind == StationKind::kSession)
    return up(FrameReason::kSource, 0, vnet, frame, length);
  source->used->set(now_);
  if (source->kind == StationKind::kDrop) return counters_->dropped.add();
  if (frame[0] & 1) return up(FrameReason::kGroup, 0, vnet, frame, length);
  Station* destination = tables_.station(macKey(frame));
  if (destination == nullptr)
    return up(FrameReason::kUnknownDestination, 0, vnet, frame, length);
  destination->used->set(now_);
  // A local destination is behind the TAP as the source is: the host side has delivered it.
  if (destination->session == nullptr) return counters_->dropped.add();
  SessionEntry& to = *destination->session;
  if (segments.largest() > to.maxFrameBytes) {
    to.session->counters[kLaneOutbound - 1].tooBig.add();
    return up(FrameReason::kTooBig, to.session->number, vnet, frame, length);
  }
  transmit_.sendEthernet(to, segments);
}

}  // namespace evio
