/**
 * What both providers of the interface `Linux` must do, as a list of cases. The same code runs in Node and, compiled,
 * in QuickJS, so it uses neither's globals.
 */
import { ascii, type ByteString, fromBytes, toBytes } from "../../src/formats/bytestring.ts";
import * as K from "../../src/linux/constants.ts";
import { readAll, readFile, writeAll } from "../../src/linux/files.ts";
import { type Fd, type Linux, LinuxError, type Path } from "../../src/linux/linux.ts";

export interface Case {
  readonly name: string;
  /** Mounts in a mount namespace of its own. */
  readonly needsRoot?: true;
  /** `dir` is an empty directory for this case alone, and `path` its name. */
  run(linux: Linux, dir: Fd, path: string): void;
}

function equal(actual: unknown, expected: unknown, what = "value"): void {
  const show = (value: unknown) =>
    JSON.stringify(value, (_, v) => (typeof v === "bigint" ? `${v}n` : v));
  if (show(actual) !== show(expected)) {
    throw new Error(`${what}: expected ${show(expected)}, found ${show(actual)}`);
  }
}

/** Runs `action`, which must fail with this error of this call about this path. */
function fails(action: () => unknown, code: string, syscall: string, path: string): LinuxError {
  try {
    action();
  } catch (error) {
    if (!(error instanceof LinuxError)) throw error;
    equal([error.code, error.syscall, error.path], [code, syscall, path], "error");
    if (!error.message.startsWith(`${syscall} ${path}: `)) {
      throw new Error(`unexpected message: ${error.message}`);
    }
    return error;
  }
  throw new Error(`expected ${code}, and nothing was thrown`);
}

function throwsMessage(action: () => unknown, pattern: RegExp): void {
  let message: string | undefined;
  try {
    action();
  } catch (error) {
    message = String(error);
  }
  if (message === undefined || !pattern.test(message)) {
    throw new Error(`expected an error like ${pattern}, found ${message}`);
  }
}

const bytes = (text: string) => toBytes(ascii(text));
const text = (data: Uint8Array) => fromBytes(data) as string;

function create(linux: Linux, dir: Fd, name: Path, content = ""): void {
  const fd = linux.openat(dir, name, K.O_WRONLY | K.O_CREAT | K.O_EXCL | K.O_CLOEXEC, 0o644);
  writeAll(linux, fd, bytes(content));
  linux.close(fd);
}

const read = (linux: Linux, dir: Fd, name: Path) => text(readFile(linux, dir, name, 1 << 20));

