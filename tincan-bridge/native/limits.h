/**
 * Every size and time limit of the addon on one page, with the reason for each number. Owns no
 * code. Limits of the wire format itself stand in wire.h.
 */
#pragma once
#include <cstddef>
#include <cstdint>

namespace evio::limits {

/** Upcalls that wait for JavaScript. STUN and DTLS of some hundred peers fit in 1024; frames are
 *  group frames and first packets of flows. Bytes bound what super-frames (64 KiB) may take. */
constexpr size_t kDatagramUpcalls = 1024;
constexpr size_t kDatagramUpcallBytes = 2u << 20;
constexpr size_t kFrameUpcalls = 512;
constexpr size_t kFrameUpcallBytes = 4u << 20;

/** Datagrams that JavaScript has injected and the inbound thread has not yet taken. */
constexpr size_t kInjectedBytes = 4u << 20;

/** A TAP frame: 65 535 bytes of IP, 14 of Ethernet, two VLAN tags; plus the vnet header. */
constexpr size_t kFrameBytes = 65535 + 14 + 8;

/** Records need plaintexts of at most 2^14 bytes (RFC 6347 section 4.1): type byte and frame. */
constexpr size_t kPlaintextBytes = 1u << 14;

/** The kernel's UDP_MAX_SEGMENTS was 64 before Linux 6.9; a UDP payload ends at 65 507 bytes. */
constexpr size_t kSegmentsPerSend = 64;
constexpr size_t kBytesPerSend = 65000;
/** Messages that are handed to one sendmmsg when records are uneven. */
constexpr size_t kMessagesPerSend = 64;
/** Room behind kBytesPerSend for the record that does not fit any more. */
constexpr size_t kSendSlackBytes = kPlaintextBytes + 512;

/** A full send buffer is waited for this long before datagrams are dropped. The kernel drains
 *  some hundred KiB a millisecond; longer would hold up the other sessions. */
constexpr int kSendWaitMs = 4;

/** Datagrams that are received at once; each may be 64 KiB of UDP_GRO. */
constexpr size_t kReceiveBatch = 4;
constexpr size_t kReceiveBytes = 65536;
/** Turns of a thread's inner loop before it looks at its commands again. */
constexpr int kReceiveTurns = 16;
constexpr int kTapTurns = 64;
/** Sockets reported by one epoll_wait. */
constexpr int kEpollEvents = 16;

/** Segments of one super-frame that is written to the TAP: the kernel's UDP_MAX_SEGMENTS since
 *  Linux 6.9 is 128; TCP has no such limit, but 64 KiB hold no more than that of useful size. */
constexpr size_t kCoalescedSegments = 128;
constexpr size_t kIpBytes = 65535;
/** Ethernet + two VLAN tags + IPv6 with extension headers + TCP with options. */
constexpr size_t kHeaderBytes = 256;

/** What the kernel may buffer; needs CAP_NET_ADMIN beyond net.core.{r,w}mem_max. */
constexpr int kSocketReceiveBytes = 8 << 20;
constexpr int kSocketSendBytes = 4 << 20;

/** How often `closeSocket` looks, each 50 µs, whether the threads have let go: 20 ms at most. */
constexpr int kCloseTurns = 400;

/** Entries of the station table. */
constexpr size_t kStations = 65536;
constexpr size_t kRelays = 65536;
constexpr size_t kSessions = 16384;

/** A handshake: datagrams in its output queue, bytes of the peer's certificate chain, seconds
 *  between retransmissions at most (RFC 6347 section 4.2.4.1 allows up to 60). */
constexpr size_t kHandshakeDatagrams = 64;
constexpr long kCertificateChainBytes = 16384;
constexpr unsigned kRetransmitMaxUs = 1000000;
constexpr size_t kHandshakeDatagramBytes = 16384 + 2048;

}  // namespace evio::limits
