#!/bin/sh
# A bootable container image: a Debian root, and on top of it cfsboot and an initramfs that has composefs-setup-root.
#
#   docs/image/image.sh BASE.tar FILES OCI-DIRECTORY TAG
#
# BASE.tar is from base.sh. FILES is a directory with cfsboot installed in it. The initramfs is made by the
# Debian root's own dracut; $DRACUT holds its arguments, by default a generic initramfs for all machines.
#
# As root, or as a user for whom mmdebstrap can make a user namespace (package uidmap).
set -eu

base=$1
files=$2
layout=$3
tag=$4
dracut=${DRACUT:---no-hostonly --no-hostonly-cmdline --add cfsboot}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir "$work/top"
cp -R "$files/." "$work/top/"

# the root is unpacked into a temporary place, dracut runs in it, and only the initramfs comes out
mmdebstrap --quiet --variant=custom --format=null --skip=update,setup,cleanup,check/qemu \
  --setup-hook="tar-in $base /" \
  --setup-hook='
    # who cannot make device files gets them from mmdebstrap
    mkdir -p "$1/dev/pts" "$1/dev/shm"
    if mknod -m 666 "$1/dev/null" c 1 3 2> /dev/null; then
      mknod -m 666 "$1/dev/zero" c 1 5
      mknod -m 666 "$1/dev/urandom" c 1 9
      ln -s /proc/self/fd "$1/dev/fd"
    fi
  ' \
  --customize-hook="sync-in $work/top /" \
  --customize-hook="
    kver=\$(ls \"\$1/usr/lib/modules\")
    chroot \"\$1\" dracut --quiet --force --kver \"\$kver\" $dracut \"/usr/lib/modules/\$kver/initramfs.img\"
  " \
  --customize-hook="sync-out /usr/lib/modules $work/modules" \
  unused /dev/null 'deb http://unused.invalid unused main' > "$work/log" 2>&1 || {
  cat "$work/log" >&2
  exit 1
}
kver=$(ls "$work/modules")
mkdir -p "$work/top/usr/lib/modules/$kver"
install -m 644 "$work/modules/$kver/initramfs.img" "$work/top/usr/lib/modules/$kver/initramfs.img"
tar -C "$work/top" --sort=name --owner=0 --group=0 --numeric-owner --mode=u+rw,go-w -cf "$work/top.tar" .

umoci init --layout "$layout"
umoci new --image "$layout:$tag"
umoci raw add-layer --image "$layout:$tag" --history.created_by "docs/image/base.sh" "$base"
umoci raw add-layer --image "$layout:$tag" --history.created_by "docs/image/image.sh" "$work/top.tar"
umoci config --image "$layout:$tag" --config.label containers.bootc=1
umoci gc --layout "$layout"
