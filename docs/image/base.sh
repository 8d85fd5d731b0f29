#!/bin/sh
# A small Debian root that can boot, as a tar archive.
#
#   docs/image/base.sh SUITE OUT.tar [PACKAGE...]        e.g. docs/image/base.sh trixie base.tar openssh-server
#
# As root, or as a user for whom mmdebstrap can make a user namespace (package uidmap). Packages come from
# $DEBIAN_MIRROR, by default the mirror that this machine itself uses.
set -eu

suite=$1
out=$2
shift 2
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI) $(LABEL)' 'Origin: Debian' |
  awk '$2 == "Debian" { print $1; exit }')}
[ -n "$mirror" ] || {
  echo "base.sh: apt knows no Debian mirror: run apt-get update, or set DEBIAN_MIRROR" >&2
  exit 1
}

for keyring in /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/debian-archive-keyring.pgp; do
  [ ! -e "$keyring" ] || break
done

case $(dpkg --print-architecture) in
  amd64) kernel=linux-image-cloud-amd64 ;;
  arm64) kernel=linux-image-cloud-arm64 ;;
  *) kernel=linux-image-$(dpkg --print-architecture) ;;
esac
packages=systemd,systemd-sysv,udev,dbus,kmod,mount,util-linux,e2fsprogs,fsverity,zstd,dracut,$kernel
for package; do packages=$packages,$package; done

# INITRD=No: the initramfs is made later, when our dracut module is there
INITRD=No mmdebstrap --quiet --variant=apt --include="$packages" \
  --keyring="$keyring" \
  --aptopt='APT::Install-Recommends "false"' \
  --aptopt='Acquire::Check-Valid-Until "false"' \
  --aptopt='Acquire::Languages "none"' \
  --dpkgopt=force-unsafe-io \
  --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --customize-hook='
    set -eu
    cd "$1"
    # a kernel lives with its modules; /boot belongs to the boot loader, /sysroot shows the physical root
    for kver in $(ls usr/lib/modules); do
      image=usr/lib/modules/$kver/vmlinuz
      # newer packages have it there already
      if [ -L "$image" ] || [ ! -e "$image" ]; then mv --force "boot/vmlinuz-$kver" "$image"; fi
    done
    rm -rf boot/* vmlinuz* initrd.img*
    mkdir -p boot sysroot
    # every machine makes its own identity
    : > etc/machine-id
    rm -f var/lib/dbus/machine-id etc/resolv.conf etc/hostname
    echo debian > etc/hostname
    # no part of a system that boots
    rm -rf var/lib/apt/lists/* var/cache/* var/log/* etc/apt/apt.conf.d/99mmdebstrap etc/dpkg/dpkg.cfg.d/99mmdebstrap
  ' \
  --format=tar "$suite" "$out.all" "deb $mirror $suite main"
# the kernel makes the device files
mmtarfilter --path-exclude='/dev/*' < "$out.all" > "$out"
rm "$out.all"
