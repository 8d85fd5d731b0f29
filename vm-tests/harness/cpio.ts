/** An initramfs piece with a few files: the kernel unpacks archives that follow one another, one over the other. */

/** A cpio archive (newc, Linux Documentation/driver-api/early-userspace/buffer-format.rst) of files and their parents. */
export function cpioArchive(files: Readonly<Record<string, string | Uint8Array>>): Buffer {
  const out: Buffer[] = [];
  const directories = new Set<string>();
  let ino = 1;
  const add = (name: string, mode: number, data: Buffer) => {
    const fields = [ino++, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, name.length + 1, 0];
    const header = `070701${fields.map((n) => n.toString(16).padStart(8, "0")).join("")}${name}\0`;
    out.push(pad(Buffer.from(header)), pad(data));
  };
  for (const [path, content] of Object.entries(files)) {
    const parts = path.split("/").slice(0, -1);
    for (let depth = 1; depth <= parts.length; depth++) {
      const directory = parts.slice(0, depth).join("/");
      if (directories.has(directory)) continue;
      directories.add(directory);
      add(directory, 0o40755, Buffer.alloc(0));
    }
    add(path, 0o100644, Buffer.from(content));
  }
  add("TRAILER!!!", 0, Buffer.alloc(0));
  return pad(Buffer.concat(out), 512);
}

function pad(data: Buffer, multiple = 4): Buffer {
  return Buffer.concat([data, Buffer.alloc((multiple - (data.length % multiple)) % multiple)]);
}
