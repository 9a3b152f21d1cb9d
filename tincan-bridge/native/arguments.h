/**
 * Node-API arguments read with checks, and results made. A wrong argument throws a JavaScript
 * TypeError once; callers test `ok()` and return. No C++ exception exists in this addon.
 */
#pragma once
#include <node_api.h>

#include <string>
#include <vector>

#include "transmit.h"

namespace evio {

class Arguments {
 public:
  static constexpr size_t kMost = 10;
  static constexpr size_t kAddressText = 63;
  Arguments(napi_env env, napi_callback_info info, size_t count);
  bool ok() const { return ok_; }
  /** The caller has thrown: nothing is to be done any more. */
  void fail() { ok_ = false; }
  napi_env env() const { return env_; }
  napi_value value(size_t i) const { return values_[i]; }

  int32_t integer(size_t i, int64_t low, int64_t high);
  /** A number that the caller has given, or got: of a socket or session. */
  int32_t id(size_t i) { return integer(i, 0, INT32_MAX); }
  uint16_t port(size_t i) { return static_cast<uint16_t>(integer(i, 0, 65535)); }
  bool boolean(size_t i);
  std::string text(size_t i, size_t most);
  std::string address(size_t i) { return text(i, kAddressText); }
  /** A Uint8Array; its bytes are valid during the call. */
  Piece bytes(size_t i, size_t most);
  NodeId nodeId(size_t i);
  uint64_t mac(size_t i);
  VnetHeader offload(size_t i);
  std::vector<int32_t> integers(size_t i, size_t most);
  void* external(size_t i, const napi_type_tag& tag);

 private:
  void refuse(size_t i, const char* wanted);
  napi_env env_;
  napi_value values_[kMost];
  bool ok_ = true;
};

napi_value number(napi_env env, double value);
napi_value boolean(napi_env env, bool value);
napi_value string(napi_env env, const std::string& value);
/** A fresh Uint8Array with a copy. */
napi_value byteArray(napi_env env, const uint8_t* bytes, size_t length);
napi_value numberArray(napi_env env, const double* values, size_t count);
/** A handle of `data` that only functions for that tag take. Null, and nothing is owned, on failure. */
napi_value handleOf(napi_env env, void* data, napi_finalize finalize, const napi_type_tag& tag);
void throwError(napi_env env, const char* code, const std::string& message);
void setFunction(napi_env env, napi_value object, const char* name, napi_callback function);
void setValue(napi_env env, napi_value object, const char* name, napi_value value);

/** handshake-addon.cpp: the functions of the handshake. */
void exportHandshake(napi_env env, napi_value exports);
/** netlink.cpp: the watch on the kernel's network events. */
void exportNetlink(napi_env env, napi_value exports);

}  // namespace evio
