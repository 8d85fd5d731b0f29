#!/bin/sh
# Installs what `npm run build` made below DESTDIR (default /): scripts/install.sh [--initramfs-only] [DESTDIR]
#
#   /usr/lib/cfsboot/             cfsboot.mjs, linux.node, composefs-setup-root
#   /usr/bin/cfsboot              link to cfsboot.mjs; needs Node 20.19 or newer
#   /usr/lib/dracut/modules.d/    51cfsboot
#   /usr/lib/systemd/system/      composefs-setup-root.service
#
# --initramfs-only leaves out what needs Node.
set -eu

fail() {
  echo "install.sh: error: $1" >&2
  exit "$2"
}

all=yes
if [ "${1-}" = --initramfs-only ]; then
  all=no
  shift
fi
case ${1-} in -*) fail "unknown option $1 (usage: install.sh [--initramfs-only] [DESTDIR])" 2 ;; esac
[ $# -le 1 ] || fail "usage: install.sh [--initramfs-only] [DESTDIR]" 2
destdir=${1-}
root=$(cd "$(dirname "$0")/.." && pwd)

put() { # MODE SOURCE TARGET
  [ -f "$root/$2" ] || fail "$2 is missing: build it with npm run build" 1
  install -D -m "$1" "$root/$2" "$destdir$3"
}

put 755 dist/composefs-setup-root /usr/lib/cfsboot/composefs-setup-root
put 755 dracut/51cfsboot/module-setup.sh /usr/lib/dracut/modules.d/51cfsboot/module-setup.sh
put 644 systemd/composefs-setup-root.service /usr/lib/systemd/system/composefs-setup-root.service
if [ $all = yes ]; then
  put 755 dist/cfsboot.mjs /usr/lib/cfsboot/cfsboot.mjs
  put 644 dist/linux.node /usr/lib/cfsboot/linux.node
  mkdir -p "$destdir/usr/bin"
  ln -sfn ../lib/cfsboot/cfsboot.mjs "$destdir/usr/bin/cfsboot"
fi
