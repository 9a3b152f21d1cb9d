/** Fuzz target: opening records under real keys. Only what was sealed, unchanged, once, is opened. */
#include "records.h"

#include "input.h"

using namespace evio;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t length) {
  static const uint8_t key[32] = {1, 2, 3}, iv[12] = {4, 5, 6};
  Input input(bytes, length);
  const Suite suite = static_cast<Suite>(input.byte() % 3);
  Sealer sealer;
  Opener opener;
  check(sealer.init(suite, kLaneOutbound, key, iv) && opener.init(suite, key, iv));
  const size_t prefix = recordPrefix(suite);
  while (!input.empty()) {
    const std::vector<uint8_t> text = input.take(input.byte());
    std::vector<uint8_t> record(recordOverhead(suite) + text.size());
    std::copy(text.begin(), text.end(), record.begin() + static_cast<long>(prefix));
    check(sealer.seal(record.data(), text.size()));
    std::vector<uint8_t> changed = record;
    for (unsigned edits = input.byte() % 4; edits > 0; edits--) {
      const size_t at = input.two() % (changed.size() + 1);
      if (at < changed.size()) changed[at] ^= input.byte();
      else changed.resize(input.two() % (2 * changed.size()));
      if (changed.empty()) break;
    }
    // The caller has checked that there is a header, and its epoch; the length is the datagram's.
    if (changed.size() < kRecordHeaderBytes) continue;
    const bool same = changed == record;
    // The header's length is the caller's to check: it is not sealed, the plaintext's is.
    const bool sameButLength = changed.size() == record.size() &&
                               std::equal(changed.begin(), changed.begin() + 11, record.begin()) &&
                               std::equal(changed.begin() + 13, changed.end(), record.begin() + 13);
    uint8_t* opened = nullptr;
    size_t size = 0;
    const Opened result = opener.open(changed.data(), changed.size(), &opened, &size);
    if (same) check(result == Opened::kOk);
    if (!sameButLength) check(result == Opened::kForged);
    if (result == Opened::kOk) {
      check(size == text.size() && std::equal(text.begin(), text.end(), opened));
      std::vector<uint8_t> again = record;
      check(opener.open(again.data(), again.size(), &opened, &size) == Opened::kReplayed);
    }
  }
  return 0;
}
