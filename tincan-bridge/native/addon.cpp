/**
 * The data path's functions for JavaScript; native.ts is their only caller. Owns the life of an
 * Engine inside a Node environment: closed by JavaScript, by garbage collection, or when the
 * environment (a worker, the process) ends.
 */
#include "arguments.h"
#include "engine.h"

namespace evio {

constexpr napi_type_tag kEngineTag = {0x65766900d7150000, 0x6461746170617468};

struct Handle {
  napi_env env;
  napi_threadsafe_function wake = nullptr;
  std::unique_ptr<Engine> engine;
  std::vector<uint8_t> datagrams, frames;
};

static void closeHandle(Handle* handle);

static void onEnvironmentEnd(void* data) { closeHandle(static_cast<Handle*>(data)); }

static void closeHandle(Handle* handle) {
  if (handle->engine && handle->engine->closed()) return;
  if (handle->engine) handle->engine->close();
  napi_remove_env_cleanup_hook(handle->env, onEnvironmentEnd, handle);
  if (handle->wake != nullptr) napi_release_threadsafe_function(handle->wake, napi_tsfn_abort);
  handle->wake = nullptr;
}

/** On the JavaScript thread: everything that waits, as two packed arrays. */
static void deliver(napi_env env, napi_value callback, void* context, void*) {
  if (env == nullptr || callback == nullptr) return;  // shutting down; `context` may be gone
  Handle* handle = static_cast<Handle*>(context);
  if (!handle->engine || handle->engine->closed()) return;
  handle->engine->upcalls().take(&handle->datagrams, &handle->frames);
  napi_value arguments[2] = {
      byteArray(env, handle->datagrams.data(), handle->datagrams.size()),
      byteArray(env, handle->frames.data(), handle->frames.size())};
  napi_value global = nullptr;
  napi_get_global(env, &global);
  if (napi_call_function(env, global, callback, 2, arguments, nullptr) != napi_pending_exception)
    return;
  // Node would only warn about what the callback threw (DEP0168): make it uncaught instead.
  napi_value error = nullptr;
  if (napi_get_and_clear_last_exception(env, &error) == napi_ok) napi_fatal_exception(env, error);
}

static napi_value open(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 4);
  const std::string tap = arguments.text(0, 64);
  const NodeId self = arguments.nodeId(1);
  const bool offload = arguments.boolean(2);
  if (!arguments.ok()) return nullptr;
  auto handle = std::make_unique<Handle>();
  Handle* raw = handle.get();
  raw->env = env;
  if (napi_create_threadsafe_function(env, arguments.value(3), nullptr, string(env, "evio upcalls"),
                                      0, 1, nullptr, nullptr, raw, deliver,
                                      &raw->wake) != napi_ok) {
    throwError(env, "internal", "argument 4 of the addon must be a function");
    return nullptr;
  }
  const napi_threadsafe_function wake = raw->wake;
  Failure failure;
  raw->engine = Engine::open(
      tap, offload, self,
      [wake] { napi_call_threadsafe_function(wake, nullptr, napi_tsfn_nonblocking); },
      &failure);
  if (!raw->engine) {
    napi_release_threadsafe_function(wake, napi_tsfn_abort);
    throwError(env, failure.code, failure.message);
    return nullptr;
  }
  napi_add_env_cleanup_hook(env, onEnvironmentEnd, raw);
  const auto finalize = [](napi_env, void* data, void*) {
    Handle* ended = static_cast<Handle*>(data);
    closeHandle(ended);
    delete ended;
  };
  napi_value result = handleOf(env, raw, finalize, kEngineTag);
  if (result == nullptr) closeHandle(raw);
  else handle.release();
  return result;
}

/** The open engine of the first argument; null, and the arguments are not ok, when it is closed. */
static Engine* engineOf(Arguments& arguments) {
  Handle* handle = static_cast<Handle*>(arguments.external(0, kEngineTag));
  if (!arguments.ok()) return nullptr;
  if (!handle->engine->closed()) return handle->engine.get();
  throwError(arguments.env(), "internal", "the datapath is closed");
  arguments.fail();
  return nullptr;
}

