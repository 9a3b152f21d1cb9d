/**
 * DTLS 1.2 application-data records (RFC 6347 section 4.1): sealing in one lane, opening with a
 * replay window for each lane. Cryptography is OpenSSL's EVP; a Sealer or Opener belongs to one
 * thread. Keys live only inside the EVP contexts, which wipe them when freed.
 */
#pragma once
#include <openssl/evp.h>

#include <memory>

#include "wire.h"

namespace evio {

enum class Suite : uint8_t { kAes128Gcm = 0, kAes256Gcm = 1, kChaCha20 = 2 };

size_t keyBytes(Suite suite);
size_t ivBytes(Suite suite);
/** Bytes before the plaintext: header and explicit nonce. */
inline size_t recordPrefix(Suite suite) {
  return kRecordHeaderBytes + (suite == Suite::kChaCha20 ? 0 : kExplicitNonceBytes);
}
inline size_t recordOverhead(Suite suite) { return recordPrefix(suite) + kTagBytes; }

struct ContextFree {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_CIPHER_CTX, ContextFree>;

class Sealer {
 public:
  bool init(Suite suite, Lane lane, const uint8_t* key, const uint8_t* iv);
  ~Sealer();
  /** The plaintext stands at `record + recordPrefix`; writes the rest of the record around it.
   *  False when the lane is used up or OpenSSL fails. */
  bool seal(uint8_t* record, size_t plaintextLength);

 private:
  Context context_;
  Suite suite_ = Suite::kAes128Gcm;
  uint64_t lane_ = 0;
  uint64_t used_ = 0;
  uint8_t iv_[12] = {};
};

/** Which of the last 4096 numbers of a lane have been seen. */
class ReplayWindow {
 public:
  /** False when it was seen before or is too old; else remembers it. */
  bool accept(uint64_t number);

 private:
  // One word more than the window: the oldest is partly overwritten.
  static constexpr size_t kWords = kReplayWindow / 64 + 1;
  uint64_t highest_ = 0;
  bool any_ = false;
  uint64_t seen_[kWords] = {};
};

enum class Opened { kOk, kForged, kReplayed };

class Opener {
 public:
  bool init(Suite suite, const uint8_t* key, const uint8_t* iv);
  ~Opener();
  /** Opens in place one record of exactly `length` bytes whose header the caller has checked. When
   *  it is forged the bytes are spoilt. */
  Opened open(uint8_t* record, size_t length, uint8_t** plaintext, size_t* plaintextLength);
  Suite suite() const { return suite_; }

 private:
  Context context_;
  Suite suite_ = Suite::kAes128Gcm;
  uint8_t iv_[12] = {};
  // Windows are made when a lane is first used: few sessions use more than three.
  std::unique_ptr<ReplayWindow> windows_[kLanes];
};

}  // namespace evio