const files: Case[] = [
  {
    name: "read, write and their positions",
    run(linux, dir) {
      const fd = linux.openat(dir, "file", K.O_RDWR | K.O_CREAT, 0o600);
      equal(linux.write(fd, bytes("hello")), 5);
      equal(linux.write(fd, bytes("J"), 0), 1);
      const buffer = new Uint8Array(8);
      equal(linux.read(fd, buffer), 0, "read at the end");
      equal(linux.read(fd, buffer, 1), 4, "read at 1");
      equal(text(buffer.subarray(0, 4)), "ello");
      // A view into the middle of a buffer is that part and no other.
      equal(linux.read(fd, buffer.subarray(6), 0), 2);
      equal(text(buffer), "ello\0\0Je");
      linux.close(fd);
      fails(() => linux.read(fd, buffer), "EBADF", "read", `fd ${fd}`);
      fails(() => linux.close(fd), "EBADF", "close", `fd ${fd}`);
    },
  },
  {
    name: "positions and sizes beyond 4 GiB",
    run(linux, dir) {
      const fd = linux.openat(dir, "sparse", K.O_RDWR | K.O_CREAT, 0o600);
      const far = 2 ** 33 + 7;
      linux.write(fd, bytes("x"), far);
      equal(linux.statx(fd, "", K.AT_EMPTY_PATH).size, far + 1);
      const buffer = new Uint8Array(2);
      equal(linux.read(fd, buffer, far), 1);
      linux.ftruncate(fd, 2 ** 32 + 1);
      equal(linux.statx(dir, "sparse", 0).size, 2 ** 32 + 1);
      linux.close(fd);
    },
  },
  {
    name: "open flags have their meaning on this machine",
    run(linux, dir) {
      create(linux, dir, "file");
      linux.symlinkat("file", dir, "link");
      const RD = K.O_RDONLY;
      fails(() => linux.openat(dir, "file", RD | K.O_DIRECTORY), "ENOTDIR", "openat", "file");
      fails(() => linux.openat(dir, "link", RD | K.O_NOFOLLOW), "ELOOP", "openat", "link");
      fails(
        () => linux.openat(dir, "file", K.O_WRONLY | K.O_CREAT | K.O_EXCL, 0o600),
        "EEXIST",
        "openat",
        "file",
      );
      const fd = linux.openat(dir, "link", K.O_PATH | K.O_NOFOLLOW | K.O_CLOEXEC);
      equal(linux.statx(fd, "", K.AT_EMPTY_PATH).mode & K.S_IFMT, K.S_IFLNK);
      equal(linux.readlinkat(fd, ""), "file");
      linux.close(fd);
    },
  },
  {
    name: "openat2 stays beneath and follows no symlinks",
    run(linux, dir) {
      linux.mkdirat(dir, "sub", 0o755);
      linux.symlinkat("/etc", dir, "out");
      const open = (path: string, resolve: number) =>
        linux.openat2(dir, path, { flags: K.O_PATH | K.O_CLOEXEC, resolve });
      linux.close(open("sub", K.RESOLVE_BENEATH));
      fails(() => open("sub/../..", K.RESOLVE_BENEATH), "EXDEV", "openat2", "sub/../..");
      fails(() => open("out", K.RESOLVE_NO_SYMLINKS), "ELOOP", "openat2", "out");
      const how = { flags: K.O_WRONLY | K.O_CREAT, mode: 0o640, resolve: K.RESOLVE_BENEATH };
      linux.close(linux.openat2(dir, "new", how));
      equal(linux.statx(dir, "new", 0).mode, K.S_IFREG | 0o640);
      const directory = { flags: K.O_RDONLY | K.O_DIRECTORY, resolve: 0 };
      fails(() => linux.openat2(dir, "new", directory), "ENOTDIR", "openat2", "new");
    },
  },
  {
    name: "statx",
    run(linux, dir) {
      create(linux, dir, "file", "12345");
      const fd = linux.openat(dir, "file", K.O_RDONLY);
      linux.fchmod(fd, 0o4711);
      linux.utimensat(dir, "file", -5n, 123456789, 0);
      const stat = linux.statx(fd, "", K.AT_EMPTY_PATH);
      equal([stat.mode, stat.size, stat.nlink], [K.S_IFREG | 0o4711, 5, 1]);
      equal([stat.mtimeSec, stat.mtimeNsec], [-5n, 123456789]);
      equal(stat.ino > 0n && stat.mountId > 0n && stat.uid === linux.geteuid(), true);
      linux.utimensat(dir, "file", 2n ** 33n, 1, 0);
      equal(linux.statx(dir, "file", 0).mtimeSec, 2n ** 33n);
      linux.close(fd);
      const device = linux.statx(K.AT_FDCWD, "/dev/null", 0);
      equal([device.mode & K.S_IFMT, device.rdevMajor, device.rdevMinor], [K.S_IFCHR, 1, 3]);
      fails(() => linux.statx(dir, "none", 0), "ENOENT", "statx", "none");
      const bad = linux.openat(dir, "file", K.O_RDONLY);
      linux.close(bad);
      fails(() => linux.statx(bad, "", K.AT_EMPTY_PATH), "EBADF", "statx", `fd ${bad}`);
    },
  },
  {
    name: "readdir reads all entries, every time",
    run(linux, dir) {
      const count = 2000;
      const pad = "x".repeat(40);
      for (let i = 0; i < count; i++) create(linux, dir, `${pad}${i}`);
      linux.mkdirat(dir, "sub", 0o755);
      linux.symlinkat("a", dir, "link");
      const listing = linux.openat(dir, ".", K.O_RDONLY | K.O_DIRECTORY);
      for (let round = 0; round < 2; round++) {
        const entries = new Map(linux.readdir(listing).map((entry) => [entry.name, entry]));
        equal(entries.size, count + 2, "entries");
        equal(entries.get(ascii("sub"))?.type, K.DT_DIR);
        equal(entries.get(ascii("link"))?.type, K.DT_LNK);
        const file = entries.get(ascii(`${pad}77`));
        equal([file?.type, file?.ino], [K.DT_REG, linux.statx(dir, `${pad}77`, 0).ino]);
      }
      linux.close(listing);
    },
  },
  {
    name: "names are bytes",
    run(linux, dir) {
      const latin = new Uint8Array([0x66, 0xff, 0x0a]);
      create(linux, dir, latin, "bytes");
      create(linux, dir, "größe €😀", "text");
      linux.symlinkat(latin, dir, "link");
      const listing = linux.openat(dir, ".", K.O_RDONLY | K.O_DIRECTORY);
      const names = linux.readdir(listing).map((entry) => entry.name);
      linux.close(listing);
      const utf8 = "gr\xc3\xb6\xc3\x9fe \xe2\x82\xac\xf0\x9f\x98\x80" as ByteString;
      equal(names.sort(), ["f\xff\n", utf8, "link"].sort());
      equal(read(linux, dir, toBytes(utf8)), "text");
      equal(linux.readlinkat(dir, "link"), "f\xff\n");
      fails(() => linux.mkdirat(dir, latin, 0o755), "EEXIST", "mkdirat", "f\\xff\\x0a");
      fails(() => linux.mkdirat(dir, "a\0b", 0o755), "EINVAL", "mkdirat", "a\0b");
      const nul = new Uint8Array([0x61, 0]);
      fails(() => linux.mkdirat(dir, nul, 0o755), "EINVAL", "mkdirat", "a\\x00");
    },
  },
  {
    name: "links, renames and removal",
    run(linux, dir) {
      create(linux, dir, "a", "A");
      create(linux, dir, "b", "B");
      linux.linkat(dir, "a", dir, "a2", 0);
      equal(linux.statx(dir, "a", 0).nlink, 2);
      fails(() => linux.linkat(dir, "a", dir, "b", 0), "EEXIST", "linkat", "a -> b");
      fails(
        () => linux.renameat2(dir, "a", dir, "b", K.RENAME_NOREPLACE),
        "EEXIST",
        "renameat2",
        "a -> b",
      );
      linux.renameat2(dir, "a", dir, "b", K.RENAME_EXCHANGE);
      equal([read(linux, dir, "a"), read(linux, dir, "b")], ["B", "A"]);
      linux.renameat2(dir, "a", dir, "b", 0);
      equal(read(linux, dir, "b"), "B");
      linux.mkdirat(dir, "d", 0o700);
      fails(() => linux.unlinkat(dir, "d", 0), "EISDIR", "unlinkat", "d");
      linux.unlinkat(dir, "d", K.AT_REMOVEDIR);
      linux.unlinkat(dir, "b", 0);
      fails(() => linux.unlinkat(dir, "b", 0), "ENOENT", "unlinkat", "b");
      fails(() => linux.readlinkat(dir, "a2"), "EINVAL", "readlinkat", "a2");
    },
  },
  {
    name: "O_TMPFILE gets a name by linkat",
    run(linux, dir) {
      const fd = linux.openat(dir, ".", K.O_RDWR | K.O_TMPFILE | K.O_CLOEXEC, 0o644);
      writeAll(linux, fd, bytes("unnamed"));
      equal(linux.statx(fd, "", K.AT_EMPTY_PATH).nlink, 0);
      linux.linkat(K.AT_FDCWD, `/proc/self/fd/${fd}`, dir, "named", K.AT_SYMLINK_FOLLOW);
      linux.close(fd);
      equal(read(linux, dir, "named"), "unnamed");
    },
  },
  {
    name: "modes, owners, nodes",
    run(linux, dir) {
      create(linux, dir, "file");
      linux.fchownat(dir, "file", linux.geteuid(), linux.statx(dir, "file", 0).gid, 0);
      linux.mknodat(dir, "fifo", K.S_IFIFO | 0o600, 0);
      equal(linux.statx(dir, "fifo", 0).mode, K.S_IFIFO | 0o600);
      linux.faccessat(dir, "file", K.R_OK);
      fails(() => linux.faccessat(dir, "none", K.R_OK), "ENOENT", "faccessat", "none");
      fails(
        () => linux.fchownat(dir, "none", 0, 0, K.AT_SYMLINK_NOFOLLOW),
        "ENOENT",
        "fchownat",
        "none",
      );
    },
  },
  {
    name: "syncing",
    run(linux, dir) {
      create(linux, dir, "file", "x");
      const fd = linux.openat(dir, "file", K.O_RDWR);
      linux.fsync(fd);
      linux.fdatasync(fd);
      linux.syncfs(fd);
      linux.close(fd);
      fails(() => linux.fsync(fd), "EBADF", "fsync", `fd ${fd}`);
      fails(() => linux.syncfs(fd), "EBADF", "syncfs", `fd ${fd}`);
    },
  },
  {
    name: "flock excludes another open file",
    run(linux, dir) {
      create(linux, dir, "lock");
      const first = linux.openat(dir, "lock", K.O_RDONLY);
      const second = linux.openat(dir, "lock", K.O_RDONLY);
      const lock = K.LOCK_EX | K.LOCK_NB;
      linux.flock(first, K.LOCK_SH);
      linux.flock(second, K.LOCK_SH);
      fails(() => linux.flock(second, lock), "EAGAIN", "flock", `fd ${second}`);
      linux.flock(first, K.LOCK_UN);
      linux.flock(second, lock);
      linux.close(first);
      linux.close(second);
    },
  },
  {
    name: "fcntl's locks exclude another open file",
    run(linux, dir) {
      create(linux, dir, "lock");
      const first = linux.openat(dir, "lock", K.O_RDWR);
      const second = linux.openat(dir, "lock", K.O_RDWR);
      linux.fcntlLock(first, K.F_RDLCK);
      linux.fcntlLock(second, K.F_RDLCK);
      fails(() => linux.fcntlLock(second, K.F_WRLCK), "EAGAIN", "fcntl", `fd ${second}`);
      linux.fcntlLock(first, K.F_UNLCK);
      linux.fcntlLock(second, K.F_WRLCK);
      fails(() => linux.fcntlLock(first, K.F_RDLCK), "EAGAIN", "fcntl", `fd ${first}`);
      linux.close(second);
      linux.fcntlLock(first, K.F_RDLCK);
      linux.close(first);
    },
  },
  {
    name: "fstatfs, copy_file_range and ioctl",
    run(linux, dir) {
      const proc = linux.openat(K.AT_FDCWD, "/proc", K.O_RDONLY | K.O_DIRECTORY);
      equal(linux.fstatfs(proc).type, 0x9fa0, "PROC_SUPER_MAGIC");
      linux.close(proc);
      create(linux, dir, "from", "copied");
      const from = linux.openat(dir, "from", K.O_RDONLY);
      const to = linux.openat(dir, "to", K.O_WRONLY | K.O_CREAT, 0o600);
      equal(linux.copy_file_range(from, to, 100), 6);
      equal(read(linux, dir, "to"), "copied");

      // FIGETBSZ fills in an int; FIOCLEX takes nothing.
      const blockSize = new Uint8Array(4);
      equal(linux.ioctl(from, 2, blockSize), 0);
      equal(new DataView(blockSize.buffer).getUint32(0, true), linux.fstatfs(from).blockSize);
      equal(linux.ioctlValue(from, 0x5451, 0), 0);
      fails(() => linux.ioctl(from, 0x5413, blockSize), "ENOTTY", "ioctl", `fd ${from}`);
      // An argument shorter than the request says never reaches the kernel.
      fails(
        () => linux.ioctl(from, K.FS_IOC_ENABLE_VERITY, new Uint8Array(127)),
        "EINVAL",
        "ioctl",
        `fd ${from}`,
      );
      fails(
        () => linux.copy_file_range(to, from, 1),
        "EBADF",
        "copy_file_range",
        `fd ${to} -> fd ${from}`,
      );
      linux.close(from);
      linux.close(to);
    },
  },
  {
    name: "whole files and their limits",
    run(linux, dir) {
      const content = "0123456789".repeat(20_000);
      create(linux, dir, "file", content);
      equal(read(linux, dir, "file") === content, true);
      equal(text(readFile(linux, dir, "file", content.length)).length, content.length);
      throwsMessage(
        () => readFile(linux, dir, "file", content.length - 1),
        /file: larger than 199999 bytes/,
      );
      // Files of /proc have no size.
      equal(read(linux, K.AT_FDCWD, "/proc/self/status").startsWith("Name:"), true);
      throwsMessage(
        () => readFile(linux, K.AT_FDCWD, "/proc/self/status", 10),
        /status: larger than 10 bytes/,
      );
      fails(() => readFile(linux, dir, ".", 10), "EISDIR", "read", ".");
      create(linux, dir, "empty");
      equal(readFile(linux, dir, "empty", 0).length, 0);
      const fd = linux.openat(dir, "file", K.O_RDONLY);
      linux.read(fd, new Uint8Array(199_990));
      equal(text(readAll(linux, fd, 10)), "0123456789", "the rest");
      linux.close(fd);
    },
  },
  {
    name: "extended attributes",
    run(linux, dir, path) {
      create(linux, dir, "file");
      const file = `${path}/file`;
      const value = new Uint8Array(300).map((_, i) => i);
      linux.lsetxattr(file, "user.one", value, 0);
      linux.lsetxattr(file, "user.empty", new Uint8Array(0), 0);
      equal(text(linux.lgetxattr(file, "user.one")), text(value));
      equal(linux.lgetxattr(file, "user.empty").length, 0);
      const names = linux.llistxattr(file).filter((name) => name.startsWith("user."));
      equal(names.sort(), ["user.empty", "user.one"]);
      fails(() => linux.lgetxattr(file, "user.two"), "ENODATA", "lgetxattr", file);
      fails(() => linux.llistxattr(`${path}/none`), "ENOENT", "llistxattr", `${path}/none`);
    },
  },
  {
    name: "random bytes",
    run(linux) {
      const [a, b] = [linux.getrandom(32), linux.getrandom(32)];
      equal([a.length, b.length, text(a) === text(b)], [32, 32, false]);
      equal(linux.getrandom(0).length, 0);
      equal(
        linux.getrandom(1000).some((byte) => byte !== 0),
        true,
      );
    },
  },
  {
    name: "errors of the program are TypeErrors that name the call",
    run(linux, dir) {
      const wrong = linux as unknown as Record<string, (...values: unknown[]) => unknown>;
      throwsMessage(() => wrong.openat!(dir, 7, 0), /TypeError: openat: argument 1: .*string/);
      throwsMessage(() => wrong.close!("1"), /TypeError: close: argument 0: .*integer/);
      throwsMessage(() => wrong.close!(1.5), /TypeError: close: argument 0: .*32 bits/);
      throwsMessage(() => wrong.close!(2 ** 32), /TypeError: close: argument 0: .*32 bits/);
      throwsMessage(() => wrong.ftruncate!(dir, Number.NaN), /argument 1: .*64 bits/);
      throwsMessage(() => wrong.write!(dir, "text"), /TypeError: write: argument 1: .*Uint8Array/);
      throwsMessage(() => wrong.write!(dir, new Uint16Array(1)), /argument 1: .*Uint8Array/);
    },
  },
];

