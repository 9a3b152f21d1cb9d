#!/usr/bin/env bash
# Builds the executable that container runtimes call, as one static program: it runs on hosts
# without Node.js, whatever libraries they have. Does nothing when it is newer than its sources.
set -euo pipefail
cd "$(dirname "$0")"

result=build/evio-cni
if [ -f "$result" ] && [ -z "$(find . -maxdepth 1 -type f -newer "$result" -print -quit)" ]; then
  exit 0
fi
mkdir -p build
"${CXX:-g++}" -std=c++20 -O2 -Wall -Wextra -Werror -static -fstack-protector-strong \
  -fno-exceptions -fno-rtti -ffunction-sections -Wl,--gc-sections -s \
  main.cpp controller.cpp json.cpp -o "$result.new"
mv "$result.new" "$result"
