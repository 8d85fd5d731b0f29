import { closeSync, mkdtempSync, openSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createFile, replaceFile } from "../../src/linux/directories.ts";
import { type Linux, LinuxError } from "../../src/linux/linux.ts";
import { linux } from "../../userspace/linux.ts";

test("a file that cannot be written is named", () => {
  const path = mkdtempSync(join(tmpdir(), "cfsboot-directories-"));
  const directory = openSync(path, "r");
  const full: Linux = {
    ...linux,
    write: (fd) => {
      throw new LinuxError(28, "ENOSPC", "No space left on device", "write", `fd ${fd}`);
    },
  };
  try {
    const data = new Uint8Array(1);
    const message = "write the-file: No space left on device";
    expect(() => replaceFile(full, directory, "the-file", data, 0o644)).toThrow(message);
    expect(() => createFile(full, directory, "the-file", [data], 0o644)).toThrow(message);
    expect(readdirSync(path)).toContain("the-file.cfsboot-tmp"); // the next one overwrites it
    replaceFile(linux, directory, "the-file", data, 0o644);
  } finally {
    closeSync(directory);
    rmSync(path, { recursive: true });
  }
});
