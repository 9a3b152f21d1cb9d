/** Node-API plumbing. */
#include "arguments.h"

namespace evio {

Arguments::Arguments(napi_env env, napi_callback_info info, size_t count) : env_(env) {
  size_t got = kMost;
  if (napi_get_cb_info(env, info, &got, values_, nullptr, nullptr) != napi_ok || got < count)
    refuse(got, "more arguments");
}

void Arguments::refuse(size_t i, const char* wanted) {
  if (!ok_) return;
  ok_ = false;
  const std::string message =
      "argument " + std::to_string(i + 1) + " of the addon must be " + wanted;
  napi_throw_type_error(env_, "internal", message.c_str());
}

int32_t Arguments::integer(size_t i, int64_t low, int64_t high) {
  double value = 0;
  if (!ok_) return 0;
  if (napi_get_value_double(env_, values_[i], &value) != napi_ok ||
      !(value >= static_cast<double>(low) && value <= static_cast<double>(high)) ||
      value != static_cast<double>(static_cast<int64_t>(value))) {
    refuse(i, "an integer in its range");
    return 0;
  }
  return static_cast<int32_t>(value);
}

bool Arguments::boolean(size_t i) {
  bool value = false;
  if (ok_ && napi_get_value_bool(env_, values_[i], &value) != napi_ok) refuse(i, "a boolean");
  return value;
}

std::string Arguments::text(size_t i, size_t most) {
  size_t length = 0;
  if (!ok_) return "";
  if (napi_get_value_string_utf8(env_, values_[i], nullptr, 0, &length) != napi_ok ||
      length > most) {
    refuse(i, "a string that is not too long");
    return "";
  }
  std::string value(length + 1, '\0');
  napi_get_value_string_utf8(env_, values_[i], &value[0], length + 1, &length);
  value.resize(length);
  return value;
}

Piece Arguments::bytes(size_t i, size_t most) {
  napi_typedarray_type type{};
  size_t length = 0;
  void* data = nullptr;
  if (!ok_) return {nullptr, 0};
  if (napi_get_typedarray_info(env_, values_[i], &type, &length, &data, nullptr, nullptr) !=
          napi_ok ||
      type != napi_uint8_array || length > most) {
    refuse(i, "a Uint8Array that is not too long");
    return {nullptr, 0};
  }
  static const uint8_t none = 0;  // an empty array may have no address
  return {data == nullptr ? &none : static_cast<const uint8_t*>(data), length};
}

NodeId Arguments::nodeId(size_t i) {
  NodeId id{};
  const Piece piece = bytes(i, kNodeIdBytes);
  if (!ok_) return id;
  if (piece.length != kNodeIdBytes) {
    refuse(i, "16 bytes");
    return id;
  }
  memcpy(id.data(), piece.bytes, kNodeIdBytes);
  return id;
}

uint64_t Arguments::mac(size_t i) {
  const Piece piece = bytes(i, 6);
  if (!ok_) return 0;
  if (piece.length != 6 || (piece.bytes[0] & 1)) {
    refuse(i, "6 bytes of a unicast address");
    return 0;
  }
  return macKey(piece.bytes);
}

VnetHeader Arguments::offload(size_t i) {
  VnetHeader vnet{};
  const Piece piece = bytes(i, sizeof vnet);
  if (!ok_ || piece.length == 0) return vnet;
  if (piece.length != sizeof vnet) refuse(i, "10 bytes or none");
  else memcpy(&vnet, piece.bytes, sizeof vnet);
  return vnet;
}

std::vector<int32_t> Arguments::integers(size_t i, size_t most) {
  napi_typedarray_type type{};
  size_t length = 0;
  void* data = nullptr;
  if (!ok_) return {};
  if (napi_get_typedarray_info(env_, values_[i], &type, &length, &data, nullptr, nullptr) !=
          napi_ok ||
      type != napi_int32_array || length > most) {
    refuse(i, "an Int32Array that is not too long");
    return {};
  }
  const int32_t* values = static_cast<const int32_t*>(data);
  return length == 0 ? std::vector<int32_t>{} : std::vector<int32_t>(values, values + length);
}

void* Arguments::external(size_t i, const napi_type_tag& tag) {
  bool tagged = false;
  void* value = nullptr;
  if (!ok_) return nullptr;
  napi_valuetype type = napi_undefined;
  if (napi_typeof(env_, values_[i], &type) != napi_ok || type != napi_external ||
      napi_check_object_type_tag(env_, values_[i], &tag, &tagged) != napi_ok || !tagged ||
      napi_get_value_external(env_, values_[i], &value) != napi_ok)
    refuse(i, "a handle of this addon");
  return value;
}

napi_value number(napi_env env, double value) {
  napi_value result = nullptr;
  napi_create_double(env, value, &result);
  return result;
}

napi_value boolean(napi_env env, bool value) {
  napi_value result = nullptr;
  napi_get_boolean(env, value, &result);
  return result;
}

napi_value string(napi_env env, const std::string& value) {
  napi_value result = nullptr;
  napi_create_string_utf8(env, value.data(), value.size(), &result);
  return result;
}

napi_value byteArray(napi_env env, const uint8_t* bytes, size_t length) {
  void* data = nullptr;
  napi_value buffer = nullptr;
  napi_value result = nullptr;
  if (napi_create_arraybuffer(env, length, &data, &buffer) != napi_ok) return nullptr;
  if (length > 0) memcpy(data, bytes, length);
  napi_create_typedarray(env, napi_uint8_array, length, buffer, 0, &result);
  return result;
}

napi_value numberArray(napi_env env, const double* values, size_t count) {
  void* data = nullptr;
  napi_value buffer = nullptr;
  napi_value result = nullptr;
  if (napi_create_arraybuffer(env, count * sizeof(double), &data, &buffer) != napi_ok)
    return nullptr;
  if (count > 0) memcpy(data, values, count * sizeof(double));
  napi_create_typedarray(env, napi_float64_array, count, buffer, 0, &result);
  return result;
}

napi_value handleOf(napi_env env, void* data, napi_finalize finalize, const napi_type_tag& tag) {
  napi_value result = nullptr;
  if (napi_create_external(env, data, nullptr, nullptr, &result) != napi_ok ||
      napi_type_tag_object(env, result, &tag) != napi_ok)
    return nullptr;
  // Last: before, the caller frees it.
  if (finalize != nullptr &&
      napi_add_finalizer(env, result, data, finalize, nullptr, nullptr) != napi_ok)
    return nullptr;
  return result;
}

void throwError(napi_env env, const char* code, const std::string& message) {
  napi_throw_error(env, code, message.c_str());
}

void setValue(napi_env env, napi_value object, const char* name, napi_value value) {
  napi_set_named_property(env, object, name, value);
}

void setFunction(napi_env env, napi_value object, const char* name, napi_callback function) {
  napi_value value = nullptr;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value) == napi_ok)
    setValue(env, object, name, value);
}

}  // namespace evio
