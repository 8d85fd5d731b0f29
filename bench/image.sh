#!/bin/sh
# A Debian image for measurements: compilers, Python and Node in three layers, made from packages, as an OCI layout with
# the tags "first" and "second". They differ in their top layer: in "second" one file of ten there has other bytes.
#
#   bench/image.sh OCI-DIRECTORY        as root; the suite is $SUITE, by default trixie
set -eu

layout=$1
suite=${SUITE:-trixie}
here=$(dirname "$0")
work=$(mktemp -d "$layout.work-XXXXXX")
trap 'rm -rf "$work"' EXIT
mirror=$(node -e 'import(process.argv[1]).then(({ mirror }) => console.log(mirror()))' \
  "$(realpath "$here/../scripts/debian-packages.mjs")")

mmdebstrap --quiet --variant=apt --include=gcc,g++,clang,python3,perl,nodejs,git \
  --aptopt='APT::Install-Recommends "false"' \
  --aptopt='Acquire::Check-Valid-Until "false"' \
  --dpkgopt=force-unsafe-io \
  --format=tar "$suite" "$work/all.tar" "deb $mirror $suite main"

# no devices; first what programs need, then libraries, on top what only data is
mmtarfilter --path-exclude='/dev/*' --path-exclude='/usr/lib/*' --path-exclude='/usr/share/*' \
  --path-exclude='/var/lib/apt/lists/*' --path-exclude='/var/cache/*' < "$work/all.tar" > "$work/base.tar"
mmtarfilter --path-exclude='/*' --path-include='/usr/lib/*' < "$work/all.tar" > "$work/libraries.tar"
mmtarfilter --path-exclude='/*' --path-include='/usr/share/*' < "$work/all.tar" > "$work/share.tar"
rm "$work/all.tar"

mkdir "$work/share"
tar -C "$work/share" -xf "$work/share.tar"
pack() { tar -C "$work/share" --sort=name --numeric-owner --format=pax -cf "$1" usr; }
pack "$work/top.tar"
find "$work/share" -type f -links 1 | sort | awk 'NR % 10 == 0' | while read -r file; do echo >> "$file"; done
pack "$work/changed.tar"

rm -rf "$layout.new"
umoci init --layout "$layout.new"
umoci new --image "$layout.new:first"
umoci raw add-layer --image "$layout.new:first" "$work/base.tar"
umoci raw add-layer --image "$layout.new:first" "$work/libraries.tar"
umoci tag --image "$layout.new:first" second
umoci raw add-layer --image "$layout.new:first" "$work/top.tar"
umoci raw add-layer --image "$layout.new:second" "$work/changed.tar"
umoci gc --layout "$layout.new"
mv "$layout.new" "$layout"
