/**
 * Tells JavaScript that the kernel's addresses, links or routes have changed: a NETLINK_ROUTE socket
 * on the event loop. Owns the socket; reads no message, since what counts is looked up afterwards.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "arguments.h"

namespace evio {

constexpr napi_type_tag kWatchTag = {0x65766900d7150002, 0x6e65746c696e6b00};

struct Watch {
  napi_env env;
  napi_async_context context = nullptr;
  napi_ref callback = nullptr;
  uv_poll_t poll;
  int fd = -1;
};

static void onEnvironmentEnd(void* data);

/** The structure itself lives until the loop has let go of the handle. Idempotent. */
static void stop(Watch* watch) {
  if (watch->fd < 0) return;
  napi_remove_env_cleanup_hook(watch->env, onEnvironmentEnd, watch);
  uv_poll_stop(&watch->poll);
  close(watch->fd);
  watch->fd = -1;
  napi_delete_reference(watch->env, watch->callback);
  napi_async_destroy(watch->env, watch->context);
  uv_close(reinterpret_cast<uv_handle_t*>(&watch->poll),
           [](uv_handle_t* handle) { delete static_cast<Watch*>(handle->data); });
}

static void onEnvironmentEnd(void* data) { stop(static_cast<Watch*>(data)); }

static void onReadable(uv_poll_t* poll, int, int) {
  Watch* watch = static_cast<Watch*>(poll->data);
  char bytes[8192];
  // ENOBUFS says that messages were lost: that too means that something has changed.
  while (recv(watch->fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0 || errno == ENOBUFS) errno = 0;
  napi_env env = watch->env;
  napi_handle_scope scope = nullptr;
  napi_open_handle_scope(env, &scope);
  napi_value callback = nullptr, global = nullptr;
  napi_get_reference_value(env, watch->callback, &callback);
  napi_get_global(env, &global);
  napi_make_callback(env, watch->context, global, callback, 0, nullptr, nullptr);
  napi_close_handle_scope(env, scope);
}

static int openSocket() {
  const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
  if (fd < 0) return -1;
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE |
                      RTMGRP_IPV6_ROUTE;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return fd;
  const int saved = errno;
  close(fd);
  errno = saved;
  return -1;
}

static napi_value watchNetwork(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 1);
  if (!arguments.ok()) return nullptr;
  napi_valuetype type = napi_undefined;
  napi_typeof(env, arguments.value(0), &type);
  if (type != napi_function) {
    napi_throw_type_error(env, nullptr, "argument 0 must be a function");
    return nullptr;
  }
  uv_loop_t* loop = nullptr;
  const int fd = openSocket();
  if (fd < 0 || napi_get_uv_event_loop(env, &loop) != napi_ok) {
    throwError(env, "host.command-failed", std::string("netlink: ") + strerror(errno));
    if (fd >= 0) close(fd);
    return nullptr;
  }
  Watch* watch = new Watch;
  watch->env = env;
  watch->fd = fd;
  napi_create_reference(env, arguments.value(0), 1, &watch->callback);
  napi_async_init(env, nullptr, string(env, "evio network watch"), &watch->context);
  uv_poll_init(loop, &watch->poll, fd);
  watch->poll.data = watch;
  uv_poll_start(&watch->poll, UV_READABLE, onReadable);
  uv_unref(reinterpret_cast<uv_handle_t*>(&watch->poll));
  napi_add_env_cleanup_hook(env, onEnvironmentEnd, watch);
  // No finalizer: the watch ends by its own call, or with the environment.
  napi_value handle = handleOf(env, watch, nullptr, kWatchTag);
  if (handle == nullptr) stop(watch);
  return handle;
}

/** Once for each watch: the handle points to nothing afterwards. */
static napi_value unwatchNetwork(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info, 1);
  Watch* watch = static_cast<Watch*>(arguments.external(0, kWatchTag));
  if (arguments.ok()) stop(watch);
  return nullptr;
}

void exportNetlink(napi_env env, napi_value exports) {
  setFunction(env, exports, "watchNetwork", watchNetwork);
  setFunction(env, exports, "unwatchNetwork", unwatchNetwork);
}

}  // namespace evio
