import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type ComposefsArgument, parseComposefsArguments } from "../../src/formats/cmdline.ts";
import { fromHex, type HashName, VERITY_ALGORITHM } from "../../src/formats/digest.ts";
import { type BootImage, findBootImage } from "../../src/linux/boot-image.ts";
import { FS_IOC_MEASURE_VERITY, O_DIRECTORY, O_PATH } from "../../src/linux/constants.ts";
import { type Linux, LinuxError } from "../../src/linux/linux.ts";
import { linux } from "../../userspace/linux.ts";

const A = "a1".repeat(32);
const B = "b2".repeat(32);
const C = "c3".repeat(64);

/** The system, except for what it answers when a file is measured. */
function measuring(answer: { digest: string; hash: HashName } | string): Linux {
  return {
    ...linux,
    ioctl(fd, request, argument) {
      if (request !== FS_IOC_MEASURE_VERITY) return linux.ioctl(fd, request, argument);
      if (typeof answer === "string") throw new LinuxError(1, answer, answer, "ioctl", "");
      const view = new DataView(argument.buffer);
      const digest = fromHex(answer.digest)!;
      view.setUint16(0, VERITY_ALGORITHM[answer.hash], true);
      view.setUint16(2, digest.length, true);
      argument.set(digest, 4);
      return 0;
    },
  };
}

let root: string;
let sysroot: number;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "boot-image-"));
  mkdirSync(join(root, "composefs/images/refs"), { recursive: true });
  mkdirSync(join(root, "composefs/objects/00"), { recursive: true });
  writeFileSync(join(root, "composefs/objects/00/image"), "content");
  sysroot = linux.openat(-100, root, O_PATH | O_DIRECTORY);
});
afterEach(() => {
  linux.close(sysroot);
  rmSync(root, { recursive: true });
});

function addImage(digest: string, target = "../objects/00/image"): void {
  symlinkSync(target, join(root, "composefs/images", digest));
}

function find(provider: Linux, cmdline: string): ComposefsArgument {
  let found: BootImage | undefined;
  try {
    found = findBootImage(provider, sysroot, "/sysroot", parseComposefsArguments(cmdline));
    return found.argument;
  } finally {
    if (found !== undefined) for (const fd of [found.fd, found.objects]) linux.close(fd);
  }
}

/** All messages of the error that `act` throws, and its hint, as they are printed. */
function failure(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    let text = "";
    let hint = "";
    for (let e = error as Error & { hint?: string }; e !== undefined; e = e.cause as never) {
      text += `${text === "" ? "" : ": "}${e.message}`;
      hint ||= e.hint === undefined ? "" : ` | ${e.hint}`;
    }
    return text + hint;
  }
  return "no error";
}

