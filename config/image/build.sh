#!/bin/bash
# Builds the container image as an OCI archive: Debian packages by mmdebstrap from the sources that
# this machine uses, npm packages by the lock file, and what `npm run build` made. No registry, no
# container tool. Needs root. The same inputs give the same bytes.
#
# Usage: config/image/build.sh ARCHIVE [NAME]     (NAME: default localhost/evio:VERSION)
#   EVIO_IMAGE_SOURCES   apt's list of Debian packages, default this machine's
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
archive=$(realpath -m "${1:?usage: config/image/build.sh ARCHIVE [NAME]}")
version=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' package.json)
name=${2:-localhost/evio:$version}

say() { printf 'image: %s\n' "$*"; }
fail() {
  printf 'image: %s\n' "$*" >&2
  exit 1
}
[ "$(id -u)" = 0 ] || fail 'needs root: mmdebstrap makes a chroot'
command -v mmdebstrap >/dev/null || fail 'mmdebstrap is missing: apt-get install mmdebstrap'
[ -f dist/controller/cli/main.js ] && [ -f tincan-bridge/native/build/Release/evio.node ] ||
  fail 'nothing is built: npm run build'
sources=${EVIO_IMAGE_SOURCES:-}
for file in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
  [ -n "$sources" ] || [ ! -s "$file" ] || sources=$file
done
[ -n "$sources" ] || fail 'no list of Debian packages: set EVIO_IMAGE_SOURCES'

# What the programs of Evio start or need: ip and nsenter for devices, nft for masquerading,
# the C++ library for Node.js, certificates to verify the XMPP server's by.
packages=iproute2,nftables,util-linux,libstdc++6,ca-certificates

work=$(mktemp -d "${TMPDIR:-/tmp}/evio-image.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}

say "Debian packages from $sources"
mmdebstrap --mode=root --variant=essential --include=$packages --quiet \
  --aptopt='Apt::Install-Recommends "false"' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/info/*' \
  --customize-hook='rm -rf "$1"/var/cache/* "$1"/var/log/* "$1"/var/lib/apt/lists/*' \
  --customize-hook='rm -f "$1"/etc/resolv.conf "$1"/etc/hostname "$1"/etc/machine-id' \
  '' "$root" "$sources" >"$work/log" 2>&1 || {
  tail -n 20 "$work/log" >&2
  fail 'mmdebstrap failed'
}

say 'npm packages by the lock file'
to=$root/opt/evio
mkdir -p "$to/controller/cli" "$to/tincan-bridge/native/build/Release"
cp package.json package-lock.json "$to/"
npm ci --prefix "$to" --omit=dev --ignore-scripts --prefer-offline --no-fund --no-audit \
  --loglevel=error
find "$to/node_modules" -name '*.map' -delete
rm -rf "$to"/node_modules/node-linux-*/{include,share,CHANGELOG.md}

say 'Evio'
for part in base config controller tincan-bridge cni-plugin; do
  [ ! -d dist/$part ] || (mkdir -p "$to/dist" && cp -r dist/$part "$to/dist/")
done
find "$to/dist" \( -name '*.map' -o -name '*.d.ts' \) -delete
cp controller/cli/evio "$to/controller/cli/"
cp tincan-bridge/native/build/Release/evio.node "$to/tincan-bridge/native/build/Release/"
plugin=cni-plugin/shim/build/evio-cni
[ ! -f $plugin ] || (mkdir -p "$to/${plugin%/*}" && cp $plugin "$to/$plugin")
ln -s ../../opt/evio/controller/cli/evio "$root/usr/bin/evio"
"$(dirname "${BASH_SOURCE[0]}")/../../config/image/oci-archive.sh" "$root" "$name" \
  '{"Entrypoint":["/usr/bin/evio"],"Cmd":["up"],"Env":["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],"WorkingDir":"/","StopSignal":"SIGTERM"}' \
  "$archive"
say "$archive: $name, $(($(stat -c %s "$archive") >> 20)) MiB"
