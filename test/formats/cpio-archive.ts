/** Makes cpio archives for tests. */

export interface CpioFile {
  readonly name: string;
  /** A regular file, if absent. */
  readonly mode?: number;
  /** Content, or a symlink's target. */
  readonly data?: string;
  /** Zeros after the name, besides the one that ends it. */
  readonly padName?: number;
}

/** An archive of these files, `newc` or with checksums, with its trailer. */
export function cpio(files: readonly CpioFile[], magic = "070701"): Buffer {
  return Buffer.concat(
    [...files, { name: "TRAILER!!!", mode: 0 }].map((file) => member(file, magic)),
  );
}

function member(
  { name, mode = 0o100644, data = "", padName = 0 }: CpioFile,
  magic: string,
): Buffer {
  const text = Buffer.from(data);
  const path = Buffer.concat([Buffer.from(name), Buffer.alloc(1 + padName)]);
  const fields = [1, mode, 0, 0, 1, 0, text.length, 0, 0, 0, 0, path.length, 0];
  const header = magic + fields.map((n) => n.toString(16).padStart(8, "0")).join("");
  return Buffer.concat([pad(Buffer.concat([Buffer.from(header), path])), pad(text)]);
}

function pad(data: Buffer): Buffer {
  return Buffer.concat([data, Buffer.alloc(-data.length & 3)]);
}

/** The files of an initramfs that a kernel of this release boots an image with. */
export function initramfsFiles(release: string): CpioFile[] {
  const modules = `usr/lib/modules/${release}/kernel/fs`;
  return [
    { name: "usr/lib/cfsboot/composefs-setup-root", mode: 0o100755, data: "program" },
    {
      name: "usr/lib/systemd/system/initrd-root-fs.target.wants/composefs-setup-root.service",
      mode: 0o120777,
      data: "../composefs-setup-root.service",
    },
    { name: `${modules}/erofs/erofs.ko.xz`, data: "erofs" },
    { name: `${modules}/overlayfs/overlay.ko.xz`, data: "overlay" },
  ];
}
