/**
 * Fuzz target: two handshakes whose datagrams are lost, repeated, reordered, changed, reflected and
 * mixed with garbage. Neither harms its process; one that is done has proved the other's certificate
 * and agrees with it on the keys, whatever happened on the way.
 */
#include "handshake.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>

#include <deque>
#include <string>

#include "input.h"
#include "limits.h"

using namespace evio;

constexpr size_t kMaxDatagram = 512;  // so that flights are fragmented
/** OpenSSL 3.0 forgets what sealing adds to a flight's last record; Node's 3.5 does not. */
constexpr size_t kSealing = 37;

/** A generator that gives the same bytes for the same input, so that a finding can be repeated. */
static uint64_t state;
static int randomBytes(unsigned char* out, int count) {
  for (int i = 0; i < count; i++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    out[i] = static_cast<unsigned char>(state >> 33);
  }
  return 1;
}
static int randomStatus() { return 1; }

struct Identity {
  std::string certificate, key;
  std::vector<uint8_t> der;
};

static std::string text(BIO* bio) {
  char* bytes = nullptr;
  const long length = BIO_get_mem_data(bio, &bytes);
  std::string out(bytes, static_cast<size_t>(length));
  BIO_free(bio);
  return out;
}

static Identity newIdentity(const char* name) {
  Identity made;
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* x509 = X509_new();
  check(key != nullptr && x509 != nullptr);
  X509_set_version(x509, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
  X509_gmtime_adj(X509_getm_notBefore(x509), 0);
  X509_gmtime_adj(X509_getm_notAfter(x509), 86400);
  X509_set_pubkey(x509, key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name), -1, -1, 0);
  X509_set_issuer_name(x509, X509_get_subject_name(x509));
  check(X509_sign(x509, key, EVP_sha256()) > 0);
  BIO* bio = BIO_new(BIO_s_mem());
  check(PEM_write_bio_X509(bio, x509) == 1);
  made.certificate = text(bio);
  bio = BIO_new(BIO_s_mem());
  check(PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
  made.key = text(bio);
  made.der.resize(static_cast<size_t>(i2d_X509(x509, nullptr)));
  uint8_t* at = made.der.data();
  i2d_X509(x509, &at);
  X509_free(x509);
  EVP_PKEY_free(key);
  return made;
}

struct End {
  std::unique_ptr<Handshake> handshake;
  /** Datagrams of this end that may be delivered, some of them more than once. */
  std::deque<std::vector<uint8_t>> sent;
  bool wasDone = false;

  void collect() {
    std::vector<uint8_t> datagram;
    size_t count = 0;
    while (handshake->take(&datagram)) {
      check(++count <= limits::kHandshakeDatagrams);
      check(!datagram.empty() && datagram.size() <= kMaxDatagram + kSealing);
      // After the end only flights are repeated: a record number is not used twice under a key.
      if (wasDone) check(datagram[0] == 20 || datagram[0] == 22);
      sent.push_back(datagram);
      if (sent.size() > 64) sent.pop_front();
    }
    const Handshake::State now = handshake->state();
    if (wasDone) check(now == Handshake::State::kDone);
    wasDone = now == Handshake::State::kDone;
    if (now == Handshake::State::kFailed) check(!handshake->reason().empty());
  }
};

static void change(std::vector<uint8_t>* bytes, Input* input) {
  for (unsigned edits = input->byte() % 4; edits > 0 && !bytes->empty(); edits--) {
    const size_t at = input->two() % (bytes->size() + 1);
    if (at < bytes->size()) (*bytes)[at] ^= input->byte();
    else bytes->resize(input->two() % (2 * bytes->size() + 1));
  }
}

static void judge(End& one, End& other, const Identity& ofOther) {
  if (!one.wasDone) return;
  HandshakeResult mine;
  check(one.handshake->result(&mine));
  check(mine.peerCertificate == ofOther.der);
  check(!one.handshake->keyLogLine().empty());
  if (!other.wasDone) return;
  HandshakeResult its;
  check(other.handshake->result(&its));
  check(mine.suite == its.suite);
  const size_t key = keyBytes(mine.suite), iv = ivBytes(mine.suite);
  check(memcmp(mine.sendKey, its.receiveKey, key) == 0);
  check(memcmp(mine.receiveKey, its.sendKey, key) == 0);
  check(memcmp(mine.sendIv, its.receiveIv, iv) == 0);
  check(memcmp(mine.receiveIv, its.sendIv, iv) == 0);
}

static std::unique_ptr<Handshake> create(bool server, const Identity& who, bool preferChaCha) {
  HandshakeSettings settings;
  settings.server = server;
  settings.certificate = who.certificate;
  settings.key = who.key;
  settings.maxDatagramBytes = kMaxDatagram;
  settings.retransmitMs = 1;
  settings.preferChaCha = preferChaCha;
  std::string reason;
  std::unique_ptr<Handshake> made = Handshake::create(settings, &reason);
  check(made != nullptr);
  return made;
}

extern "C" int LLVMFuzzerInitialize(int*, char***) {
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wdeprecated-declarations"
  static RAND_METHOD method = {nullptr, randomBytes, nullptr, nullptr, randomBytes, randomStatus};
  check(RAND_set_rand_method(&method) == 1);
#pragma clang diagnostic pop
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t length) {
  state = 1;
  static const Identity identities[2] = {newIdentity("alice"), newIdentity("bob")};
  state = 2;
  Input input(bytes, length);
  const uint8_t choices = input.byte();
  End ends[2];
  for (int i = 0; i < 2; i++)
    ends[i].handshake = create(i == 1, identities[i], (choices >> i & 1) != 0);
  for (End& end : ends) end.handshake->start(), end.collect();
  for (int steps = 0; steps < 400 && !input.empty(); steps++) {
    const uint8_t what = input.byte();
    End& from = ends[what & 1];
    End& to = ends[(what & 1) ^ 1];
    switch (what >> 1 & 7) {
      case 0:  // all in order, as a good network does
      case 1: {
        const std::deque<std::vector<uint8_t>> flight = std::move(from.sent);
        from.sent.clear();
        for (const auto& datagram : flight) to.handshake->feed(datagram.data(), datagram.size());
        break;
      }
      case 2: {  // one of them, any
        if (from.sent.empty()) break;
        const size_t at = input.byte() % from.sent.size();
        const std::vector<uint8_t> datagram = from.sent[at];
        from.sent.erase(from.sent.begin() + static_cast<long>(at));
        to.handshake->feed(datagram.data(), datagram.size());
        break;
      }
      case 3:  // changed, and the good one stays on its way
      case 4: {
        if (from.sent.empty()) break;
        std::vector<uint8_t> datagram = from.sent[input.byte() % from.sent.size()];
        change(&datagram, &input);
        to.handshake->feed(datagram.data(), datagram.size());
        break;
      }
      case 5: {  // reflected
        if (from.sent.empty()) break;
        const std::vector<uint8_t> datagram = from.sent[input.byte() % from.sent.size()];
        from.handshake->feed(datagram.data(), datagram.size());
        break;
      }
      case 6: {  // from anybody
        const std::vector<uint8_t> datagram = input.take(input.two() % 600);
        to.handshake->feed(datagram.data(), datagram.size());
        break;
      }
      default:  // lost, and what its clock says
        if ((input.byte() & 1) != 0) from.sent.clear();
        check(from.handshake->deadlineMs() <= 4000);
        from.handshake->expire();
    }
    for (End& end : ends) end.collect();
  }
  judge(ends[0], ends[1], identities[1]);
  judge(ends[1], ends[0], identities[0]);
  for (End& end : ends) {
    end.handshake->close();
    check(end.handshake->feed(bytes, length) == Handshake::State::kFailed);
    check(end.handshake->deadlineMs() == -1);
  }
  ERR_clear_error();
  return 0;
}
