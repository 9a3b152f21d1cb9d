#!/usr/bin/env bash
# Builds the fuzz targets of this folder from the addon's own sources, with clang's libFuzzer and
# the address and undefined-behaviour sanitizers, against the system's OpenSSL. For tests only.
#
# Usage: build.sh OUTPUT-FOLDER
set -euo pipefail
out=$(realpath -m "$1")
cd "$(dirname "$0")"
native=$(cd ../../../tincan-bridge/native && pwd)
if [ -f "$out/done" ] && [ -z "$(find . "$native" -maxdepth 1 -type f -newer "$out/done" -print -quit)" ]; then
  exit 0
fi
mkdir -p "$out"
rm -f "$out"/*.o "$out/done"
# -iquote: the addon has a limits.h, which is not the one that system headers mean.
flags=(-std=gnu++17 -O1 -g -D_GNU_SOURCE -Wall -Wextra -Wno-keyword-macro -fno-omit-frame-pointer
  -fsanitize=address,undefined -fno-sanitize-recover=all -iquote "$native" -iquote .)
sources=(coalescing commands frame handshake inbound records segmentation tables tap transmit udp upcalls)
printf '%s\0' "${sources[@]}" | xargs -0 -P 2 -I{} \
  clang++ "${flags[@]}" -fsanitize=fuzzer-no-link -c "$native/{}.cpp" -o "$out/{}.o"
printf '%s\0' ./*.cpp | xargs -0 -P 2 -I{} sh -c \
  'target=$(basename "$1" .cpp); shift; exec clang++ "$@" -fsanitize=fuzzer "$target.cpp" "$0"/*.o -lssl -lcrypto -lpthread -o "$0/$target"' \
  "$out" {} "${flags[@]}"
touch "$out/done"
