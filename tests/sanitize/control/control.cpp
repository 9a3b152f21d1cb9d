/** Defects on purpose: a tier that finds nothing must be seen to find these. Not part of the product. */
#include <node_api.h>

#include <cstdint>
#include <thread>

namespace evio {

static int shared_number = 0;

static napi_value race(napi_env, napi_callback_info) {
  std::thread one([] { for (int i = 0; i < 1000; i++) shared_number++; });
  std::thread two([] { for (int i = 0; i < 1000; i++) shared_number++; });
  one.join();
  two.join();
  return nullptr;
}

static napi_value overflow(napi_env, napi_callback_info) {
  volatile int length = 8;
  uint8_t* bytes = new uint8_t[static_cast<size_t>(length)];
  static volatile uint8_t sink;
  sink = bytes[length];
  delete[] bytes;
  return nullptr;
}

static napi_value undefined(napi_env, napi_callback_info) {
  volatile int shift = 40;
  static volatile int sink;
  sink = 1 << shift;
  return nullptr;
}

static napi_value init(napi_env env, napi_value exports) {
  const struct { const char* name; napi_callback function; } all[] = {
      {"race", race}, {"overflow", overflow}, {"undefined", undefined}};
  for (const auto& each : all) {
    napi_value function = nullptr;
    napi_create_function(env, each.name, NAPI_AUTO_LENGTH, each.function, nullptr, &function);
    napi_set_named_property(env, exports, each.name, function);
  }
  return exports;
}

}  // namespace evio

NAPI_MODULE(control, evio::init)