static napi_value close(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 1);
  Handle* handle = static_cast<Handle*>(arguments.external(0, kEngineTag));
  if (arguments.ok()) closeHandle(handle);
  return nullptr;
}

static napi_value openSocket(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 4);
  Engine* engine = engineOf(arguments);
  const int family = arguments.integer(1, 4, 6);
  const std::string address = arguments.address(2);
  const uint16_t port = arguments.port(3);
  if (!arguments.ok()) return nullptr;
  uint16_t bound = 0;
  Failure failure;
  const int32_t socket = engine->openSocket(family, address.c_str(), port, &bound, &failure);
  if (socket == 0) {
    throwError(env, failure.code, failure.message);
    return nullptr;
  }
  const double values[2] = {static_cast<double>(socket), static_cast<double>(bound)};
  return numberArray(env, values, 2);
}

static napi_value closeSocket(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 2);
  Engine* engine = engineOf(arguments);
  const int32_t socket = arguments.id(1);
  if (arguments.ok()) engine->closeSocket(socket);
  return nullptr;
}

static napi_value sendDatagram(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 5);
  Engine* engine = engineOf(arguments);
  const int32_t socket = arguments.id(1);
  const std::string address = arguments.address(2);
  const uint16_t port = arguments.port(3);
  const Piece bytes = arguments.bytes(4, limits::kReceiveBytes);
  if (!arguments.ok()) return nullptr;
  return boolean(env, engine->sendDatagram(socket, address.c_str(), port, bytes));
}

static napi_value injectDatagram(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 5);
  Engine* engine = engineOf(arguments);
  const int32_t socket = arguments.id(1);
  const std::string address = arguments.address(2);
  const uint16_t port = arguments.port(3);
  const Piece bytes = arguments.bytes(4, limits::kReceiveBytes);
  if (arguments.ok())
    engine->injectDatagram(socket, address.c_str(), port, bytes);
  return nullptr;
}

static napi_value addSession(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 8);
  Engine* engine = engineOf(arguments);
  const int32_t session = arguments.integer(1, 1, INT32_MAX);
  const NodeId peer = arguments.nodeId(2);
  Keys keys{};
  keys.suite = static_cast<Suite>(arguments.integer(3, 0, 2));
  keys.sendKey = arguments.bytes(4, 32);
  keys.sendIv = arguments.bytes(5, 12);
  keys.receiveKey = arguments.bytes(6, 32);
  keys.receiveIv = arguments.bytes(7, 12);
  Failure failure;
  if (arguments.ok() && !engine->addSession(session, peer, keys, &failure))
    throwError(env, failure.code, failure.message);
  return nullptr;
}

/** engine, session, kind, socket or via, address, port, channel or ttl, sockets, maxFrameBytes */
static napi_value setPath(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 9);
  Engine* engine = engineOf(arguments);
  const int32_t session = arguments.integer(1, 1, INT32_MAX);
  Path path;
  path.kind = static_cast<PathKind>(arguments.integer(2, 0, 3));
  const int32_t over = arguments.id(3);
  const std::string address = arguments.address(4);
  const uint16_t port = arguments.port(5);
  const int32_t extra = arguments.integer(6, 0, 0xffff);
  const std::vector<int32_t> sockets = arguments.integers(7, 1024);
  const int32_t maxFrameBytes = arguments.integer(8, 0, INT32_MAX);
  if (!arguments.ok()) return nullptr;
  path.socket = path.via = over;
  path.channel = static_cast<uint16_t>(extra);
  path.ttl = static_cast<uint8_t>(extra);
  if ((path.kind == PathKind::kTurn && (extra < 0x4000 || extra > 0x4fff)) ||
      (path.kind == PathKind::kRing && (extra < 1 || extra > 255))) {
    throwError(env, "internal", "channel or ttl " + std::to_string(extra) + " is out of range");
    return nullptr;
  }
  Failure failure;
  if (!engine->setPath(session, path, address.c_str(), port, sockets,
                       static_cast<size_t>(maxFrameBytes), &failure))
    throwError(env, failure.code, failure.message);
  return nullptr;
}

