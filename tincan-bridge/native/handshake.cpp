/** The DTLS handshake: only OpenSSL's public calls, found in the node binary. */
#include "handshake.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/pem.h>

#include <algorithm>

#include "limits.h"

namespace evio {

constexpr uint8_t kChangeCipherSpec = 20, kAlert = 21, kHandshake = 22;
constexpr size_t kMasterSecretBytes = 48, kRandomBytes = 32;

HandshakeResult::~HandshakeResult() {
  OPENSSL_cleanse(sendKey, sizeof sendKey);
  OPENSSL_cleanse(receiveKey, sizeof receiveKey);
}

/** The oldest error of OpenSSL's queue, which is emptied. */
static std::string opensslError(const char* otherwise) {
  const unsigned long error = ERR_get_error();
  ERR_clear_error();
  const char* text = error == 0 ? nullptr : ERR_reason_error_string(error);
  return text == nullptr ? otherwise : text;
}

// A BIO of our own keeps datagram boundaries, which memory BIOs lose: one read is one datagram from
// the peer, one write is one datagram to it (OpenSSL fills it up to the MTU).

int Handshake::bioRead(BIO* bio, char* out, int size) {
  Handshake* self = static_cast<Handshake*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  if (!self->hasIncoming_ || size <= 0) {
    BIO_set_retry_read(bio);
    return -1;
  }
  self->hasIncoming_ = false;
  const size_t length = std::min(self->incoming_.size(), static_cast<size_t>(size));
  memcpy(out, self->incoming_.data(), length);
  return static_cast<int>(length);
}

int Handshake::bioWrite(BIO* bio, const char* bytes, int length) {
  Handshake* self = static_cast<Handshake*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  if (length <= 0) return length;
  const uint8_t* raw = reinterpret_cast<const uint8_t*>(bytes);
  // After the end only flights are repeated. Alerts must not leave: the session is ours now.
  const bool wanted = self->state_ == State::kRunning || raw[0] == kHandshake ||
                      raw[0] == kChangeCipherSpec;
  if (wanted && self->outgoing_.size() < limits::kHandshakeDatagrams)
    self->outgoing_.emplace_back(raw, raw + length);
  return length;
}

long Handshake::bioControl(BIO*, int command, long, void*) {
  // The MTU that is set means UDP payload: no overhead below.
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

BIO_METHOD* Handshake::bioMethod() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "evio datagrams");
    BIO_meth_set_read(made, &Handshake::bioRead);
    BIO_meth_set_write(made, &Handshake::bioWrite);
    BIO_meth_set_ctrl(made, &Handshake::bioControl);
    return made;
  }();
  return method;
}

unsigned Handshake::nextTimer(SSL* ssl, unsigned us) {
  const Handshake* self = static_cast<Handshake*>(SSL_get_app_data(ssl));
  return us == 0 ? self->retransmitUs_ : std::min(us * 2, limits::kRetransmitMaxUs);
}

template <typename T, typename Read>
static T* fromPem(const std::string& pem, Read read) {
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  T* value = bio == nullptr ? nullptr : read(bio);
  BIO_free(bio);
  return value;
}

static bool useIdentity(SSL_CTX* context, const HandshakeSettings& settings) {
  X509* certificate = fromPem<X509>(settings.certificate, [](BIO* bio) {
    return PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  });
  EVP_PKEY* key = fromPem<EVP_PKEY>(settings.key, [](BIO* bio) {
    return PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
  });
  char group[32] = "";
  size_t length = 0;
  const bool used =
      certificate != nullptr && key != nullptr && EVP_PKEY_is_a(key, "EC") == 1 &&
      EVP_PKEY_get_group_name(key, group, sizeof group, &length) == 1 &&
      strcmp(group, "prime256v1") == 0 && SSL_CTX_use_certificate(context, certificate) == 1 &&
      SSL_CTX_use_PrivateKey(context, key) == 1 && SSL_CTX_check_private_key(context) == 1;
  X509_free(certificate);
  EVP_PKEY_free(key);
  return used;
}

/** Any chain: who the peer is, is decided by the caller, from the key that is proved here. */
static int acceptAnyChain(X509_STORE_CTX*, void*) { return 1; }

static bool restrictContext(SSL_CTX* context, bool preferChaCha) {
  const char* ciphers =
      preferChaCha ? "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256:"
                     "ECDHE-ECDSA-AES256-GCM-SHA384"
                   : "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:"
                     "ECDHE-ECDSA-AES256-GCM-SHA384";
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_cert_verify_callback(context, acceptAnyChain, nullptr);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_max_cert_list(context, limits::kCertificateChainBytes);
  SSL_CTX_set_options(context, SSL_OP_NO_QUERY_MTU | SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
                                   SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                   SSL_OP_NO_COMPRESSION);
  return SSL_CTX_set_min_proto_version(context, DTLS1_2_VERSION) == 1 &&
         SSL_CTX_set_max_proto_version(context, DTLS1_2_VERSION) == 1 &&
         SSL_CTX_set_cipher_list(context, ciphers) == 1 &&
         SSL_CTX_set1_groups_list(context, "X25519:P-256") == 1 &&
         SSL_CTX_set1_sigalgs_list(context, "ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512") == 1;
}

