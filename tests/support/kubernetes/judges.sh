#!/bin/bash
# Builds the real parts that judge us on Kubernetes: Kubernetes' own programs, Flannel, the reference
# CNI plugins, kube-router, and the image that test pods run. What is there stays; needs Go and the
# packages of `tests/setup.sh kubernetes`. Cold on two quiet cores: 6 minutes; 5 GB in Go's caches.
#
# Usage: tests/support/kubernetes/judges.sh [helm]     (EVIO_TEST_CACHE: where to, default
# ~/.cache/evio-judges; helm: also that, which takes as long as half of all others)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${EVIO_TEST_CACHE:-$HOME/.cache/evio-judges}
bin=$cache/bin
kubernetes=1.34.4 # the last minor whose kubelet takes containerd 1.6 of Debian 12
plugins=v1.9.1
cnitool=v1.3.0
flannel_cni=v0.9.1 # the last that held the plugin of Flannel
helm=v3.18.6
min_go=25          # 1.25, for flanneld

say() { printf 'judges: %s\n' "$*"; }
[ -x "$(command -v go || true)" ] || PATH=$PATH:/usr/local/go/bin
minor=$(go env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p') || true
if [ "${minor:-0}" -lt $min_go ]; then
  say "Go 1.$min_go or later is not installed: the tests with Kubernetes will be skipped"
  exit 0
fi
mkdir -p "$bin/cni"
exec 9>"$cache/lock"
flock 9

# The versions that are there; others are built again.
versions="kubernetes $kubernetes, plugins $plugins, cnitool $cnitool, flannel $flannel_cni, $(cat "$here"/judges/*/go.sum | sha256sum | cut -c1-16)"
if [ "$(cat "$cache/versions" 2>/dev/null)" != "$versions" ]; then
  rm -f "$bin"/kube* "$bin"/flanneld "$bin"/cnitool "$bin"/cni/*
fi

# timed WHAT COMMAND…: says what is built before, and how long it took after.
timed() {
  local what=$1 start=$SECONDS
  shift
  say "building $what"
  "$@" >"$cache/build.log" 2>&1 || {
    tail -n 20 "$cache/build.log" >&2
    say "could not build $what (whole log: $cache/build.log)" >&2
    return 1
  }
  say "built $what in $((SECONDS - start)) s"
}
missing() { # FOLDER NAME…: those that are not there
  local folder=$1 name
  shift
  for name in "$@"; do [ -x "$folder/$name" ] || printf '%s\n' "$name"; done
}
go_build() { nice -n 5 go build -mod=readonly -trimpath "$@"; }

# Kubernetes cannot be installed by `go install`: its go.mod replaces modules by folders. Ours asks
# for the same modules by version.
kubernetes() {
  local version=k8s.io/component-base/version
  cd "$here/judges/kubernetes"
  CGO_ENABLED=0 go_build -o "$bin/" -ldflags "-s -w -X $version.gitVersion=v$kubernetes \
    -X $version.gitMajor=1 -X $version.gitMinor=34 -X $version.gitTreeState=clean" "$@"
}
flannel() {
  cd "$here/judges/flannel"
  CGO_ENABLED=1 go_build -ldflags '-s -w' -o "$bin/flanneld" github.com/flannel-io/flannel
}
kube_router() {
  cd "$here/judges/kube-router"
  CGO_ENABLED=0 go_build -ldflags '-s -w' -o "$bin/kube-router" \
    github.com/cloudnativelabs/kube-router/v2/cmd/kube-router
}
installed() { # FOLDER PACKAGE@VERSION…
  GOBIN=$1 CGO_ENABLED=0 nice -n 5 go install -trimpath -ldflags '-s -w' "${@:2}"
}

wanted=$(missing "$bin" kubelet kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubectl)
[ -z "$wanted" ] ||
  timed "Kubernetes $kubernetes" kubernetes $(printf 'k8s.io/kubernetes/cmd/%s\n' $wanted)
[ -z "$(missing "$bin" flanneld)" ] || timed flanneld flannel
[ -z "$(missing "$bin" kube-router)" ] || timed kube-router kube_router ||
  say 'without kube-router the test of NetworkPolicy will be skipped'
repository=github.com/containernetworking
[ -z "$(missing "$bin/cni" bridge host-local loopback portmap bandwidth)" ] ||
  timed 'CNI plugins' installed "$bin/cni" $repository/plugins/plugins/main/{bridge,loopback}@$plugins \
    $repository/plugins/plugins/ipam/host-local@$plugins \
    $repository/plugins/plugins/meta/{portmap,bandwidth}@$plugins
[ -z "$(missing "$bin/cni" flannel)" ] ||
  timed "Flannel's CNI plugin" installed "$bin/cni" $repository/plugins/plugins/meta/flannel@$flannel_cni
[ -z "$(missing "$bin" cnitool)" ] ||
  timed cnitool installed "$bin" $repository/cni/cnitool@$cnitool
printf '%s\n' "$versions" >"$cache/versions"
[ "${1:-}" != helm ] || [ -x "$bin/helm" ] ||
  timed helm installed "$bin" helm.sh/helm/v3/cmd/helm@$helm

# The image of test pods: busybox (static), and programs of Debian with the libraries that they need.
programs='/usr/bin/ping /usr/bin/iperf3 /usr/bin/socat'
image() {
  local root program library
  root=$(mktemp -d "$cache/root.XXXXXX")
  mkdir -p "$root"/{bin,usr/bin,etc,tmp,proc,sys,dev,root,var/run}
  chmod 1777 "$root/tmp"
  cp "$(command -v busybox)" "$root/bin/busybox"
  for program in $("$root/bin/busybox" --list); do
    [ "$program" = busybox ] || ln -s busybox "$root/bin/$program"
  done
  for program in $programs; do
    rm -f "$root/bin/${program##*/}"
    cp "$program" "$root/bin/"
    for library in $(ldd "$program" | grep -o '/[^ ]*'); do
      mkdir -p "$root${library%/*}"
      cp -L "$library" "$root$library"
    done
  done
  echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
  echo 'root:x:0:' >"$root/etc/group"
  bash "$here/../../../config/image/oci-archive.sh" "$root" localhost/judge:1 \
    '{"Env":["PATH=/bin:/usr/bin"],"Cmd":["/bin/sleep","2147483647"]}' "$bin/image.tar"
  rm -rf "$root"
}
[ "$bin/image.tar" -nt "$here/judges.sh" ] || timed 'the image of test pods' image