static napi_value replaceSession(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 3);
  Engine* engine = engineOf(arguments);
  const int32_t from = arguments.id(1);
  const int32_t to = arguments.id(2);
  if (arguments.ok()) engine->replaceSession(from, to);
  return nullptr;
}

static napi_value removeSession(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 2);
  Engine* engine = engineOf(arguments);
  const int32_t session = arguments.id(1);
  if (arguments.ok()) engine->removeSession(session);
  return nullptr;
}

static napi_value setStation(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 4);
  Engine* engine = engineOf(arguments);
  const uint64_t mac = arguments.mac(1);
  const StationKind kind = static_cast<StationKind>(arguments.integer(2, 0, 2));
  const int32_t session = arguments.id(3);
  Failure failure;
  if (arguments.ok() && !engine->setStation(mac, kind, session, &failure))
    throwError(env, failure.code, failure.message);
  return nullptr;
}

static napi_value removeStation(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 2);
  Engine* engine = engineOf(arguments);
  const uint64_t mac = arguments.mac(1);
  if (arguments.ok()) engine->removeStation(mac);
  return nullptr;
}

static napi_value stationIdleMs(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 2);
  Engine* engine = engineOf(arguments);
  const uint64_t mac = arguments.mac(1);
  if (!arguments.ok()) return nullptr;
  return number(env, static_cast<double>(engine->stationIdleMs(mac)));
}

static napi_value setRelay(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 3);
  Engine* engine = engineOf(arguments);
  const NodeId destination = arguments.nodeId(1);
  const int32_t session = arguments.integer(2, 1, INT32_MAX);
  Failure failure;
  if (arguments.ok() && !engine->setRelay(destination, session, &failure))
    throwError(env, failure.code, failure.message);
  return nullptr;
}

static napi_value removeRelay(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 2);
  Engine* engine = engineOf(arguments);
  const NodeId destination = arguments.nodeId(1);
  if (arguments.ok()) engine->removeRelay(destination);
  return nullptr;
}

static napi_value sendFrame(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 5);
  Engine* engine = engineOf(arguments);
  const int32_t session = arguments.id(1);
  const uint8_t type = static_cast<uint8_t>(arguments.integer(2, 0, 3));
  const Piece bytes = arguments.bytes(3, limits::kFrameBytes);
  const VnetHeader offload = arguments.offload(4);
  if (!arguments.ok()) return nullptr;
  return boolean(env, engine->sendFrame(session, type, bytes, offload));
}

static napi_value sendEnvelope(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 6);
  Engine* engine = engineOf(arguments);
  const int32_t via = arguments.id(1);
  const NodeId source = arguments.nodeId(2);
  const NodeId destination = arguments.nodeId(3);
  const uint8_t ttl = static_cast<uint8_t>(arguments.integer(4, 0, 255));
  const Piece bytes = arguments.bytes(5, limits::kPlaintextBytes);
  if (!arguments.ok()) return nullptr;
  uint8_t ids[2 * kNodeIdBytes];
  memcpy(ids, source.data(), kNodeIdBytes);
  memcpy(ids + kNodeIdBytes, destination.data(), kNodeIdBytes);
  return boolean(env, engine->sendEnvelope(via, ids, ttl, bytes));
}

static napi_value deliverFrame(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 3);
  Engine* engine = engineOf(arguments);
  const Piece bytes = arguments.bytes(1, limits::kFrameBytes);
  const VnetHeader offload = arguments.offload(2);
  if (!arguments.ok()) return nullptr;
  return boolean(env, engine->deliverFrame(bytes, offload));
}

