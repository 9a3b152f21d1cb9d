/**
 * One DTLS 1.2 handshake by OpenSSL (RFC 6347): datagrams in, datagrams out. Proves that the peer
 * holds the key of the certificate it shows; whose that is, the caller checks. After it is done it
 * only repeats its last flight: no alerts, no application data. JavaScript thread only.
 */
#pragma once
#include <openssl/ssl.h>

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "records.h"

namespace evio {

struct HandshakeSettings {
  bool server = false;
  std::string certificate, key;  // PEM
  size_t maxDatagramBytes = 1200;
  unsigned retransmitMs = 250;
  bool preferChaCha = false;
};

struct HandshakeResult {
  std::vector<uint8_t> peerCertificate;  // DER
  std::string cipher;
  Suite suite = Suite::kAes128Gcm;
  uint8_t sendKey[32], receiveKey[32], sendIv[12], receiveIv[12];
  ~HandshakeResult();
};

class Handshake {
 public:
  enum class State { kRunning, kDone, kFailed };
  ~Handshake() { close(); }
  /** Null, with a reason, when certificate or key cannot be used. */
  static std::unique_ptr<Handshake> create(const HandshakeSettings& settings, std::string* reason);
  State start();
  State feed(const uint8_t* datagram, size_t length);
  State expire();
  bool take(std::vector<uint8_t>* datagram);
  /** Milliseconds until `expire` is due, -1 when nothing is to be retransmitted. */
  int64_t deadlineMs();
  bool result(HandshakeResult* result);
  const std::string& reason() const { return reason_; }
  /** Empty before it is done. */
  std::string keyLogLine();
  void close();
  bool closed() const { return ssl_ == nullptr; }
  State state() const { return state_; }

 private:
  bool setUp(const HandshakeSettings& settings, std::string* reason);
  State advance();
  void finish();
  void fail(const std::string& reason);
  bool acceptable(const uint8_t* datagram, size_t length);
  bool deriveKeys(HandshakeResult* result);
  static int bioRead(BIO* bio, char* out, int size);
  static int bioWrite(BIO* bio, const char* bytes, int length);
  static long bioControl(BIO* bio, int command, long number, void* pointer);
  static BIO_METHOD* bioMethod();
  static unsigned nextTimer(SSL* ssl, unsigned us);

  SSL_CTX* context_ = nullptr;
  SSL* ssl_ = nullptr;
  bool server_ = false;
  size_t maxDatagramBytes_ = 0;
  unsigned retransmitUs_ = 0;
  State state_ = State::kRunning;
  std::string reason_;
  std::string peerAlert_;
  std::vector<uint8_t> incoming_;
  bool hasIncoming_ = false;
  std::deque<std::vector<uint8_t>> outgoing_;
};

}  // namespace evio
