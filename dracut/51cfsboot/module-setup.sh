#!/bin/bash
# dracut module: the root file system from a composefs image, by composefs-setup-root.
# Used where it is asked for: dracut --add cfsboot, or add_dracutmodules+=" cfsboot " in dracut.conf.d.

program=/usr/lib/cfsboot/composefs-setup-root
unit=composefs-setup-root.service
config=/usr/lib/composefs/setup-root-conf.toml

check() {
    [[ -x ${dracutsysrootdir-}$program ]] || return 1
    # not by itself: most machines do not boot from an image
    return 255
}

depends() {
    echo systemd
}

installkernel() {
    # Also in a host-only initramfs: the machine that it is built on may be a container. The hashes are what fs-verity
    # asks for where they are modules; a kernel that has something built in has no module of that name.
    hostonly='' instmods erofs overlay loop sha256_generic sha512_generic
}

install() {
    inst_simple "$program"
    inst_simple "$systemdsystemunitdir/$unit"
    if [[ -e ${dracutsysrootdir-}$config ]]; then
        inst_simple "$config"
    fi
    $SYSTEMCTL -q --root "$initdir" add-wants initrd-root-fs.target "$unit"
}
