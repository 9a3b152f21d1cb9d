/**
 * Bytes of a fuzzer, taken apart from the front; the end gives zeros. Owns nothing. `check` ends the
 * process, which the fuzzer reports with its input.
 */
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#define check(condition)                                                        \
  do {                                                                          \
    if (!(condition)) {                                                         \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);   \
      abort();                                                                  \
    }                                                                           \
  } while (0)

class Input {
 public:
  Input(const uint8_t* bytes, size_t length) : at_(bytes), left_(length) {}
  bool empty() const { return left_ == 0; }
  uint8_t byte() {
    if (left_ == 0) return 0;
    left_--;
    return *at_++;
  }
  uint16_t two() {
    const uint8_t high = byte();
    return static_cast<uint16_t>(high << 8 | byte());
  }
  /** A heap block of exactly as many bytes, so that the sanitizer sees each step beyond it. */
  std::vector<uint8_t> take(size_t most) {
    const size_t count = std::min(most, left_);
    std::vector<uint8_t> bytes(at_, at_ + count);
    bytes.shrink_to_fit();
    at_ += count;
    left_ -= count;
    return bytes;
  }
  std::vector<uint8_t> rest() { return take(left_); }

 private:
  const uint8_t* at_;
  size_t left_;
};
