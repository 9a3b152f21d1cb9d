/** Fuzz target: packing upcalls. What is taken can be walked item by item and is within the limits. */
#include <arpa/inet.h>

#include "input.h"
#include "walk.h"

using namespace evio;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t length) {
  Input input(bytes, length);
  int woken = 0;
  Upcalls upcalls([&woken] { woken++; });
  EngineCounters counters;
  size_t pushed = 0;
  std::vector<uint8_t> control, frames;
  while (!input.empty()) {
    const uint8_t kind = input.byte();
    const size_t size = kind & 0x40 ? 65000 : input.byte();
    const std::vector<uint8_t> item(size, input.byte());
    switch (kind % 6) {
      case 0: upcalls.frameOut(FrameReason::kGroup, 1, undoneOffload(), item.data(), size, &counters); break;
      case 1: {
        const FrameReason reason = kind & 16 ? FrameReason::kResolution : FrameReason::kSource;
        upcalls.frameIn(reason, 2, (kind & 32) != 0, item.data(), size, &counters);
        break;
      }
      case 2:
        upcalls.message(3, kind & 32 ? kControl : kFlood, false, item.data(), size, &counters);
        break;
      case 3: {
        const uint8_t ids[2 * kNodeIdBytes] = {7};
        upcalls.envelope(4, ids, 9, item.data(), size, &counters);
        break;
      }
      case 4: {
        Address from;
        const bool v6 = (kind & 32) != 0;
        from.any.sa_family = v6 ? AF_INET6 : AF_INET;
        const std::vector<uint8_t> address = input.take(sizeof from.v6.sin6_addr);
        uint8_t* to = v6 ? reinterpret_cast<uint8_t*>(&from.v6.sin6_addr)
                         : reinterpret_cast<uint8_t*>(&from.v4.sin_addr);
        std::copy_n(address.begin(), std::min<size_t>(address.size(), v6 ? 16 : 4), to);
        if (v6) from.v6.sin6_scope_id = input.byte();
        upcalls.datagram(5, from, item.data(), size, &counters);
        break;
      }
      case 5:
        upcalls.take(&control, &frames);
        walk(control, limits::kDatagramUpcalls, limits::kDatagramUpcallBytes);
        walk(frames, limits::kFrameUpcalls, limits::kFrameUpcallBytes);
        continue;
    }
    pushed++;
  }
  const uint64_t dropped =
      counters.upcallsDroppedFrames.get() + counters.upcallsDroppedDatagrams.get();
  check(counters.upcalls.get() + dropped == pushed);
  upcalls.take(&control, &frames);
  walk(control, limits::kDatagramUpcalls, limits::kDatagramUpcallBytes);
  walk(frames, limits::kFrameUpcalls, limits::kFrameUpcallBytes);
  return 0;
}
