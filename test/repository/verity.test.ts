import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toHex } from "../../src/formats/digest.ts";
import { O_DIRECTORY, O_RDWR } from "../../src/linux/constants.ts";
import { type Linux, LinuxError } from "../../src/linux/linux.ts";
import {
  describeMeasured,
  enableVerity,
  enableVerityOrCopy,
  measureVerity,
} from "../../src/linux/verity.ts";
import { digestBytes } from "../../userspace/hash.ts";
import { fakeVerity } from "./fake-verity.ts";
import { quickLinux } from "./fixture.ts";

let directory: string;
let file: string;
const content = Buffer.alloc(200_000, "content");

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "cfsboot-verity-"));
  file = join(directory, "file");
  writeFileSync(file, content, { mode: 0o640 });
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

const failing = (code: string): Linux => ({
  ...quickLinux,
  ioctl(fd) {
    throw new LinuxError(1, code, code, "ioctl", `fd ${fd}`);
  },
});

describe("measuring", () => {
  test("gives the digest, or says which of three things is missing", () => {
    const { linux } = fakeVerity(quickLinux);
    const fd = openSync(file, "r");
    try {
      expect(measureVerity(linux, fd, "sha512")).toEqual({ state: "none" });
      expect(enableVerity(linux, fd, "sha512", () => {})).toBe("enabled");
      expect(enableVerity(linux, fd, "sha512", () => {})).toBe("already");
      const measured = measureVerity(linux, fd, "sha512");
      expect(measured.state === "verity" && toHex(measured.digest)).toBe(
        toHex(digestBytes("sha512", content)),
      );
      expect(measureVerity(linux, fd, "sha256")).toEqual({
        state: "other-algorithm",
        algorithm: 2,
      });
      for (const code of ["ENOTTY", "EOPNOTSUPP"]) {
        expect(measureVerity(failing(code), fd, "sha256")).toEqual({ state: "unsupported" });
        expect(enableVerity(failing(code), fd, "sha256", () => {})).toBe("unsupported");
      }
    } finally {
      closeSync(fd);
    }
  });

  test("other errors are thrown", () => {
    expect(() => measureVerity(failing("EIO"), 0, "sha256")).toThrow("EIO");
    expect(() => enableVerity(failing("EACCES"), 0, "sha256", () => {})).toThrow("EACCES");
  });

  test("says in words what is wrong", () => {
    expect(describeMeasured({ state: "none" })).toBe("it has no fs-verity");
    expect(describeMeasured({ state: "other-algorithm", algorithm: 1 })).toMatch(/algorithm 1/);
  });
});

describe("enabling on a file that somebody still writes to", () => {
  test("is tried again after a pause, three times", () => {
    let pauses = 0;
    let calls = 0;
    const busy: Linux = {
      ...quickLinux,
      ioctl(fd) {
        calls++;
        throw new LinuxError(26, "ETXTBSY", "Text file busy", "ioctl", `fd ${fd}`);
      },
    };
    const enable = () =>
      enableVerity(busy, 0, "sha256", () => {
        pauses++;
      });
    expect(enable).toThrow(/Text file busy/);
    expect([calls, pauses]).toEqual([3, 2]);
  });

  test("is done on a copy of the same content and mode, nothing is left open", () => {
    const fake = fakeVerity(quickLinux);
    const { linux } = fake;
    const held = linux.openat(-100, file, O_RDWR);
    const root = linux.openat(-100, directory, O_DIRECTORY);
    const fd = linux.openat(-100, file, 0);
    const copy = enableVerityOrCopy(linux, root, fd, "sha256", () => {});
    try {
      expect(copy).not.toBe(fd);
      const measured = measureVerity(linux, copy, "sha256");
      expect(measured.state === "verity" && toHex(measured.digest)).toBe(
        toHex(digestBytes("sha256", content)),
      );
      expect(readFileSync(`/proc/self/fd/${copy}`).equals(content)).toBe(true);
      expect(linux.statx(copy, "", 0x1000).mode & 0o777).toBe(0o640);
      expect(() => linux.statx(fd, "", 0x1000)).toThrow(/Bad file descriptor/);
    } finally {
      for (const open of [held, root, copy]) linux.close(open);
    }
  });

  test("that fails for another reason leaves the file as it was", () => {
    const fd = openSync(file, "r");
    expect(() => enableVerityOrCopy(failing("EIO"), -1, fd, "sha256", () => {})).toThrow("EIO");
    closeSync(fd); // throws if it is closed already
  });
});