/** A detached tmpfs. */
function tmpfs(linux: Linux): Fd {
  const fs = linux.fsopen("tmpfs", K.FSOPEN_CLOEXEC);
  linux.fsconfig(fs, K.FSCONFIG_SET_STRING, "mode", "0711", 0);
  linux.fsconfig(fs, K.FSCONFIG_SET_FLAG, "noswap", null, 0);
  linux.fsconfig(fs, K.FSCONFIG_CMD_CREATE, null, null, 0);
  const mount = linux.fsmount(fs, K.FSMOUNT_CLOEXEC, K.MOUNT_ATTR_NODEV);
  linux.close(fs);
  return mount;
}

function openDirectory(linux: Linux, dir: Fd, path: string): Fd {
  return linux.openat(dir, path, K.O_PATH | K.O_DIRECTORY | K.O_CLOEXEC);
}

const mounts: Case[] = [
  {
    name: "fsopen, fsconfig, fsmount, move_mount, umount2",
    needsRoot: true,
    run(linux, dir, path) {
      linux.mkdirat(dir, "mnt", 0o755);
      const before = linux.statx(dir, "mnt", 0).mountId;
      const mount = tmpfs(linux);
      linux.move_mount(mount, "", dir, "mnt", K.MOVE_MOUNT_F_EMPTY_PATH);
      linux.close(mount);
      const stat = linux.statx(dir, "mnt", 0);
      equal([stat.mode, stat.mountId !== before], [K.S_IFDIR | 0o711, true]);
      const root = linux.openat(dir, "mnt", K.O_RDONLY | K.O_DIRECTORY);
      equal(linux.fstatfs(root).type, 0x01021994, "TMPFS_MAGIC");
      linux.close(root);
      linux.umount2(`${path}/mnt`, K.MNT_DETACH);
      equal(linux.statx(dir, "mnt", 0).mountId, before);
      fails(() => linux.umount2(`${path}/mnt`, 0), "EINVAL", "umount2", `${path}/mnt`);
    },
  },
  {
    name: "errors of the mount calls, and what the kernel says about them",
    needsRoot: true,
    run(linux, dir) {
      fails(() => linux.fsopen("nosuchfs", 0), "ENODEV", "fsopen", "nosuchfs");
      const fs = linux.fsopen("tmpfs", K.FSOPEN_CLOEXEC);
      fails(
        () => linux.fsconfig(fs, K.FSCONFIG_SET_STRING, "nosuch", "1", 0),
        "EINVAL",
        "fsconfig",
        "nosuch=1",
      );
      const message = new Uint8Array(200);
      const length = linux.read(fs, message);
      equal(text(message.subarray(0, 2)), "e ", "the kernel's message");
      equal(text(message.subarray(0, length)).includes("nosuch"), true);
      fails(() => linux.fsmount(fs, 0, 0), "EINVAL", "fsmount", `fd ${fs}`);
      linux.close(fs);
      fails(() => linux.open_tree(dir, "none", 0), "ENOENT", "open_tree", "none");
      const none = { set: K.MOUNT_ATTR_RDONLY };
      fails(() => linux.mount_setattr(dir, "none", 0, none), "ENOENT", "mount_setattr", "none");
      create(linux, dir, "file");
      fails(
        () => linux.move_mount(dir, "file", dir, "none", 0),
        "ENOENT",
        "move_mount",
        "file -> none",
      );
      fails(
        () => linux.mount("tmpfs", "/nonexistent", "tmpfs", 0, null),
        "ENOENT",
        "mount",
        "tmpfs -> /nonexistent",
      );
    },
  },
  {
    name: "open_tree clones, mount_setattr makes it read-only",
    needsRoot: true,
    run(linux, dir, path) {
      linux.mkdirat(dir, "source", 0o755);
      linux.mkdirat(dir, "bind", 0o755);
      const tree = linux.open_tree(dir, "source", K.OPEN_TREE_CLONE | K.OPEN_TREE_CLOEXEC);
      const flags = K.AT_EMPTY_PATH | K.AT_RECURSIVE;
      linux.mount_setattr(tree, "", flags, { set: K.MOUNT_ATTR_RDONLY });
      linux.move_mount(tree, "", dir, "bind", K.MOVE_MOUNT_F_EMPTY_PATH);
      linux.close(tree);
      create(linux, dir, "source/file", "seen");
      equal(read(linux, dir, "bind/file"), "seen");
      fails(() => linux.mkdirat(dir, "bind/x", 0o755), "EROFS", "mkdirat", "bind/x");
      const bind = openDirectory(linux, dir, "bind");
      equal(linux.fstatfs(bind).flags & K.ST_RDONLY, K.ST_RDONLY);
      linux.mount_setattr(bind, "", K.AT_EMPTY_PATH, { clear: K.MOUNT_ATTR_RDONLY });
      linux.mkdirat(dir, "bind/x", 0o755);
      linux.close(bind);
      linux.umount2(`${path}/bind`, 0);
    },
  },
  {
    name: "the old mount call, and xattrs of any size",
    needsRoot: true,
    run(linux, dir, path) {
      linux.mkdirat(dir, "mnt", 0o755);
      linux.mount("none", `${path}/mnt`, "tmpfs", K.MS_SILENT, "mode=0750");
      equal(linux.statx(dir, "mnt", 0).mode & 0o7777, 0o750);
      create(linux, dir, "mnt/file");
      const value = new Uint8Array(60_000).fill(0x61);
      linux.lsetxattr(`${path}/mnt/file`, "trusted.large", value, 0);
      equal(linux.lgetxattr(`${path}/mnt/file`, "trusted.large").length, value.length);
      linux.mount(null, `${path}/mnt`, null, K.MS_REMOUNT | K.MS_RDONLY, null);
      fails(() => create(linux, dir, "mnt/other"), "EROFS", "openat", "mnt/other");
      linux.umount2(`${path}/mnt`, 0);
    },
  },
  {
    name: "open_by_handle_at reaches a file by another mount",
    needsRoot: true,
    run(linux, dir, path) {
      linux.mkdirat(dir, "mnt", 0o755);
      linux.mount("none", `${path}/mnt`, "tmpfs", 0, null);
      linux.mkdirat(dir, "mnt/over", 0o755);
      create(linux, dir, "mnt/over/file", "content");
      linux.mount(`${path}/mnt/over`, `${path}/mnt/over`, null, K.MS_BIND, null);
      const below = linux.openat(dir, "mnt", K.O_RDONLY | K.O_DIRECTORY);
      const over = linux.openat(dir, "mnt/over", K.O_RDONLY | K.O_DIRECTORY);
      const link = (from: Fd) => linux.linkat(from, "file", below, "link", 0);
      equal(fails(() => link(over), "EXDEV", "linkat", "file -> link").errno, 18);
      const same = linux.open_by_handle_at(below, over, K.O_RDONLY | K.O_DIRECTORY);
      const mountId = (fd: Fd) => linux.statx(fd, "", K.AT_EMPTY_PATH).mountId;
      equal([mountId(same), mountId(same) === mountId(over)], [mountId(below), false]);
      link(same);
      equal(read(linux, below, "link"), "content");
      for (const fd of [same, over]) linux.close(fd);
      fails(
        () => linux.open_by_handle_at(below, same, 0),
        "EBADF",
        "open_by_handle_at",
        `fd ${same}`,
      );
      linux.close(below);
      linux.umount2(`${path}/mnt/over`, 0);
      linux.umount2(`${path}/mnt`, 0);
    },
  },
  {
    name: "setns leaves the mount namespace again",
    needsRoot: true,
    run(linux, dir, path) {
      const id = () => linux.readlinkat(K.AT_FDCWD, "/proc/thread-self/ns/mnt");
      const before = id();
      const outer = linux.openat(K.AT_FDCWD, "/proc/thread-self/ns/mnt", K.O_RDONLY);
      linux.unshare(K.CLONE_NEWNS);
      equal(id() === before, false, "same namespace");
      linux.mkdirat(dir, "mnt", 0o755);
      linux.mount("none", `${path}/mnt`, "tmpfs", 0, null);
      linux.setns(outer, K.CLONE_NEWNS);
      linux.close(outer);
      equal(id(), before);
      const here = linux.openat(K.AT_FDCWD, `${path}/mnt`, K.O_RDONLY | K.O_DIRECTORY);
      equal(linux.fstatfs(here).type === 0x01021994, false, "still the mount of the namespace");
      fails(() => linux.setns(here, K.CLONE_NEWNS), "EINVAL", "setns", `fd ${here}`);
      linux.close(here);
    },
  },
];

export const CASES: readonly Case[] = [...files, ...mounts];
