import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ascii } from "../../src/formats/bytestring.ts";
import { objectPath, toHex } from "../../src/formats/digest.ts";
import { AT_FDCWD, S_IFBLK, S_IFCHR } from "../../src/linux/constants.ts";
import { isErrno, type Linux } from "../../src/linux/linux.ts";
import { measureVerity } from "../../src/linux/verity.ts";
import type { Leaf, Node, Tree } from "../../src/model/tree.ts";
import { digestBytes } from "../../userspace/hash.ts";
import { linux } from "../../userspace/linux.ts";
import { DigestStore, hashContent } from "../../userspace/repository/digest-store.ts";
import { nodePlatform } from "../../userspace/repository/node-platform.ts";
import { type ScanOptions, scanDirectory } from "../../userspace/scan.ts";
import { fakeVerity } from "../repository/fake-verity.ts";

let scratch: string;
let tree: string;
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "cfsboot-scan-"));
  tree = join(scratch, "tree");
  mkdirSync(tree);
});
afterEach(() => rmSync(scratch, { recursive: true }));

const OPTIONS: ScanOptions = {
  take: hashContent(nodePlatform, "sha256"),
  hardlinks: true,
  xattrs: "all",
  devices: true,
  epoch: false,
};

const scan = (options: Partial<ScanOptions> = {}, calls: Linux = linux): Tree =>
  scanDirectory(calls, tree, { ...OPTIONS, ...options });

const put = (name: string, content: string | Buffer) => writeFileSync(join(tree, name), content);

function entry(root: Tree, name: string): Node {
  return root.entries.get(ascii(name))!;
}

describe("a scan", () => {
  test("tells small files from those that are objects", () => {
    put("small", "s".repeat(64));
    put("large", "l".repeat(65));
    const root = scan();
    expect((entry(root, "small") as Leaf).content).toEqual({
      type: "inline",
      data: new Uint8Array(Buffer.from("s".repeat(64))),
    });
    expect((entry(root, "large") as Leaf).content).toEqual({
      type: "external",
      size: 65,
      digest: digestBytes("sha256", Buffer.from("l".repeat(65))),
      verity: true,
    });
  });

  test("keeps mode, time and links; --use-epoch and broken links", () => {
    put("file", "");
    chmodSync(join(tree, "file"), 0o4750);
    utimesSync(join(tree, "file"), 0, 1234.5);
    linkSync(join(tree, "file"), join(tree, "link"));
    const root = scan();
    const { mode, mtimeSec, mtimeNsec } = entry(root, "file").stat;
    expect({ mode, mtimeSec, mtimeNsec }).toEqual({
      mode: 0o4750,
      mtimeSec: 1234n,
      mtimeNsec: 500_000_000,
    });
    expect(entry(root, "link")).toBe(entry(root, "file"));
    const other = scan({ hardlinks: false, epoch: true });
    expect(entry(other, "link")).not.toBe(entry(other, "file"));
    expect(entry(other, "file").stat).toMatchObject({ mtimeSec: 0n, mtimeNsec: 0 });
  });

  test("follows no symlink, and keeps names that are not text", () => {
    mkdirSync(join(scratch, "elsewhere"));
    symlinkSync("../elsewhere", join(tree, "to"));
    const odd = Buffer.concat([Buffer.from(`${tree}/`), Buffer.from([0xff, 0x0a])]);
    writeFileSync(odd, "");
    const root = scan();
    expect((entry(root, "to") as Leaf).content).toEqual({
      type: "symlink",
      target: "../elsewhere",
    });
    expect([...root.entries.keys()].sort()).toEqual(["to", "\xff\n"]);
  });

  test("a directory that becomes a symlink under way is not entered", () => {
    mkdirSync(join(tree, "d"));
    mkdirSync(join(scratch, "elsewhere"));
    const swapping: Linux = {
      ...linux,
      openat(dirfd, path, flags, mode) {
        if (dirfd !== AT_FDCWD) {
          rmSync(join(tree, "d"), { recursive: true });
          symlinkSync("../elsewhere", join(tree, "d"));
        }
        return linux.openat(dirfd, path, flags, mode);
      },
    };
    expect(() => scan({}, swapping)).toThrow(`openat ${tree}/d: Not a directory`);
  });

  test("takes the xattrs that are asked for, and does without where there are none", (ctx) => {
    put("file", "");
    const path = join(tree, "file");
    try {
      linux.lsetxattr(path, "user.a", Buffer.from("1"), 0);
    } catch (error) {
      if (isErrno(error, "EOPNOTSUPP")) ctx.skip("the file system has no user.* xattrs");
      throw error;
    }
    const isRoot = process.getuid?.() === 0;
    if (isRoot) linux.lsetxattr(path, "trusted.b", Buffer.from("2"), 0);
    const names = (options: Partial<ScanOptions>) => [
      ...entry(scan(options), "file").stat.xattrs.keys(),
    ];
    expect(names({})).toEqual(
      expect.arrayContaining(isRoot ? ["user.a", "trusted.b"] : ["user.a"]),
    );
    expect(names({ xattrs: "user" })).toEqual(["user.a"]);
    expect(names({ xattrs: "none" })).toEqual([]);
  });

  test("devices, if they are wanted", (ctx) => {
    const make = (name: string, type: number, rdev: number) =>
      linux.mknodat(AT_FDCWD, join(tree, name), type | 0o600, rdev);
    try {
      make("null", S_IFCHR, 0x103);
      make("disk", S_IFBLK, 0x1101_032c);
      make("whiteout", S_IFCHR, 0);
    } catch (error) {
      if (isErrno(error, "EPERM")) ctx.skip("only root makes devices");
      throw error;
    }
    const root = scan();
    expect((entry(root, "null") as Leaf).content).toEqual({ type: "chardev", rdev: 0x103 });
    expect((entry(root, "disk") as Leaf).content).toEqual({ type: "blockdev", rdev: 0x1101_032c });
    expect((entry(root, "whiteout") as Leaf).content).toEqual({ type: "chardev", rdev: 0 });
    expect(scan({ devices: false }).entries.size).toBe(0);
  });

  test("errors name the file", () => {
    put("file", "x".repeat(100));
    const broken: Linux = { ...linux, read: (_, buffer) => linux.read(-1, buffer) };
    const take = hashContent({ ...nodePlatform, linux: broken }, "sha256");
    expect(() => scan({ take })).toThrow(`read ${tree}/file: Bad file descriptor`);
    expect(() => scanDirectory(linux, join(tree, "file"), OPTIONS)).toThrow("Not a directory");
  });
});

