/** The handshake's functions for JavaScript; native.ts is their only caller. */
#include "arguments.h"
#include "handshake.h"

namespace evio {

constexpr napi_type_tag kHandshakeTag = {0x65766900d7150001, 0x68616e647368616b};
constexpr size_t kPemBytes = 1 << 16;

static Handshake* handshakeOf(Arguments& arguments) {
  return static_cast<Handshake*>(arguments.external(0, kHandshakeTag));
}

/** A function whose only argument is the handshake. */
template <typename Body>
static napi_value withHandshake(napi_env env, napi_callback_info info, Body body) {
  Arguments arguments(env, info, 1);
  Handshake* handshake = handshakeOf(arguments);
  return arguments.ok() ? body(*handshake) : nullptr;
}

static napi_value stateOf(napi_env env, Handshake::State state) {
  return number(env, static_cast<double>(state));
}

static napi_value create(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 6);
  HandshakeSettings settings;
  settings.server = arguments.boolean(0);
  settings.certificate = arguments.text(1, kPemBytes);
  settings.key = arguments.text(2, kPemBytes);
  settings.maxDatagramBytes = static_cast<size_t>(arguments.integer(3, 256, 1472));
  settings.retransmitMs = static_cast<unsigned>(arguments.integer(4, 1, 60000));
  settings.preferChaCha = arguments.boolean(5);
  std::string reason;
  std::unique_ptr<Handshake> made;
  if (arguments.ok()) made = Handshake::create(settings, &reason);
  OPENSSL_cleanse(&settings.key[0], settings.key.size());
  if (!arguments.ok()) return nullptr;
  if (!made) {
    throwError(env, "identity.unusable", "handshake cannot begin: " + reason);
    return nullptr;
  }
  const auto finalize = [](napi_env, void* data, void*) { delete static_cast<Handshake*>(data); };
  napi_value result = handleOf(env, made.get(), finalize, kHandshakeTag);
  if (result != nullptr) made.release();
  return result;
}

static napi_value start(napi_env env, napi_callback_info info) {
  return withHandshake(env, info, [env](Handshake& handshake) {
    return stateOf(env, handshake.start());
  });
}

static napi_value feed(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 2);
  Handshake* handshake = handshakeOf(arguments);
  const Piece datagram = arguments.bytes(1, SIZE_MAX);
  return arguments.ok() ? stateOf(env, handshake->feed(datagram.bytes, datagram.length)) : nullptr;
}

static napi_value expire(napi_env env, napi_callback_info info) {
  return withHandshake(env, info, [env](Handshake& handshake) {
    return stateOf(env, handshake.expire());
  });
}

static napi_value take(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 1);
  Handshake* handshake = handshakeOf(arguments);
  napi_value list = nullptr;
  if (!arguments.ok() || napi_create_array(env, &list) != napi_ok) return nullptr;
  std::vector<uint8_t> datagram;
  for (uint32_t i = 0; handshake->take(&datagram); i++)
    napi_set_element(env, list, i, byteArray(env, datagram.data(), datagram.size()));
  return list;
}

static napi_value deadline(napi_env env, napi_callback_info info) {
  return withHandshake(env, info, [env](Handshake& handshake) {
    return number(env, static_cast<double>(handshake.deadlineMs()));
  });
}

static napi_value result(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 1);
  Handshake* handshake = handshakeOf(arguments);
  HandshakeResult out;
  napi_value object = nullptr;
  if (!arguments.ok()) return nullptr;
  if (handshake->state() != Handshake::State::kDone || !handshake->result(&out)) {
    throwError(env, "internal", "the handshake has no result");
    return nullptr;
  }
  napi_create_object(env, &object);
  const size_t key = keyBytes(out.suite);
  const size_t iv = ivBytes(out.suite);
  setValue(env, object, "peerCertificate",
           byteArray(env, out.peerCertificate.data(), out.peerCertificate.size()));
  setValue(env, object, "cipher", string(env, out.cipher));
  setValue(env, object, "suite", number(env, static_cast<double>(out.suite)));
  setValue(env, object, "sendKey", byteArray(env, out.sendKey, key));
  setValue(env, object, "sendIv", byteArray(env, out.sendIv, iv));
  setValue(env, object, "receiveKey", byteArray(env, out.receiveKey, key));
  setValue(env, object, "receiveIv", byteArray(env, out.receiveIv, iv));
  return object;
}

static napi_value reason(napi_env env, napi_callback_info info) {
  return withHandshake(env, info, [env](Handshake& handshake) {
    return string(env, handshake.reason());
  });
}

static napi_value keyLogLine(napi_env env, napi_callback_info info) {
  return withHandshake(env, info, [env](Handshake& handshake) {
    return string(env, handshake.keyLogLine());
  });
}

static napi_value close(napi_env env, napi_callback_info info) {
  return withHandshake(env, info, [](Handshake& handshake) {
    handshake.close();
    return static_cast<napi_value>(nullptr);
  });
}

void exportHandshake(napi_env env, napi_value exports) {
  setFunction(env, exports, "handshakeCreate", create);
  setFunction(env, exports, "handshakeStart", start);
  setFunction(env, exports, "handshakeFeed", feed);
  setFunction(env, exports, "handshakeExpire", expire);
  setFunction(env, exports, "handshakeTake", take);
  setFunction(env, exports, "handshakeDeadlineMs", deadline);
  setFunction(env, exports, "handshakeResult", result);
  setFunction(env, exports, "handshakeReason", reason);
  setFunction(env, exports, "handshakeKeyLogLine", keyLogLine);
  setFunction(env, exports, "handshakeClose", close);
}

}  // namespace evio
