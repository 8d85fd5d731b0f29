/** What a power failure may leave: the rules, each where it matters. */
import { expect, test } from "vitest";
import { fromText, toBytes } from "../../src/formats/bytestring.ts";
import { AT_FDCWD, O_CREAT, O_RDONLY, O_WRONLY } from "../../src/linux/constants.ts";
import { replaceFile } from "../../src/linux/directories.ts";
import { readFile, writeAll } from "../../src/linux/files.ts";
import { isErrno } from "../../src/linux/linux.ts";
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
  ["fat", [`${NEW} | -`, `${NEW} | ${NEW}`, `${OLD} | -`, `${OLD} | ${NEW}`]],
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
  const left = leftBy("fat", (linux, root) => {
    linux.mkdirat(root, "d", 0o755);
    putFile(linux, "/x/d/new", NEW);
    linux.syncfs(root);
    const directory = linux.openat(root, "d", O_RDONLY);
    linux.renameat2(root, "file", directory, "new", 2);
    linux.renameat2(directory, "new", root, "other", 0);
  });
  expect(left).toEqual([`${NEW} | -`, `${NEW} | ${OLD}`, `${OLD} | -`]);
});