describe("a digest store", () => {
  const content = Buffer.alloc(200_000, "content");
  const digest = digestBytes("sha256", content);
  const path = objectPath(toHex(digest));

  function scanInto(calls: Linux): Tree {
    const store = new DigestStore(
      { ...nodePlatform, linux: calls },
      join(scratch, "store"),
      "sha256",
    );
    try {
      return scan({ take: store.take });
    } finally {
      store.close();
    }
  }

  test("gets each content once, readable by all", () => {
    put("a", content);
    put("b", content);
    expect((entry(scanInto(linux), "a") as Leaf).content).toMatchObject({ digest });
    scanInto(linux);
    const files = readdirSync(join(scratch, "store"), { recursive: true });
    expect(files.sort()).toEqual([path.slice(0, 2), path]);
    expect(readFileSync(join(scratch, "store", path)).equals(content)).toBe(true);
    expect(statSync(join(scratch, "store", path)).mode & 0o777).toBe(0o644);
  });

  test("a damaged object is replaced", () => {
    put("a", content);
    scanInto(linux);
    truncateSync(join(scratch, "store", path), 5);
    scanInto(linux);
    expect(readFileSync(join(scratch, "store", path)).equals(content)).toBe(true);
  });

  test("objects get fs-verity where it can be had, also those that were there", () => {
    put("a", content);
    scanInto(linux);
    const verity = fakeVerity(linux);
    scanInto(verity.linux);
    const fd = linux.openat(AT_FDCWD, join(scratch, "store", path), 0);
    try {
      const measured = measureVerity(verity.linux, fd, "sha256");
      expect(measured.state === "verity" && toHex(measured.digest)).toBe(toHex(digest));
    } finally {
      linux.close(fd);
    }
  });
});
