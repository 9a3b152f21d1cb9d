/** Sockets with UDP_GRO and large buffers. */
#include "udp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <unistd.h>

#include "limits.h"

namespace evio {

Socket::~Socket() { close(fd); }

bool parseAddress(int family, const char* text, uint16_t port, Address* address) {
  *address = Address{};
  if (family == 4) {
    address->v4.sin_family = AF_INET;
    address->v4.sin_port = htons(port);
    address->length = sizeof address->v4;
    return inet_pton(AF_INET, text, &address->v4.sin_addr) == 1;
  }
  char plain[INET6_ADDRSTRLEN];
  const char* zone = strchr(text, '%');
  const size_t length = zone == nullptr ? strlen(text) : static_cast<size_t>(zone - text);
  if (length >= sizeof plain) return false;
  memcpy(plain, text, length);
  plain[length] = 0;
  address->v6.sin6_family = AF_INET6;
  address->v6.sin6_port = htons(port);
  address->length = sizeof address->v6;
  if (zone != nullptr) {
    address->v6.sin6_scope_id = if_nametoindex(zone + 1);
    if (address->v6.sin6_scope_id == 0) return false;
  }
  return inet_pton(AF_INET6, plain, &address->v6.sin6_addr) == 1;
}

uint16_t formatAddress(const Address& address, char* text, size_t size) {
  text[0] = 0;
  if (address.any.sa_family == AF_INET) {
    inet_ntop(AF_INET, &address.v4.sin_addr, text, static_cast<socklen_t>(size));
    return ntohs(address.v4.sin_port);
  }
  inet_ntop(AF_INET6, &address.v6.sin6_addr, text, static_cast<socklen_t>(size));
  char name[IF_NAMESIZE];
  if (IN6_IS_ADDR_LINKLOCAL(&address.v6.sin6_addr) && address.v6.sin6_scope_id != 0 &&
      if_indextoname(address.v6.sin6_scope_id, name) != nullptr) {
    const size_t used = strlen(text);
    snprintf(text + used, size - used, "%%%s", name);
  }
  return ntohs(address.v6.sin6_port);
}

/** Best effort: an old kernel lacks UDP_GRO, a missing capability limits the buffers. */
static void tune(int fd, int family) {
  const int on = 1;
  setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on);
  const int receive = limits::kSocketReceiveBytes;
  const int send = limits::kSocketSendBytes;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &receive, sizeof receive) < 0)
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof receive);
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &send, sizeof send) < 0)
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send, sizeof send);
  // DO: the kernel obeys the path's MTU and says EMSGSIZE, which is counted, so that the caller
  // sees a path narrower than it thought. PROBE would send into the hole in silence; without
  // either each record could travel as fragments, which NATs drop and which cost twice.
  const int discover = family == 4 ? IP_PMTUDISC_DO : IPV6_PMTUDISC_DO;
  setsockopt(fd, family == 4 ? IPPROTO_IP : IPPROTO_IPV6,
             family == 4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER, &discover, sizeof discover);
}

std::shared_ptr<Socket> Socket::open(int32_t number, int family, const char* text, uint16_t port,
                                     uint16_t* boundPort, Failure* failure) {
  Address address;
  if (!parseAddress(family, text, port, &address)) {
    *failure = {"internal", "not an IPv" + std::to_string(family) + " address: " + text};
    return nullptr;
  }
  const int type = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const int fd = socket(family == 4 ? AF_INET : AF_INET6, type, 0);
  if (fd < 0) {
    *failure = {"host.command-failed", std::string("open udp socket: ") + strerror(errno)};
    return nullptr;
  }
  auto result = std::make_shared<Socket>(number, family, fd);
  const int on = 1;
  if (family == 6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  socklen_t length = address.length;
  if (bind(fd, &address.any, address.length) < 0 ||
      getsockname(fd, &address.any, &length) < 0) {
    *failure = {"host.command-failed", std::string("bind udp socket to ") + text + " port " +
                                           std::to_string(port) + ": " + strerror(errno)};
    return nullptr;
  }
  tune(fd, family);
  *boundPort = ntohs(family == 4 ? address.v4.sin_port : address.v6.sin6_port);
  return result;
}

}  // namespace evio
