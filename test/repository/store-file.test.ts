import {
  chmodSync,
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { objectPath, toHex } from "../../src/formats/digest.ts";
import { AT_FDCWD, FICLONE, O_RDONLY } from "../../src/linux/constants.ts";
import { readAll } from "../../src/linux/files.ts";
import { type Linux, LinuxError } from "../../src/linux/linux.ts";
import { enableVerity, measureVerity } from "../../src/linux/verity.ts";
import { digestBytes } from "../../userspace/hash.ts";
import { checkRepository } from "../../userspace/repository/fsck.ts";
import { collectGarbage } from "../../userspace/repository/gc.ts";
import type { StoredFile, StoreFileOptions } from "../../userspace/repository/repository.ts";
import { openRepository } from "../../userspace/repository/repository.ts";
import {
  type Fixture,
  newRepository,
  platformOf,
  quickLinux,
  withoutNamelessFiles,
} from "./fixture.ts";
import { troubleAt, watched } from "./trouble.ts";

const CONTENT = Buffer.alloc(300_001, "content of a file, ");
const DIGEST = toHex(digestBytes("sha256", CONTENT));
const root = process.getuid?.() === 0;

const failure = (code: string, errno: number, call: string) =>
  new LinuxError(errno, code, code, call, "");

/** The real calls, on a file system whose files can share blocks. */
function cloning(base: Linux = quickLinux): Linux {
  return {
    ...base,
    ioctlValue(to, request, from) {
      if (request !== FICLONE) return base.ioctlValue(to, request, from);
      const fd = base.openat(AT_FDCWD, `/proc/self/fd/${from}`, O_RDONLY);
      base.write(to, readAll(base, fd, 1 << 30), 0);
      base.close(fd);
      return 0;
    },
  };
}

/** As on a file system without fs-verity. */
function withoutVerity(base: Linux = quickLinux): Linux {
  return {
    ...base,
    ioctl() {
      throw failure("ENOTTY", 25, "ioctl");
    },
  };
}

/** A file beside the repository. */
function newFile(fixture: Fixture, content: Uint8Array = CONTENT, mode = 0o755): string {
  const path = join(fixture.path, "..", "file");
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

function store(
  fixture: Fixture,
  path: string,
  options?: StoreFileOptions,
  linux: Linux = fixture.platform.linux,
): Omit<StoredFile, "digest"> & { digest: string } {
  using repository = openRepository(fixture.path, { platform: platformOf(linux) });
  const fd = openSync(path, "r");
  try {
    const stored = repository.storeFile(fd, options);
    return { ...stored, digest: toHex(stored.digest) };
  } finally {
    closeSync(fd);
  }
}

const objectFile = (fixture: Fixture, digest = DIGEST) =>
  join(fixture.path, "objects", objectPath(digest));

function hasVerity(fixture: Fixture, path: string): boolean {
  const { linux } = fixture.platform;
  const fd = linux.openat(AT_FDCWD, path, O_RDONLY);
  try {
    return measureVerity(linux, fd, "sha256").state === "verity";
  } finally {
    linux.close(fd);
  }
}

describe.each(["secure", "insecure"] as const)("%s: a file", (kind) => {
  test("shares its blocks with the object where it can", () => {
    using fixture = newRepository(kind, { base: cloning() });
    const path = newFile(fixture);
    const stored = store(fixture, path, { hardlink: true, copy: false });
    expect(stored).toEqual({
      digest: DIGEST,
      size: CONTENT.length,
      existing: false,
      method: "reflinked",
    });
    expect(readFileSync(objectFile(fixture)).equals(CONTENT)).toBe(true);
    expect(statSync(objectFile(fixture)).ino).not.toBe(statSync(path).ino);
    expect(statSync(objectFile(fixture)).mode & 0o7777).toBe(0o644);
    expect(hasVerity(fixture, path)).toBe(false);
    expect(store(fixture, path).method).toBe("existing");
  });

  test.runIf(root)("becomes the object itself if its owner vouches for it", () => {
    using fixture = newRepository(kind);
    const path = newFile(fixture);
    const stored = store(fixture, path, { hardlink: true, copy: false });
    expect(stored).toMatchObject({ digest: DIGEST, existing: false, method: "hardlinked" });
    expect(statSync(objectFile(fixture)).ino).toBe(statSync(path).ino);
    expect(hasVerity(fixture, path)).toBe(true);
    expect(store(fixture, path, { hardlink: true })).toMatchObject({
      existing: true,
      method: "existing",
    });
  });

  test("is copied if nobody vouches for it", () => {
    using fixture = newRepository(kind);
    const path = newFile(fixture);
    expect(store(fixture, path)).toMatchObject({
      digest: DIGEST,
      existing: false,
      method: "copied",
    });
    expect(readFileSync(objectFile(fixture)).equals(CONTENT)).toBe(true);
    expect(statSync(path).nlink).toBe(1);
    expect(hasVerity(fixture, path)).toBe(false);
    expect(store(fixture, path).method).toBe("existing");
  });

  test("that must be neither linked nor copied is an error, and nothing is left behind", () => {
    using fixture = newRepository(kind);
    const path = newFile(fixture);
    expect(() => store(fixture, path, { copy: false })).toThrow("not to be copied");
    chmodSync(path, 0o4755);
    expect(() => store(fixture, path, { copy: false, hardlink: true })).toThrow("not to be copied");
    expect(statSync(path).nlink).toBe(1);
    expect(hasVerity(fixture, path)).toBe(false);
  });

  test.each([
    ["set-user-ID", 0o4755],
    ["set-group-ID", 0o2755],
  ])("that is %s is copied: no other name of it stays behind", (_, mode) => {
    using fixture = newRepository(kind);
    const path = newFile(fixture, CONTENT, mode);
    expect(store(fixture, path, { hardlink: true }).method).toBe("copied");
    expect(statSync(objectFile(fixture)).mode & 0o7777).toBe(0o644);
    expect(hasVerity(fixture, path)).toBe(false);
  });

  test.runIf(root)("that somebody writes to is copied", () => {
    using fixture = newRepository(kind);
    const path = newFile(fixture);
    const { linux } = fixture.platform;
    const writer = linux.openat(AT_FDCWD, path, 2);
    try {
      expect(store(fixture, path, { hardlink: true }).method).toBe("copied");
    } finally {
      linux.close(writer);
    }
    expect(statSync(objectFile(fixture)).ino).not.toBe(statSync(path).ino);
  });

  test.each(["EXDEV", "EPERM", "ENOENT", "EMLINK"])(
    "is copied where the kernel refuses the link with %s (bootc#2324)",
    (code) => {
      using fixture = newRepository(kind);
      const path = newFile(fixture);
      const { linux } = fixture.platform;
      const refusing: Linux = {
        ...linux,
        linkat(from, old, to, name, flags) {
          if (old === "") throw failure(code, 1, "linkat");
          linux.linkat(from, old, to, name, flags);
        },
      };
      expect(store(fixture, path, { hardlink: true }, refusing).method).toBe("copied");
      expect(readFileSync(objectFile(fixture)).equals(CONTENT)).toBe(true);
    },
  );

  test("on another mount is not touched, as it cannot be linked", () => {
    using fixture = newRepository(kind);
    const path = newFile(fixture);
    const { linux } = fixture.platform;
    const elsewhere: Linux = {
      ...linux,
      statx: (fd, name, flags) => {
        const stat = linux.statx(fd, name, flags);
        return stat.size === CONTENT.length ? { ...stat, mountId: stat.mountId + 1n } : stat;
      },
    };
    expect(store(fixture, path, { hardlink: true }, elsewhere).method).toBe("copied");
    expect(hasVerity(fixture, path)).toBe(false);
  });

  test("with fs-verity is found without being read", () => {
    using fixture = newRepository(kind);
    const path = newFile(fixture);
    store(fixture, path);
    const { linux } = fixture.platform;
    const fd = linux.openat(AT_FDCWD, path, O_RDONLY);
    enableVerity(linux, fd, "sha256", () => {});
    linux.close(fd);
    let reads = 0;
    const counting = watched(linux, (call, args) => {
      if (call === "read" && (args[1] as Uint8Array).length > 10_000) reads++;
    });
    expect(store(fixture, path, { hardlink: true }, counting).method).toBe("existing");
    expect(reads).toBe(0);
    expect(statSync(path).nlink).toBe(1);
  });

  test.each([
    [true, "reflinked"],
    [false, "copied"],
  ] as const)("takes the place of a damaged object (clones: %s)", (clones, method) => {
    using fixture = newRepository(kind, { base: clones ? cloning() : quickLinux });
    const path = newFile(fixture);
    store(fixture, path);
    writeFileSync(objectFile(fixture), "cut short");
    if (kind === "secure") fixture.verity.strip(AT_FDCWD, objectFile(fixture));
    expect(store(fixture, path, { hardlink: true })).toMatchObject({ existing: false, method });
    expect(readFileSync(objectFile(fixture)).equals(CONTENT)).toBe(true);
  });

  test("is cloned at once where the first one could be, and no more asked for where it could not", () => {
    using fixture = newRepository(kind);
    let asked = 0;
    const linux = watched(fixture.platform.linux, (call, args) => {
      if (call === "ioctlValue" && args[1] === FICLONE) asked++;
    });
    using repository = openRepository(fixture.path, { platform: platformOf(linux) });
    const path = newFile(fixture);
    for (let i = 0; i < 3; i++) {
      writeFileSync(path, Buffer.alloc(1000, String(i)));
      const fd = openSync(path, "r");
      expect(repository.storeFile(fd).method).toBe("copied");
      closeSync(fd);
    }
    expect(asked).toBe(1);
  });

  test("that is none is refused", () => {
    using fixture = newRepository(kind);
    expect(() => store(fixture, fixture.path)).toThrow("expected a regular file");
  });
});

describe("without fs-verity at all", () => {
  test.runIf(root).each([
    [0o755, 0, "hardlinked"],
    [0o644, 0, "hardlinked"],
    [0o775, 0, "copied"],
    [0o666, 0, "copied"],
    [0o755, 1000, "copied"],
  ])("a file of mode %o and user %d: %s", (mode, uid, method) => {
    using fixture = newRepository("insecure");
    const path = newFile(fixture, CONTENT, mode);
    const linux = withoutVerity();
    const owned: Linux = {
      ...linux,
      statx: (...args) => {
        const stat = linux.statx(...args);
        return stat.size === CONTENT.length ? { ...stat, uid } : stat;
      },
    };
    expect(store(fixture, path, { hardlink: true }, owned)).toMatchObject({
      digest: DIGEST,
      method,
    });
    expect(readFileSync(objectFile(fixture)).equals(CONTENT)).toBe(true);
  });

  test("a secure repository takes no file", () => {
    using fixture = newRepository("secure");
    const path = newFile(fixture);
    const base = fixture.platform.linux;
    const linux: Linux = {
      ...base,
      ioctl(fd, request, argument) {
        // meta.json still has its fs-verity
        if (base.statx(fd, "", 0x1000).size < 1000) return base.ioctl(fd, request, argument);
        throw failure("EOPNOTSUPP", 95, "ioctl");
      },
    };
    expect(() => store(fixture, path, { hardlink: true }, linux)).toThrow("store object");
    expect(statSync(path).nlink).toBe(1);
  });
});

describe.each(["error", "death", "full", "broken"] as const)("with %s at any call", (kind) => {
  test.each([
    ["cloned", "secure", cloning()],
    ["linked", "secure", quickLinux],
    ["copied", "insecure", withoutVerity()],
    ["cloned where files must have names", "insecure", cloning(withoutNamelessFiles)],
  ] as const)("a file that is %s leaves the repository sound", (how, security, base) => {
    if (how === "linked" && !root) return;
    let calls = 0;
    for (let nth = 1, happened = true; happened; nth++) {
      using fixture = newRepository(security, { base });
      const path = newFile(fixture);
      const trouble = troubleAt(fixture.platform.linux, nth, kind);
      const options = { hardlink: how === "linked" };
      try {
        store(fixture, path, options, trouble.linux);
      } catch {}
      trouble.bury();
      happened = trouble.happened();
      if (happened) calls++;
      expect(readFileSync(path).equals(CONTENT)).toBe(true);
      {
        using repository = fixture.open();
        expect(checkRepository(repository).findings, `call ${nth}`).toEqual([]);
      }
      store(fixture, path, options);
      expect(readFileSync(objectFile(fixture)).equals(CONTENT)).toBe(true);
      using repository = fixture.open();
      collectGarbage(repository);
      expect(readdirSync(fixture.path).sort()).toEqual(["meta.json", "objects"]);
      const left = readdirSync(join(fixture.path, "objects"), { recursive: true });
      expect(left).toEqual([DIGEST.slice(0, 2)]);
    }
    expect(calls).toBeGreaterThan(3);
  });
});