/** Wire frames with checksums out of a frame with offload facts. */
static napi_value completeFrame(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 2);
  const Piece bytes = arguments.bytes(0, limits::kFrameBytes);
  VnetHeader vnet = arguments.offload(1);
  napi_value list = nullptr;
  if (!arguments.ok() || napi_create_array(env, &list) != napi_ok) return nullptr;
  std::vector<uint8_t> frame(bytes.bytes, bytes.bytes + bytes.length);
  Segmenter segments;
  if (!resolveOffload(frame.data(), frame.size(), &vnet) ||
      !segments.begin(frame.data(), frame.size(), vnet))
    return list;
  Segment segment;
  std::vector<uint8_t> whole;
  for (uint32_t i = 0; segments.next(&segment); i++) {
    whole.assign(segment.header, segment.header + segment.headerLength);
    whole.insert(whole.end(), segment.payload, segment.payload + segment.payloadLength);
    if (segment.undone) {
      Layers layers;
      if (!parseLayers(whole.data(), whole.size(), &layers)) continue;
      setPseudoChecksum(whole.data(), layers);
      completeChecksum(whole.data(), layers.end, layers.transport, layers.checksumOffset());
    } else if (segment.complete) {
      completeChecksum(whole.data(), whole.size(), segment.checksumStart, segment.checksumOffset);
    }
    napi_set_element(env, list, i, byteArray(env, whole.data(), whole.size()));
  }
  return list;
}

static napi_value counters(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 1);
  Engine* engine = engineOf(arguments);
  if (!arguments.ok()) return nullptr;
  double values[14];
  engine->counters(values);
  return numberArray(env, values, 14);
}

static napi_value sessionCounters(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 2);
  Engine* engine = engineOf(arguments);
  const int32_t session = arguments.id(1);
  if (!arguments.ok()) return nullptr;
  double values[13];
  return numberArray(env, values, engine->sessionCounters(session, values) ? 13 : 0);
}

/** The constants of wire.h, for the test that compares them with wire.ts. */
static napi_value wireConstants(napi_env env) {
  napi_value object = nullptr;
  napi_create_object(env, &object);
  const auto set = [env, object](const char* name, double value) {
    setValue(env, object, name, number(env, value));
  };
  set("ethernet", kEthernet);
  set("flood", kFlood);
  set("envelope", kEnvelope);
  set("control", kControl);
  set("checksumUndone", kChecksumUndone);
  set("envelopeBytes", static_cast<double>(kEnvelopeBytes));
  set("laneOpenssl", kLaneOpenSsl);
  set("laneOutbound", kLaneOutbound);
  set("laneInbound", kLaneInbound);
  set("laneScript", kLaneScript);
  set("laneCapacity", static_cast<double>(kLaneCapacity));
  set("replayWindow", static_cast<double>(kReplayWindow));
  set("recordHeaderBytes", static_cast<double>(kRecordHeaderBytes));
  set("channelDataHeaderBytes", static_cast<double>(kChannelHeaderBytes));
  set("aes128Overhead", static_cast<double>(recordOverhead(Suite::kAes128Gcm)));
  set("aes256Overhead", static_cast<double>(recordOverhead(Suite::kAes256Gcm)));
  set("chachaOverhead", static_cast<double>(recordOverhead(Suite::kChaCha20)));
  return object;
}

static napi_value init(napi_env env, napi_value exports) {
  setFunction(env, exports, "open", open);
  setFunction(env, exports, "close", close);
  setFunction(env, exports, "openSocket", openSocket);
  setFunction(env, exports, "closeSocket", closeSocket);
  setFunction(env, exports, "sendDatagram", sendDatagram);
  setFunction(env, exports, "injectDatagram", injectDatagram);
  setFunction(env, exports, "addSession", addSession);
  setFunction(env, exports, "setPath", setPath);
  setFunction(env, exports, "replaceSession", replaceSession);
  setFunction(env, exports, "removeSession", removeSession);
  setFunction(env, exports, "setStation", setStation);
  setFunction(env, exports, "removeStation", removeStation);
  setFunction(env, exports, "stationIdleMs", stationIdleMs);
  setFunction(env, exports, "setRelay", setRelay);
  setFunction(env, exports, "removeRelay", removeRelay);
  setFunction(env, exports, "sendFrame", sendFrame);
  setFunction(env, exports, "sendEnvelope", sendEnvelope);
  setFunction(env, exports, "deliverFrame", deliverFrame);
  setFunction(env, exports, "completeFrame", completeFrame);
  setFunction(env, exports, "counters", counters);
  setFunction(env, exports, "sessionCounters", sessionCounters);
  setValue(env, exports, "wire", wireConstants(env));
  exportHandshake(env, exports);
  exportNetlink(env, exports);
  return exports;
}

}  // namespace evio

NAPI_MODULE(evio, evio::init)
