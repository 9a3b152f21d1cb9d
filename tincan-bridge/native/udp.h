/**
 * UDP sockets and addresses. A Socket closes itself when the last thread has let go of it; nothing
 * here knows sessions.
 */
#pragma once
#include <netinet/in.h>
#include <sys/socket.h>

#include <memory>
#include <string>

#include "tap.h"

namespace evio {

struct Address {
  union {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
  };
  socklen_t length = 0;
  Address() { memset(&v6, 0, sizeof v6); }
};

/** Parses a literal address of the family (4 or 6); an IPv6 one may carry a zone ("fe80::1%eth0"). */
bool parseAddress(int family, const char* text, uint16_t port, Address* address);
/** The literal, at most 63 characters and a zero, into `text`; returns the port. */
uint16_t formatAddress(const Address& address, char* text, size_t size);

class Socket {
 public:
  Socket(int32_t number, int family, int fd) : number(number), family(family), fd(fd) {}
  ~Socket();
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  const int32_t number;
  const int family;  // 4 or 6
  const int fd;
  /** Cleared when the kernel refuses UDP_SEGMENT on it. Each thread may find out by itself. */
  std::atomic<bool> segmentation{true};

  static std::shared_ptr<Socket> open(int32_t number, int family, const char* address,
                                      uint16_t port, uint16_t* boundPort, Failure* failure);
};

}  // namespace evio
