/** Fuzz target: reading a frame's layers. What is found lies inside the frame, in order. */
#include "frame.h"

#include "input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t length) {
  using namespace evio;
  std::vector<uint8_t> frame = Input(bytes, length).rest();
  size_t network = 0;
  uint16_t type = 0;
  if (networkHeader(frame.data(), frame.size(), &network, &type)) check(network <= frame.size());
  Layers layers;
  if (!parseLayers(frame.data(), frame.size(), &layers)) return 0;
  check(layers.network == network && layers.network < layers.transport);
  check(layers.transport < layers.payload && layers.payload <= layers.end);
  check(layers.end <= frame.size());
  check(layers.checksumOffset() + 2 <= layers.payload - layers.transport);
  setPseudoChecksum(frame.data(), layers);
  completeChecksum(frame.data(), layers.end, layers.transport, layers.checksumOffset());
  if (!layers.ipv6) setIpv4Checksum(frame.data() + layers.network, layers.transport - layers.network);
  return 0;
}
