/**
 * Mounts an image (its path is the first argument, a directory the second) and prints what the kernel shows, a line for
 * each entry: path, mode, links, uid, gid, device, time, size, target, content, xattrs. To be run in a mount namespace
 * of its own.
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { type ByteString, fromBytes, toBytes } from "../../../src/formats/bytestring.ts";
import { toHex } from "../../../src/formats/digest.ts";
import { escapeField } from "../../../src/formats/dumpfile-fields.ts";
import {
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  O_DIRECTORY,
  O_RDONLY,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from "../../../src/linux/constants.ts";
import { linux } from "../../../userspace/linux.ts";

const [image, directory] = process.argv.slice(2) as [string, string];
execFileSync("mount", ["-t", "erofs", "-o", "ro,loop", image, directory]);

const lines: string[] = [];

function show(path: ByteString): void {
  const real = Buffer.concat([Buffer.from(directory), toBytes(path)]);
  const stat = linux.statx(AT_FDCWD, real, AT_SYMLINK_NOFOLLOW);
  const type = stat.mode & S_IFMT;
  const content = type === S_IFREG && stat.size < 1 << 20 ? readFileSync(real) : Buffer.alloc(0);
  const xattrs = linux
    .llistxattr(real)
    .map(
      (name) => `${escapeField(name, "escaped")}=${toHex(linux.lgetxattr(real, toBytes(name)))}`,
    );
  lines.push(
    [
      escapeField(path, "plain"),
      stat.mode.toString(8),
      stat.nlink,
      stat.uid,
      stat.gid,
      `${stat.rdevMajor}:${stat.rdevMinor}`,
      `${stat.mtimeSec}.${stat.mtimeNsec}`,
      type === S_IFDIR ? "-" : stat.size,
      type === S_IFLNK ? escapeField(linux.readlinkat(AT_FDCWD, real), "plain") : "-",
      // content that is elsewhere reads as zeros here
      content.some((byte) => byte !== 0) ? toHex(content) : "-",
      ...xattrs.sort(),
    ].join(" "),
  );
  if (type !== S_IFDIR) return;
  const fd = linux.openat(AT_FDCWD, real, O_RDONLY | O_DIRECTORY);
  const names = linux.readdir(fd).map(({ name }) => name);
  linux.close(fd);
  for (const name of names) show((path === "/" ? `/${name}` : `${path}/${name}`) as ByteString);
}

show(fromBytes(Buffer.from("/")));
console.log(lines.join("\n"));
