/** /dev/net/tun with IFF_VNET_HDR (Linux Documentation/networking/tuntap.rst). */
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "frame.h"

namespace evio {

// Since Linux 6.2; the headers of Debian 12 do not have them.
constexpr unsigned kTunUso4 = 0x20;
constexpr unsigned kTunUso6 = 0x40;

void Tap::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

static Failure describe(const std::string& name, const char* what, int error) {
  const std::string text = what + (" " + name) + ": " + strerror(error);
  switch (error) {
    case EACCES:
    case EPERM:
      return {"host.not-permitted", text + " (CAP_NET_ADMIN is needed)"};
    case EBUSY:
      return {"host.device-foreign", text + " (another process holds it)"};
    case EINVAL:
      return {"host.device-foreign", text + " (it is not a TAP device of one queue)"};
    default:
      return {"host.command-failed", text};
  }
}

bool Tap::open(const std::string& name, bool offload, Failure* failure) {
  if (if_nametoindex(name.c_str()) == 0) {
    *failure = {"host.command-failed", "tap device " + name + " does not exist"};
    return false;
  }
  fd_ = ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd_ < 0) {
    const int error = errno;
    *failure = describe("/dev/net/tun", "open", error);
    if (error == ENOENT || error == ENODEV || error == ENXIO) failure->code = "host.no-tun";
    return false;
  }
  ifreq request{};
  if (name.size() >= sizeof request.ifr_name) {
    *failure = {"host.command-failed", "tap device name " + name + " is too long"};
    return false;
  }
  memcpy(request.ifr_name, name.data(), name.size());
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (ioctl(fd_, TUNSETIFF, &request) < 0) {
    *failure = describe(name, "attach tap device", errno);
    return false;
  }
  int headerBytes = sizeof(VnetHeader);  // whoever had the device before may have set 12
  // None is said too: the device keeps what an earlier holder has set.
  const unsigned offloads = offload ? TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN : 0;
  offload_ = offload;
  udpSegmentation_ =
      offload && ioctl(fd_, TUNSETOFFLOAD, offloads | kTunUso4 | kTunUso6) == 0;
  if (ioctl(fd_, TUNSETVNETHDRSZ, &headerBytes) < 0 ||
      (!udpSegmentation_ && ioctl(fd_, TUNSETOFFLOAD, offloads) < 0)) {
    *failure = describe(name, "set offloads of tap device", errno);
    return false;
  }
  return true;
}

bool Tap::write(const VnetHeader& vnet, iovec* pieces, size_t count, size_t segments,
                EngineCounters* counters) const {
  static const VnetHeader plain{};
  if (!offload_ && (vnet.flags != 0 || vnet.gsoType != kGsoNone)) {
    const size_t length = count == 2 ? pieces[1].iov_len : 0;
    if (vnet.gsoType != kGsoNone || size_t{vnet.checksumStart} + vnet.checksumOffset + 2 > length) {
      counters->tapWriteErrors.add(segments);
      return false;
    }
    completeChecksum(static_cast<uint8_t*>(pieces[1].iov_base), length, vnet.checksumStart,
                     vnet.checksumOffset);
    return write(plain, pieces, count, segments, counters);
  }
  pieces[0] = {const_cast<VnetHeader*>(&vnet), sizeof vnet};
  const ssize_t written = writev(fd_, pieces, static_cast<int>(count));
  if (written < static_cast<ssize_t>(sizeof vnet)) {
    counters->tapWriteErrors.add(segments);
    return false;
  }
  counters->tapWrittenFrames.add(segments);
  counters->tapWrittenBytes.add(static_cast<uint64_t>(written) - sizeof vnet);
  return true;
}

}  // namespace evio
