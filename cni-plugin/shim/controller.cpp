/** The client of the local API: a connection, one request, one answer, each with a deadline. */
#include "controller.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "limits.h"

namespace evio {

long long nowMs() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<long long>(time.tv_sec) * 1000 + time.tv_nsec / 1'000'000;
}

namespace {

Answer failed(Answer::Kind kind, std::string why) { return {kind, 0, {}, std::move(why)}; }

/** A connected socket, or -1 with `error` set. */
int connectOnce(const std::string& path, int& error) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    error = ENAMETOOLONG;
    return -1;
  }
  memcpy(address.sun_path, path.data(), path.size());
  // Non-blocking: a listener whose queue is full says EAGAIN at once, and may be asked again.
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    error = errno;
    return -1;
  }
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
  error = errno;
  close(fd);
  return -1;
}

bool mayAppear(int error) { return error == ENOENT || error == ECONNREFUSED || error == EAGAIN; }

int connectWithin(const std::string& path, int waitMs, int& error) {
  const long long endMs = nowMs() + waitMs;
  for (;;) {
    const int fd = connectOnce(path, error);
    if (fd >= 0 || !mayAppear(error) || nowMs() >= endMs) return fd;
    poll(nullptr, 0, retryEveryMs);
  }
}

/** Whether the socket becomes ready before the deadline. */
bool wait(int fd, short events, long long endMs) {
  for (;;) {
    const long long leftMs = endMs - nowMs();
    if (leftMs <= 0) return false;
    pollfd watched{fd, events, 0};
    const int count = poll(&watched, 1, static_cast<int>(leftMs));
    if (count > 0) return true;
    if (count < 0 && errno != EINTR) return false;
  }
}

bool sendAll(int fd, std::string_view bytes, long long endMs) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) bytes.remove_prefix(static_cast<size_t>(sent));
    else if (errno == EAGAIN) {
      if (!wait(fd, POLLOUT, endMs)) return false;
    } else if (errno != EINTR) return false;
  }
  return true;
}

/** Everything until the controller closes; false when that does not come in time or is too much. */
bool receiveAll(int fd, std::string& bytes, long long endMs) {
  char chunk[16 << 10];
  for (;;) {
    const ssize_t count = recv(fd, chunk, sizeof chunk, 0);
    if (count == 0) return true;
    if (count > 0) {
      if (bytes.size() + static_cast<size_t>(count) > maxAnswerBytes) return false;
      bytes.append(chunk, static_cast<size_t>(count));
    } else if (errno == EAGAIN) {
      if (!wait(fd, POLLIN, endMs)) return false;
    } else if (errno != EINTR) return false;
  }
}

/** The number after a header's name in lower case, or -1. The controller writes them so. */
long contentLength(std::string_view head) {
  constexpr std::string_view name = "\r\ncontent-length: ";
  for (size_t i = 0; i + name.size() < head.size(); i += 1) {
    if (strncasecmp(head.data() + i, name.data(), name.size()) != 0) continue;
    return strtol(head.data() + i + name.size(), nullptr, 10);
  }
  return -1;
}

Answer parse(const std::string& bytes) {
  const size_t end = bytes.find("\r\n\r\n");
  if (bytes.compare(0, 9, "HTTP/1.1 ") != 0 || end == std::string::npos) {
    return failed(Answer::Kind::broken, "the controller ended before it answered");
  }
  const std::string head = bytes.substr(0, end + 2);
  const int status = static_cast<int>(strtol(head.c_str() + 9, nullptr, 10));
  const long length = contentLength(head);
  std::string body = bytes.substr(end + 4);
  if (length < 0 || body.size() != static_cast<size_t>(length)) {
    return failed(Answer::Kind::broken, "the controller ended in the middle of its answer");
  }
  return {Answer::Kind::answered, status, std::move(body), {}};
}

}  // namespace

Answer ask(const std::string& socketPath, std::string_view body, int waitMs, int answerMs) {
  int error = 0;
  const int fd = connectWithin(socketPath, waitMs, error);
  if (fd < 0) {
    return failed(Answer::Kind::absent,
                  "no controller answers on " + socketPath + ": " + strerror(error));
  }
  const long long endMs = nowMs() + answerMs;
  std::string request =
      "POST /v1/cni HTTP/1.1\r\nHost: evio\r\nConnection: close\r\n"
      "Content-Type: application/json\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n";
  request += body;
  std::string bytes;
  const bool complete = sendAll(fd, request, endMs) && receiveAll(fd, bytes, endMs);
  close(fd);
  if (!complete && bytes.empty()) {
    return failed(Answer::Kind::broken, "the controller did not answer in time, or ended");
  }
  return parse(bytes);
}

}  // namespace evio
