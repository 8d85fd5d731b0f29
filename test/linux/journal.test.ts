/** On a real ext4, read as GRUB does: from the device, without replaying the journal. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_RDONLY } from "../../src/linux/constants.ts";
import { createFile } from "../../src/linux/directories.ts";
import { emptyJournal } from "../../src/linux/journal.ts";
import { linux } from "../../userspace/linux.ts";

let path: string;
const run = (program: string, ...args: string[]) =>
  spawnSync(program, args, { encoding: "utf8", timeout: 30_000 });
const image = () => join(path, "disk.img");
const mounted = () => join(path, "mounted");

beforeEach((ctx) => {
  path = mkdtempSync(join(tmpdir(), "cfsboot-journal-"));
  writeFileSync(image(), "");
  truncateSync(image(), 32 << 20);
  mkdirSync(mounted());
  if (run("mkfs.ext4", "-q", image()).status !== 0) ctx.skip("no mkfs.ext4");
  if (run("debugfs", "-V").status !== 0) ctx.skip("no debugfs");
  // so that nothing leaves the journal by itself
  const { status } = run("mount", "-o", "loop,commit=300", image(), mounted());
  if (status !== 0) ctx.skip("nothing can be mounted here");
});
afterEach(() => {
  run("umount", mounted());
  rmSync(path, { recursive: true });
});

/** Names in the root directory, as they are on the disk. */
function namesOnDisk(): string[] {
  return run("debugfs", "-c", "-R", "ls -p /", image())
    .stdout.split("\n")
    .map((line) => line.split("/")[5] ?? "");
}

test("what is durable, but only in the journal, is where a boot loader finds it afterwards", () => {
  const directory = linux.openat(AT_FDCWD, mounted(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  try {
    createFile(linux, directory, "before", [Buffer.from("content")], 0o644);
    linux.renameat2(directory, "before", directory, "entry", 0);
    linux.fsync(directory);
    expect(namesOnDisk()).not.toContain("entry");
    expect(emptyJournal(linux, directory)).toBe(true);
    expect(namesOnDisk()).toContain("entry");
    // and it is writable again
    createFile(linux, directory, "after", [Buffer.from("content")], 0o644);
  } finally {
    linux.close(directory);
  }
});
