#!/bin/bash
# Packs a root folder into an OCI image archive (image-spec 1.0, one layer), without any tool of
# containers and without a registry. The same folder gives the same bytes. Never runs what it packs.
#
# Usage: oci-archive.sh ROOT-FOLDER NAME CONFIG-JSON ARCHIVE
#   CONFIG-JSON: the image's `config` object, {"Entrypoint": ["/bin/x"], "Env": ["A=b"]}
set -euo pipefail
root=$1 name=$2 config=$3 archive=$4

case $(uname -m) in
  x86_64) arch=amd64 ;;
  aarch64) arch=arm64 ;;
  *) arch=$(uname -m) ;;
esac
work=$(mktemp -d "$archive.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/blobs/sha256"

# Moves a file among the blobs; prints its descriptor.
blob() { # FILE MEDIA-TYPE
  local digest size
  digest=$(sha256sum "$1" | cut -d' ' -f1)
  size=$(stat -c %s "$1")
  mv "$1" "$work/blobs/sha256/$digest"
  printf '"mediaType":"%s","digest":"sha256:%s","size":%s' "$2" "$digest" "$size"
}

stamp="@${SOURCE_DATE_EPOCH:-0}"
tar -C "$root" --sort=name --mtime="$stamp" --owner=0 --group=0 --numeric-owner \
  -cf "$work/layer.tar" .
diff=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
gzip -n -1 "$work/layer.tar"
type=application/vnd.oci.image
layer=$(blob "$work/layer.tar.gz" $type.layer.v1.tar+gzip)

printf '{"architecture":"%s","os":"linux","config":%s,"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
  "$arch" "$config" "$diff" >"$work/config"
image=$(blob "$work/config" $type.config.v1+json)

printf '{"schemaVersion":2,"mediaType":"%s","config":{%s},"layers":[{%s}]}' \
  $type.manifest.v1+json "$image" "$layer" >"$work/manifest"
manifest=$(blob "$work/manifest" $type.manifest.v1+json)

# containerd takes the name from the first annotation, other tools from the second.
printf '{"schemaVersion":2,"manifests":[{%s,"annotations":{"io.containerd.image.name":"%s","org.opencontainers.image.ref.name":"%s"}}]}' \
  "$manifest" "$name" "$name" >"$work/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' >"$work/oci-layout"
tar -C "$work" --sort=name --mtime="$stamp" --owner=0 --group=0 --numeric-owner \
  -cf "$archive.new" oci-layout index.json blobs
mv "$archive.new" "$archive"
