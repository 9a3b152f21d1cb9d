/** Fuzz target: the replay window against a set of all numbers ever seen. */
#include <memory>
#include <set>

#include "input.h"
#include "records.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t length) {
  using namespace evio;
  Input input(bytes, length);
  auto window = std::make_unique<ReplayWindow>();
  std::set<uint64_t> seen;
  uint64_t highest = 0;
  while (!input.empty()) {
    const uint8_t kind = input.byte();
    uint64_t number = 0;
    switch (kind % 5) {
      case 0: number = highest + input.byte(); break;
      case 1: number = highest + input.two(); break;
      case 2: number = highest - std::min<uint64_t>(highest, input.byte()); break;
      case 3: number = highest - std::min<uint64_t>(highest, input.two()); break;
      case 4: for (int i = 0; i < 3; i++) number = number << 16 | input.two(); break;
    }
    number &= kLaneCapacity;
    const bool accepted = window->accept(number);
    const bool isNew = seen.count(number) == 0;
    if (accepted) check(isNew);
    // Nothing new inside the window may be refused; older may, and far older must.
    if (isNew && (seen.empty() || number + kReplayWindow > highest)) check(accepted);
    if (!seen.empty() && number + kReplayWindow + 128 <= highest) check(!accepted);
    if (accepted) seen.insert(number);
    highest = std::max(highest, accepted ? number : 0);
  }
  return 0;
}