describe("findBootImage", () => {
  test("takes an image whose measured digest is the argument's", () => {
    addImage(A);
    addImage(C);
    expect(find(measuring({ digest: A, hash: "sha256" }), `composefs=${A}`).digest).toBe(A);
    const second = `composefs=${B} composefs.digest=v1-sha512-12:${C}`;
    expect(find(measuring({ digest: C, hash: "sha512" }), second).digest).toBe(C);
  });

  test("an image that fails its check stops the boot, also if a later one would do", () => {
    addImage(A);
    addImage(B);
    expect(
      failure(() =>
        find(measuring({ digest: B, hash: "sha256" }), `composefs=${A} composefs=${B}`),
      ),
    ).toBe(`image of composefs=${A}: wrong image: its fs-verity digest is ${B}, expected ${A}`);
  });

  test("an image without fs-verity, or with another hash, is refused", () => {
    addImage(A);
    expect(failure(() => find(measuring("ENODATA"), `composefs=${A}`))).toBe(
      `image of composefs=${A}: the image has no fs-verity: /sysroot/composefs/images/${A} | seal the repository (cfsboot repo seal), or boot without any verification: put ? after the =`,
    );
    expect(failure(() => find(measuring({ digest: C, hash: "sha512" }), `composefs=${A}`))).toBe(
      `image of composefs=${A}: wrong image: its fs-verity digest has another hash (algorithm 2), expected sha256 ${A}`,
    );
  });

  test.each(["ENOTTY", "EOPNOTSUPP"])(
    "%s: no fs-verity is an error that says where (bootc#2174)",
    (code) => {
      addImage(A);
      const statx = (exists: string[]): Linux => ({
        ...measuring(code),
        statx(dirfd, path, flags) {
          if (!String(path).startsWith("/sys/fs/ext4")) return linux.statx(dirfd, path, flags);
          if (exists.includes(String(path))) return linux.statx(dirfd, "/", 0);
          throw new LinuxError(2, "ENOENT", "", "statx", "");
        },
      });
      const features = "/sys/fs/ext4/features";
      const start = `image of composefs=${A}: fs-verity is required, but `;
      expect(failure(() => find(statx([features]), `composefs=${A}`))).toBe(
        `${start}this kernel has none | boot a kernel with CONFIG_FS_VERITY, or boot without any verification: put ? after the =`,
      );
      for (const exists of [[], [features, `${features}/verity`]]) {
        expect(failure(() => find(statx(exists), `composefs=${A}`))).toMatch(
          `${start}the file system of /sysroot/composefs (or this kernel) has none | turn it on`,
        );
      }
    },
  );

  test("with ? nothing is measured", () => {
    addImage(A);
    expect(find(measuring("EIO"), `composefs=?${A}`).insecure).toBe(true);
  });

  test("a measurement that fails otherwise is an error", () => {
    addImage(A);
    expect(failure(() => find(measuring("EIO"), `composefs=${A}`))).toMatch(/EIO/);
  });

  test("says what was tried and what there is", () => {
    expect(failure(() => find(linux, `composefs=${A}`))).toBe(
      `no such image in /sysroot/composefs: composefs=${A} | there are no images at all`,
    );
    addImage(B, "../objects/00/gone");
    for (let i = 0; i < 10; i++) addImage(`${i}0`.repeat(32));
    writeFileSync(join(root, "composefs/images/.tmp"), "");
    const line = `composefs=?${A} composefs.digest=v2-sha256-12:${B}`;
    expect(failure(() => find(linux, line))).toBe(
      `no such image in /sysroot/composefs: composefs=?${A}, composefs.digest=v2-sha256-12:${B} (its link is there, its object is not) | images there: ${[0, 1, 2, 3, 4, 5, 6, 7].map((i) => `${i}0`.repeat(32)).join(" ")} and 3 more`,
    );
  });

  test("a link out of the repository is not followed, and only files are images", () => {
    addImage(A, "/etc/passwd");
    expect(failure(() => find(linux, `composefs=?${A}`))).toMatch(`open image ${A}: openat2`);
    addImage(B, "../objects");
    expect(failure(() => find(linux, `composefs=?${B}`))).toBe(`image ${B} is not a regular file`);
  });

  test("a disk without a repository", () => {
    rmSync(join(root, "composefs"), { recursive: true });
    expect(failure(() => find(linux, `composefs=${A}`))).toBe(
      "no composefs repository /sysroot/composefs: openat2 composefs: No such file or directory | root= must name the file system that holds the directory composefs",
    );
  });

  test.each([
    ['{"version": 2}', '"version": 2 is newer|version 2 is newer than 1'],
    ["{", "not JSON"],
    [
      '{"version":1,"algorithm":"fsverity-sha256-12","features":{"incompatible":["shards"]}}',
      "needs unknown features: shards",
    ],
  ])("refuses a repository that it does not know: %s", (text, why) => {
    addImage(A);
    writeFileSync(join(root, "composefs/meta.json"), text);
    expect(failure(() => find(linux, `composefs=?${A}`))).toMatch(
      new RegExp(`^/sysroot/composefs/meta.json: (${why})`),
    );
  });

  test("needs no write access and leaves no descriptor open", () => {
    addImage(A);
    const opened = new Set<number>();
    const watching: Linux = {
      ...linux,
      openat() {
        throw new Error("everything is opened below the repository");
      },
      openat2(dirfd, path, how) {
        expect(how.flags & 3).toBe(0);
        const fd = linux.openat2(dirfd, path, how);
        opened.add(fd);
        return fd;
      },
      close(fd) {
        opened.delete(fd);
        linux.close(fd);
      },
    };
    const found = findBootImage(
      watching,
      sysroot,
      "/sysroot",
      parseComposefsArguments(`composefs=?${A}`),
    );
    expect([...opened].sort()).toEqual([found.fd, found.objects].sort());
    watching.close(found.fd);
    watching.close(found.objects);
    failure(() => findBootImage(watching, sysroot, "/", parseComposefsArguments(`composefs=${B}`)));
    expect(opened.size).toBe(0);
  });
});