std::unique_ptr<Handshake> Handshake::create(const HandshakeSettings& settings,
                                             std::string* reason) {
  std::unique_ptr<Handshake> handshake(new Handshake());
  ERR_clear_error();
  if (!handshake->setUp(settings, reason)) return nullptr;
  return handshake;
}

bool Handshake::setUp(const HandshakeSettings& settings, std::string* reason) {
  server_ = settings.server;
  maxDatagramBytes_ = settings.maxDatagramBytes;
  retransmitUs_ = std::min(settings.retransmitMs * 1000, limits::kRetransmitMaxUs);
  context_ = SSL_CTX_new(DTLS_method());
  if (context_ == nullptr || !restrictContext(context_, settings.preferChaCha)) {
    *reason = opensslError("dtls is not available");
    return false;
  }
  if (!useIdentity(context_, settings)) {
    *reason = opensslError("not an ECDSA P-256 key with its certificate");
    return false;
  }
  ssl_ = SSL_new(context_);
  BIO* bio = BIO_new(bioMethod());
  if (ssl_ == nullptr || bio == nullptr) {
    BIO_free(bio);
    *reason = opensslError("no memory for a handshake");
    return false;
  }
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_, bio, bio);
  SSL_set_app_data(ssl_, this);
  DTLS_set_timer_cb(ssl_, &Handshake::nextTimer);
  if (SSL_set_mtu(ssl_, static_cast<long>(maxDatagramBytes_)) == 0) {
    *reason = "datagrams of " + std::to_string(maxDatagramBytes_) + " bytes are too small";
    return false;
  }
  if (server_) SSL_set_accept_state(ssl_);
  else SSL_set_connect_state(ssl_);
  return true;
}

Handshake::State Handshake::start() {
  if (state_ == State::kRunning && ssl_ != nullptr) return advance();
  return state_;
}

/** Handshake records only; a plaintext alert is anybody's word, so it is noted but not obeyed. */
bool Handshake::acceptable(const uint8_t* datagram, size_t length) {
  if (length < kRecordHeaderBytes || length > limits::kHandshakeDatagramBytes) return false;
  const uint8_t type = datagram[0];
  if (type == kHandshake || type == kChangeCipherSpec) return true;
  if (type != kAlert || state_ != State::kRunning) return false;
  if (get16(datagram + 3) != 0) return true;  // sealed: OpenSSL finds out whether it is real
  if (length >= kRecordHeaderBytes + 2) {
    const char* text = SSL_alert_desc_string_long(datagram[kRecordHeaderBytes + 1]);
    peerAlert_ = std::string(" (somebody sent the alert: ") + text + ")";
  }
  return false;
}

Handshake::State Handshake::feed(const uint8_t* datagram, size_t length) {
  if (ssl_ == nullptr || state_ == State::kFailed || !acceptable(datagram, length)) return state_;
  incoming_.assign(datagram, datagram + length);
  hasIncoming_ = true;
  if (state_ == State::kRunning) {
    advance();
  } else {
    // OpenSSL repeats its last flight when the peer repeats its own; nothing else can come of it.
    ERR_clear_error();
    uint8_t unused[256];
    (void)SSL_read(ssl_, unused, sizeof unused);
    ERR_clear_error();
  }
  hasIncoming_ = false;
  return state_;
}

Handshake::State Handshake::expire() {
  if (ssl_ == nullptr || state_ == State::kFailed) return state_;
  ERR_clear_error();
  if (DTLSv1_handle_timeout(ssl_) < 0 && state_ == State::kRunning)
    fail(opensslError("the peer does not answer") + peerAlert_);
  ERR_clear_error();
  return state_;
}

Handshake::State Handshake::advance() {
  ERR_clear_error();
  const int done = SSL_do_handshake(ssl_);
  if (done == 1) {
    finish();
    return state_;
  }
  const int error = SSL_get_error(ssl_, done);
  if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
    fail(opensslError("the handshake ended"));
  ERR_clear_error();
  return state_;
}

void Handshake::finish() {
  HandshakeResult unused;
  if (SSL_get_extms_support(ssl_) != 1) {
    fail("the peer lacks the extended master secret (RFC 7627)");
  } else if (!result(&unused)) {
    fail(opensslError("no certificate or no keys"));
  } else {
    state_ = State::kDone;
  }
}

void Handshake::fail(const std::string& reason) {
  state_ = State::kFailed;
  reason_ = reason;
}

bool Handshake::take(std::vector<uint8_t>* datagram) {
  if (outgoing_.empty()) return false;
  *datagram = std::move(outgoing_.front());
  outgoing_.pop_front();
  return true;
}

