/** Walks a packed array of upcalls as datapath/upcalls.ts does. Owns nothing. */
#pragma once
#include "input.h"
#include "upcalls.h"

inline size_t walk(const std::vector<uint8_t>& packed, size_t mostItems, size_t mostBytes) {
  check(packed.size() <= mostBytes);
  size_t items = 0;
  for (size_t at = 0; at < packed.size(); items++) {
    check(at + sizeof(evio::UpcallHeader) <= packed.size());
    evio::UpcallHeader header;
    memcpy(static_cast<void*>(&header), packed.data() + at, sizeof header);
    check(header.kind <= evio::UpcallKind::kDatagram);
    if (header.kind == evio::UpcallKind::kDatagram)
      check(memchr(header.address, 0, sizeof header.address) != nullptr);
    at += sizeof header + header.length;
    check(at <= packed.size());
  }
  check(items <= mostItems);
  return items;
}
