/** AES-GCM as in RFC 5288, ChaCha20-Poly1305 as in RFC 7905, both with the additional data of
 *  RFC 5246 section 6.2.3.3: epoch and number, type, version, plaintext length. */
#include "records.h"

#include <openssl/crypto.h>

namespace evio {

constexpr uint16_t kEpoch = 1;
constexpr size_t kAadBytes = 13;

size_t keyBytes(Suite suite) { return suite == Suite::kAes128Gcm ? 16 : 32; }
size_t ivBytes(Suite suite) { return suite == Suite::kChaCha20 ? 12 : 4; }

static const EVP_CIPHER* cipherOf(Suite suite) {
  switch (suite) {
    case Suite::kAes128Gcm: return EVP_aes_128_gcm();
    case Suite::kAes256Gcm: return EVP_aes_256_gcm();
    case Suite::kChaCha20: return EVP_chacha20_poly1305();
  }
  return nullptr;
}

/** Additional data from a record header (its first 11 bytes) and the plaintext's length. */
static void additionalData(uint8_t* aad, const uint8_t* record, size_t plaintextLength) {
  memcpy(aad, record + 3, 8);
  memcpy(aad + 8, record, 3);
  put16(aad + 11, static_cast<uint16_t>(plaintextLength));
}

/** GCM: salt and the explicit nonce; ChaCha20: IV xor the 64-bit epoch and number. */
static void nonceOf(uint8_t* nonce, Suite suite, const uint8_t* iv, const uint8_t* record) {
  if (suite != Suite::kChaCha20) {
    memcpy(nonce, iv, 4);
    memcpy(nonce + 4, record + kRecordHeaderBytes, kExplicitNonceBytes);
    return;
  }
  memcpy(nonce, iv, 12);
  for (size_t i = 0; i < 8; i++) nonce[4 + i] ^= record[3 + i];
}

Sealer::~Sealer() { OPENSSL_cleanse(iv_, sizeof iv_); }
Opener::~Opener() { OPENSSL_cleanse(iv_, sizeof iv_); }

bool Sealer::init(Suite suite, Lane lane, const uint8_t* key, const uint8_t* iv) {
  suite_ = suite;
  lane_ = lane;
  memcpy(iv_, iv, ivBytes(suite));
  context_.reset(EVP_CIPHER_CTX_new());
  return context_ &&
         EVP_EncryptInit_ex(context_.get(), cipherOf(suite), nullptr, key, nullptr) == 1;
}

bool Sealer::seal(uint8_t* record, size_t plaintextLength) {
  if (used_ >= kLaneCapacity) return false;
  const uint64_t number = lane_ << kLaneShift | ++used_;
  const size_t prefix = recordPrefix(suite_);
  record[0] = kApplicationData;
  put16(record + 1, kDtls12);
  put16(record + 3, kEpoch);
  put48(record + 5, number);
  put16(record + 11,
        static_cast<uint16_t>(prefix - kRecordHeaderBytes + plaintextLength + kTagBytes));
  // RFC 5288 section 3: the explicit nonce may be the record number.
  if (suite_ != Suite::kChaCha20) memcpy(record + kRecordHeaderBytes, record + 3, 8);
  uint8_t nonce[12], aad[kAadBytes];
  nonceOf(nonce, suite_, iv_, record);
  additionalData(aad, record, plaintextLength);
  uint8_t* text = record + prefix;
  int done = 0;
  int rest = 0;
  EVP_CIPHER_CTX* c = context_.get();
  return EVP_EncryptInit_ex(c, nullptr, nullptr, nullptr, nonce) == 1 &&
         EVP_EncryptUpdate(c, nullptr, &done, aad, kAadBytes) == 1 &&
         EVP_EncryptUpdate(c, text, &done, text, static_cast<int>(plaintextLength)) == 1 &&
         EVP_EncryptFinal_ex(c, text + done, &rest) == 1 &&
         EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, kTagBytes, text + plaintextLength) == 1;
}

bool ReplayWindow::accept(uint64_t number) {
  const size_t word = static_cast<size_t>(number / 64 % kWords);
  const uint64_t bit = uint64_t{1} << (number % 64);
  if (!any_ || number > highest_) {
    // Words between the old and the new highest hold bits of a round ago.
    const uint64_t from = any_ ? highest_ / 64 : number / 64;
    const uint64_t steps = number / 64 - from;
    for (uint64_t i = 1; i <= steps && i <= kWords; i++) seen_[(from + i) % kWords] = 0;
    any_ = true;
    highest_ = number;
    seen_[word] |= bit;
    return true;
  }
  if (highest_ / 64 - number / 64 >= kWords) return false;
  if (seen_[word] & bit) return false;
  seen_[word] |= bit;
  return true;
}

bool Opener::init(Suite suite, const uint8_t* key, const uint8_t* iv) {
  suite_ = suite;
  memcpy(iv_, iv, ivBytes(suite));
  context_.reset(EVP_CIPHER_CTX_new());
  return context_ &&
         EVP_DecryptInit_ex(context_.get(), cipherOf(suite), nullptr, key, nullptr) == 1;
}

Opened Opener::open(uint8_t* record, size_t length, uint8_t** plaintext,
                    size_t* plaintextLength) {
  const size_t prefix = recordPrefix(suite_);
  if (length < prefix + kTagBytes) return Opened::kForged;
  const size_t size = length - prefix - kTagBytes;
  uint8_t nonce[12], aad[kAadBytes];
  nonceOf(nonce, suite_, iv_, record);
  additionalData(aad, record, size);
  uint8_t* text = record + prefix;
  int done = 0;
  int rest = 0;
  EVP_CIPHER_CTX* c = context_.get();
  if (EVP_DecryptInit_ex(c, nullptr, nullptr, nullptr, nonce) != 1 ||
      EVP_DecryptUpdate(c, nullptr, &done, aad, kAadBytes) != 1 ||
      EVP_DecryptUpdate(c, text, &done, text, static_cast<int>(size)) != 1 ||
      EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, kTagBytes, text + size) != 1 ||
      EVP_DecryptFinal_ex(c, text + done, &rest) != 1)
    return Opened::kForged;
  const uint64_t number = get48(record + 5);
  std::unique_ptr<ReplayWindow>& window = windows_[number >> kLaneShift];
  if (!window) window = std::make_unique<ReplayWindow>();
  if (!window->accept(number & kLaneCapacity)) return Opened::kReplayed;
  *plaintext = text;
  *plaintextLength = size;
  return Opened::kOk;
}

}  // namespace evio
