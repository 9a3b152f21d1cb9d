/** Fuzz target: cutting a super-frame by facts that may lie. The segments' payloads are the frame's. */
#include "segmentation.h"

#include "input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t length) {
  using namespace evio;
  Input input(bytes, length);
  const std::vector<uint8_t> facts = input.take(sizeof(VnetHeader));
  VnetHeader vnet{};
  std::copy(facts.begin(), facts.end(), reinterpret_cast<uint8_t*>(&vnet));
  const std::vector<uint8_t> frame = input.rest();
  Segmenter segments;
  if (!segments.begin(frame.data(), frame.size(), vnet)) return 0;
  Segment segment;
  size_t count = 0, payload = 0, header = 0;
  while (segments.next(&segment)) {
    count++;
    check(segment.length() <= segments.largest() && segment.length() <= frame.size());
    std::vector<uint8_t> whole(segment.header, segment.header + segment.headerLength);
    if (segment.payloadLength > 0) {
      check(segment.payload >= frame.data());
      check(segment.payload == frame.data() + segment.headerLength + payload);
      whole.insert(whole.end(), segment.payload, segment.payload + segment.payloadLength);
    }
    payload += segment.payloadLength;
    header = segment.headerLength;
    check(!(segment.undone && segment.complete));
    if (segment.complete)
      completeChecksum(whole.data(), whole.size(), segment.checksumStart, segment.checksumOffset);
  }
  check(count == segments.count());
  check(header + payload == frame.size());
  return 0;
}
