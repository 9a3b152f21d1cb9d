/**
 * Fuzz target: joining frames. What is written to the TAP is at most what came in, every header's
 * facts are true of the frame, and cutting it again gives the payloads that came in, in order.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>

#define private public  // the TAP's descriptor is ours here
#include "coalescing.h"
#undef private
#include "input.h"
#include "segmentation.h"

using namespace evio;

static std::vector<uint8_t> payloadOf(const std::vector<uint8_t>& frame) {
  Layers layers;
  if (!parseLayers(frame.data(), frame.size(), &layers)) return frame;
  return {frame.begin() + static_cast<long>(layers.payload), frame.begin() + static_cast<long>(layers.end)};
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t length) {
  static int ends[2] = {-1, -1};
  if (ends[0] < 0) {
    check(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0);
    const int size = 8 << 20;
    setsockopt(ends[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
  }
  Input input(bytes, length);
  Tap tap;
  tap.fd_ = ends[0];
  tap.udpSegmentation_ = (input.byte() & 1) != 0;
  EngineCounters counters;
  Coalescer coalescer(tap, &counters);
  std::vector<std::vector<uint8_t>> frames;  // they stay until the flush
  std::vector<uint8_t> wanted, got;
  size_t total = 0;
  while (!input.empty() && frames.size() < 64 && total < 60000) {
    const uint8_t flags = input.byte();
    std::vector<uint8_t> frame = input.take(input.two() % 1600);
    // A continuation: the frame before with its number moved on, as a sender's batch has it.
    Layers layers;
    if ((flags & 2) && !frames.empty() &&
        parseLayers(frames.back().data(), frames.back().size(), &layers)) {
      frame = frames.back();
      if (layers.protocol == kProtocolTcp) {
        uint8_t* sequence = frame.data() + layers.transport + 4;
        put32(sequence, get32(sequence) + static_cast<uint32_t>(layers.end - layers.payload));
      }
      if (!layers.ipv6) {
        uint8_t* id = frame.data() + layers.network + 4;
        put16(id, static_cast<uint16_t>(get16(id) + 1));
      }
    }
    if (frame.size() < kEthernetBytes) continue;
    total += frame.size();
    frames.push_back(std::move(frame));
    std::vector<uint8_t>& kept = frames.back();
    const bool undone = (flags & 1) == 0;
    const std::vector<uint8_t> payload = undone ? payloadOf(kept) : kept;
    wanted.insert(wanted.end(), payload.begin(), payload.end());
    coalescer.add(kept.data(), kept.size(), undone);
  }
  coalescer.flush();
  std::vector<uint8_t> block(1 << 17);
  size_t written = 0;
  for (ssize_t n; (n = recv(ends[1], block.data(), block.size(), MSG_DONTWAIT)) > 0;) {
    check(static_cast<size_t>(n) >= sizeof(VnetHeader) + kEthernetBytes);
    VnetHeader vnet;
    memcpy(&vnet, block.data(), sizeof vnet);
    const std::vector<uint8_t> frame(block.begin() + sizeof vnet, block.begin() + n);
    written += frame.size();
    Segmenter segments;
    check(segments.begin(frame.data(), frame.size(), vnet));
    Segment segment;
    for (size_t i = 0; segments.next(&segment); i++) {
      std::vector<uint8_t> whole(segment.header, segment.header + segment.headerLength);
      if (segment.payloadLength > 0)
        whole.insert(whole.end(), segment.payload, segment.payload + segment.payloadLength);
      const std::vector<uint8_t> payload = vnet.flags != 0 ? payloadOf(whole) : whole;
      got.insert(got.end(), payload.begin(), payload.end());
    }
  }
  check(written <= total);
  check(counters.tapWriteErrors.get() == 0 && counters.tapWrittenFrames.get() == frames.size());
  check(got == wanted);
  tap.fd_ = -1;
  return 0;
}
