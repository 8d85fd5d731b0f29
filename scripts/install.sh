#!/bin/sh
# Installs what `npm run build` made below DESTDIR (default /): 
# scripts/install.sh [--initramfs-only | --tools] [DESTDIR]
#
#   /usr/lib/cfsboot/             cfsboot.mjs, linux.node, composefs-setup-root
#   /usr/bin/cfsboot              link to cfsboot.mjs; needs Node 20.19 or newer
#   /usr/share/man/               the manual: cfsboot(1) and others
#   /usr/lib/dracut/modules.d/    51cfsboot
#   /usr/lib/systemd/system/      composefs-setup-root.service, cfsboot-finalize-staged.service and its -hold; enabled:
#                                 cfsboot-boot-complete.service, cfsboot-seal.service, cfsboot-grow.service
#
# --initramfs-only leaves out what needs Node, and the manual. --tools adds links under the names of the C project's
# tools, which must not be installed there:
#
#   /usr/bin/mkcomposefs, /usr/bin/composefs-info, /usr/sbin/mount.composefs
set -eu

fail() {
  echo "install.sh: error: $1" >&2
  exit "$2"
}

usage="usage: install.sh [--initramfs-only | --tools] [DESTDIR]"
all=yes
tools=
case ${1-} in
--initramfs-only) all=no && shift ;;
--tools) tools="bin/mkcomposefs bin/composefs-info sbin/mount.composefs" && shift ;;
esac
case ${1-} in -*) fail "unknown option $1 ($usage)" 2 ;; esac
[ $# -le 1 ] || fail "$usage" 2
destdir=${1-}
program=../lib/cfsboot/cfsboot.mjs
for tool in $tools; do
  path=$destdir/usr/$tool
  if [ -e "$path" ] || [ -L "$path" ]; then
    [ "$(readlink "$path")" = "$program" ] || fail "$path is there and not ours" 1
  fi
done
root=$(cd "$(dirname "$0")/.." && pwd)

put() { # MODE SOURCE TARGET
  [ -f "$root/$2" ] || fail "$2 is missing: build it with npm run build" 1
  install -D -m "$1" "$root/$2" "$destdir$3"
}

put 755 dist/composefs-setup-root /usr/lib/cfsboot/composefs-setup-root
put 755 dracut/51cfsboot/module-setup.sh /usr/lib/dracut/modules.d/51cfsboot/module-setup.sh
units=/usr/lib/systemd/system
put 644 systemd/composefs-setup-root.service $units/composefs-setup-root.service
if [ $all = yes ]; then
  for unit in finalize-staged finalize-staged-hold boot-complete seal grow; do
    put 644 "systemd/cfsboot-$unit.service" "$units/cfsboot-$unit.service"
  done
  mkdir -p "$destdir$units/multi-user.target.wants"
  for unit in boot-complete seal grow; do
    ln -sfn "../cfsboot-$unit.service" "$destdir$units/multi-user.target.wants/cfsboot-$unit.service"
  done
  put 755 dist/cfsboot.mjs /usr/lib/cfsboot/cfsboot.mjs
  put 644 dist/linux.node /usr/lib/cfsboot/linux.node
  for link in bin/cfsboot $tools; do
    mkdir -p "$destdir/usr/${link%/*}"
    ln -sfn "$program" "$destdir/usr/$link"
  done
  for page in $(cd "$root" && echo dist/man/*); do
    put 644 "$page" "/usr/share/man/man${page##*.}/${page##*/}"
  done
fi
