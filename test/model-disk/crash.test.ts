/** What a power failure may leave: the rules, each where it matters. */
import { expect, test } from "vitest";
import { fromText, toBytes } from "../../src/formats/bytestring.ts";
import {
  AT_FDCWD,
  O_CREAT,
  O_RDONLY,
  O_WRONLY,
  RENAME_EXCHANGE,
} from "../../src/linux/constants.ts";
import { replaceFile } from "../../src/linux/directories.ts";
import { readFile, writeAll } from "../../src/linux/files.ts";
import { isErrno } from "../../src/linux/linux.ts";
import { settleNames } from "../../userspace/bootloader/discard.ts";
import { PowerFailure } from "./crash.ts";
import { type Change, Disk, type FileSystemKind } from "./disk.ts";
import { ModelLinux, putFile } from "./linux.ts";

const OLD = "old content";
const NEW = "new content, which is longer";
const bytes = (text: string) => toBytes(fromText(text));

/** Content of `/x/file` and `/x/other` on all disks that a power failure leaves at any moment of `action`, each once. */
function leftBy(
  kind: FileSystemKind,
  action: (linux: ModelLinux, root: number) => void,
  happened: (change: Change) => boolean = () => true,
): string[] {
  const disk = new Disk();
  disk.addFileSystem("x", kind);
  const linux = new ModelLinux(disk);
  putFile(linux, "/x/file", OLD);
  const failure = new PowerFailure(disk);
  const left = new Set<string>();
  const look = () => {
    for (const state of failure.states()) {
      const found = new ModelLinux(state);
      left.add(["file", "other"].map((name) => contentOf(found, name)).join(" | "));
    }
  };
  look();
  linux.onChange = (change) => {
    if (happened(change)) failure.advance(change);
    look();
  };
  action(linux, linux.openat(AT_FDCWD, "/x", O_RDONLY));
  return [...left].sort();
}

function contentOf(linux: ModelLinux, name: string): string {
  try {
    return Buffer.from(readFile(linux, AT_FDCWD, `/x/${name}`, 1000)).toString();
  } catch (error) {
    if (isErrno(error, "ENOENT")) return "-";
    throw error;
  }
}

test.each(["journaled", "fat"] as const)("%s: a file is replaced as a whole", (kind) => {
  const left = leftBy(kind, (linux, root) => replaceFile(linux, root, "file", bytes(NEW), 0o644));
  expect(left).toEqual([`${NEW} | -`, `${OLD} | -`]);
});

test.each(["journaled", "fat"] as const)(
  "%s: what was cut off is done again, wherever names lead",
  (kind) => {
    const disk = new Disk();
    disk.addFileSystem("x", kind);
    const linux = new ModelLinux(disk);
    putFile(linux, "/x/file", OLD);
    const failure = new PowerFailure(disk);
    const replace = (on: ModelLinux) => {
      const root = on.openat(AT_FDCWD, "/x", O_RDONLY);
      replaceFile(on, root, "file", bytes(NEW), 0o644);
    };
    linux.onChange = (change) => {
      failure.advance(change);
      for (const state of failure.states()) {
        const next = new ModelLinux(state);
        replace(next);
        expect(contentOf(next, "file")).toBe(NEW);
        // what else leads to it is nobody's any more; but until then it is the file itself
        expect(next.damage).not.toContain("x: writes to a file with two names");
      }
    };
    replace(linux);
  },
);

test.each([
  ["journaled", ["", NEW.slice(0, NEW.length / 2), NEW, OLD]],
  ["fat", ["", "\0".repeat(NEW.length), NEW.slice(0, NEW.length / 2), NEW, OLD]],
] as const)("%s: without a sync its name may have nothing, or half of it", (kind, expected) => {
  const left = leftBy(
    kind,
    (linux, root) => replaceFile(linux, root, "file", bytes(NEW), 0o644),
    ({ type }) => type !== "sync",
  );
  expect(left).toEqual(expected.map((content) => `${content} | -`).sort());
});

test("what is in memory is gone", () => {
  expect(leftBy("memory", () => {})).toEqual(["- | -"]);
});

test("a name is lost until its directory is synced, whatever of its file was", () => {
  const disk = new Disk();
  disk.addFileSystem("x", "journaled");
  const linux = new ModelLinux(disk);
  const failure = new PowerFailure(disk);
  linux.onChange = (change) => failure.advance(change);
  const present = () => {
    const found = [...failure.states()].map((state) => contentOf(new ModelLinux(state), "file"));
    return [...new Set(found)].sort();
  };
  const root = linux.openat(AT_FDCWD, "/x", O_RDONLY);
  const fd = linux.openat(root, "file", O_CREAT | O_WRONLY, 0o644);
  writeAll(linux, fd, bytes(NEW));
  linux.fsync(fd);
  expect(present()).toEqual(["-", NEW]);
  linux.fsync(root);
  expect(present()).toEqual([NEW]);
});