int64_t Handshake::deadlineMs() {
  timeval left{};
  if (ssl_ == nullptr || state_ == State::kFailed) return -1;
  if (DTLSv1_get_timeout(ssl_, &left) != 1) return -1;
  return static_cast<int64_t>(left.tv_sec) * 1000 + (left.tv_usec + 999) / 1000;
}

/** The cipher's AEAD, and the digest of its PRF (RFC 5246 section 5, RFC 5289). */
static bool suiteOf(const SSL_CIPHER* cipher, Suite* suite, const char** digest) {
  *digest = "SHA256";
  switch (SSL_CIPHER_get_cipher_nid(cipher)) {
    case NID_aes_128_gcm: *suite = Suite::kAes128Gcm; return true;
    case NID_chacha20_poly1305: *suite = Suite::kChaCha20; return true;
    case NID_aes_256_gcm:
      *suite = Suite::kAes256Gcm;
      *digest = "SHA384";
      return true;
    default: return false;
  }
}

/** RFC 5246 section 6.3: client key, server key, client IV, server IV; no MAC keys with an AEAD. */
bool Handshake::deriveKeys(HandshakeResult* out) {
  const SSL_CIPHER* cipher = SSL_get_current_cipher(ssl_);
  const char* digest = nullptr;
  if (cipher == nullptr || !suiteOf(cipher, &out->suite, &digest)) return false;
  uint8_t master[kMasterSecretBytes], block[2 * 32 + 2 * 12];
  uint8_t seed[13 + 2 * kRandomBytes];
  memcpy(seed, "key expansion", 13);
  if (SSL_get_server_random(ssl_, seed + 13, kRandomBytes) != kRandomBytes ||
      SSL_get_client_random(ssl_, seed + 13 + kRandomBytes, kRandomBytes) != kRandomBytes ||
      SSL_SESSION_get_master_key(SSL_get_session(ssl_), master, sizeof master) != sizeof master)
    return false;
  const size_t key = keyBytes(out->suite);
  const size_t iv = ivBytes(out->suite);
  EVP_KDF* kdf = EVP_KDF_fetch(nullptr, "TLS1-PRF", nullptr);
  EVP_KDF_CTX* context = EVP_KDF_CTX_new(kdf);
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, const_cast<char*>(digest), 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET, master, sizeof master),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, seed, sizeof seed),
      OSSL_PARAM_construct_end()};
  const bool derived =
      context != nullptr && EVP_KDF_derive(context, block, 2 * (key + iv), parameters) == 1;
  EVP_KDF_CTX_free(context);
  EVP_KDF_free(kdf);
  if (derived) {
    memcpy(server_ ? out->receiveKey : out->sendKey, block, key);
    memcpy(server_ ? out->sendKey : out->receiveKey, block + key, key);
    memcpy(server_ ? out->receiveIv : out->sendIv, block + 2 * key, iv);
    memcpy(server_ ? out->sendIv : out->receiveIv, block + 2 * key + iv, iv);
  }
  OPENSSL_cleanse(master, sizeof master);
  OPENSSL_cleanse(block, sizeof block);
  return derived;
}

bool Handshake::result(HandshakeResult* out) {
  if (ssl_ == nullptr || state_ == State::kFailed) return false;
  X509* peer = SSL_get1_peer_certificate(ssl_);
  if (peer == nullptr) return false;
  const int length = i2d_X509(peer, nullptr);
  if (length > 0) {
    out->peerCertificate.resize(static_cast<size_t>(length));
    uint8_t* at = out->peerCertificate.data();
    i2d_X509(peer, &at);
  }
  X509_free(peer);
  const SSL_CIPHER* cipher = SSL_get_current_cipher(ssl_);
  if (length <= 0 || cipher == nullptr) return false;
  out->cipher = SSL_CIPHER_get_name(cipher);
  return deriveKeys(out);
}

static void appendHex(std::string* out, const uint8_t* bytes, size_t length) {
  constexpr char digits[] = "0123456789abcdef";
  for (size_t i = 0; i < length; i++) {
    out->push_back(digits[bytes[i] >> 4]);
    out->push_back(digits[bytes[i] & 15]);
  }
}

std::string Handshake::keyLogLine() {
  if (ssl_ == nullptr || state_ != State::kDone) return "";
  uint8_t random[kRandomBytes], master[kMasterSecretBytes];
  SSL_get_client_random(ssl_, random, sizeof random);
  SSL_SESSION_get_master_key(SSL_get_session(ssl_), master, sizeof master);
  std::string line = "CLIENT_RANDOM ";
  appendHex(&line, random, sizeof random);
  line += ' ';
  appendHex(&line, master, sizeof master);
  OPENSSL_cleanse(master, sizeof master);
  return line;
}

void Handshake::close() {
  // No SSL_shutdown: it would send an alert.
  SSL_free(ssl_);
  SSL_CTX_free(context_);
  ssl_ = nullptr;
  context_ = nullptr;
  outgoing_.clear();
  state_ = State::kFailed;
  reason_ = "closed";
}

}  // namespace evio