test.each([
  ["journaled", [`${NEW} | -`, `${NEW} | ${NEW}`, `${OLD} | -`]],
  ["fat", [NEW, OLD].flatMap((file) => [`${file} | `, `${file} | -`, `${file} | ${NEW}`])],
] as const)("%s: changes of names in one directory", (kind, expected) => {
  const left = leftBy(kind, (linux, root) => {
    for (const name of ["one", "two"]) {
      const fd = linux.openat(root, name, O_CREAT | O_WRONLY, 0o644);
      writeAll(linux, fd, bytes(NEW));
      linux.fsync(fd);
    }
    linux.fsync(root);
    linux.renameat2(root, "one", root, "file", 0);
    linux.renameat2(root, "two", root, "other", 0);
  });
  expect(left).toEqual(expected);
});

test("an exchange across directories is kept or lost as a whole", () => {
  const left = leftBy("journaled", (linux, root) => {
    linux.mkdirat(root, "d", 0o755);
    putFile(linux, "/x/d/new", NEW);
    linux.syncfs(root);
    const directory = linux.openat(root, "d", O_RDONLY);
    linux.renameat2(root, "file", directory, "new", RENAME_EXCHANGE);
    linux.renameat2(directory, "new", root, "other", 0);
  });
  expect(left).toEqual([`${NEW} | -`, `${NEW} | ${OLD}`, `${OLD} | -`]);
});

/** Makes `/x/other` beside `/x/file`, durably, and goes on. */
function withOther(action: (linux: ModelLinux, root: number) => void) {
  return leftBy("fat", (linux, root) => {
    const fd = linux.openat(root, "other", O_CREAT | O_WRONLY, 0o644);
    writeAll(linux, fd, bytes(NEW));
    linux.fsync(fd);
    linux.fsync(root);
    action(linux, root);
  });
}

test("FAT: of an exchange each name is kept or lost by itself, so that both lead to one file", () => {
  const left = withOther((linux, root) =>
    linux.renameat2(root, "file", root, "other", RENAME_EXCHANGE),
  );
  const both = [NEW, OLD].flatMap((file) => [NEW, OLD].map((other) => `${file} | ${other}`));
  expect(left).toEqual(expect.arrayContaining(both));
});

test.each([
  ["fsync of the directory", (linux: ModelLinux, root: number) => linux.fsync(root), false],
  ["syncfs", (linux: ModelLinux, root: number) => linux.syncfs(root), false],
  ["both", settleNames, true],
] as const)("FAT: %s makes an exchange durable, or not", (_name, sync, durable) => {
  const disk = new Disk();
  disk.addFileSystem("x", "fat");
  const linux = new ModelLinux(disk);
  for (const [name, content] of [
    ["file", OLD],
    ["other", NEW],
  ] as const) {
    putFile(linux, `/x/${name}`, content);
  }
  const failure = new PowerFailure(disk);
  linux.onChange = (change) => failure.advance(change);
  const root = linux.openat(AT_FDCWD, "/x", O_RDONLY);
  linux.renameat2(root, "file", root, "other", RENAME_EXCHANGE);
  sync(linux, root);
  const left = new Set([...failure.states()].map((it) => contentOf(new ModelLinux(it), "file")));
  expect([...left].sort()).toEqual(durable ? [NEW] : [NEW, OLD]);
});

test("FAT: a removed file that comes back is no one's to remove, once another one was made", () => {
  const removed = (between: (linux: ModelLinux, root: number) => void): string[] => {
    const disk = new Disk();
    disk.addFileSystem("x", "fat");
    const linux = new ModelLinux(disk);
    putFile(linux, "/x/file", OLD);
    const failure = new PowerFailure(disk);
    linux.onChange = (change) => failure.advance(change);
    const root = linux.openat(AT_FDCWD, "/x", O_RDONLY);
    linux.unlinkat(root, "file", 0);
    between(linux, root);
    linux.mkdirat(root, "other", 0o755);
    return [...failure.states()].flatMap((state) => {
      const next = new ModelLinux(state);
      if (contentOf(next, "file") !== "-") next.unlinkat(AT_FDCWD, "/x/file", 0);
      return next.damage;
    });
  };
  expect(removed(() => {})).toContain("x: removes file, which other files are in");
  expect(removed((linux, root) => linux.fsync(root))).toEqual([]);
});
