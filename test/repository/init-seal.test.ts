import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { objectPath, toHex } from "../../src/formats/digest.ts";
import { newMetadata, serializeMetadata } from "../../src/formats/meta-json.ts";
import { AT_FDCWD } from "../../src/linux/constants.ts";
import { type Linux, LinuxError } from "../../src/linux/linux.ts";
import { digestBytes } from "../../userspace/hash.ts";
import { initRepository } from "../../userspace/repository/init.ts";
import { openRepository } from "../../userspace/repository/repository.ts";
import { sealRepository } from "../../userspace/repository/seal.ts";
import {
  bytes,
  type Fixture,
  newRepository,
  platformOf,
  quickLinux,
  streamOf,
  temporaryDirectory,
} from "./fixture.ts";
import { watched } from "./trouble.ts";

/** As on a file system without fs-verity, whatever this one is. */
const plainLinux: Linux = {
  ...quickLinux,
  ioctl(fd) {
    throw new LinuxError(25, "ENOTTY", "Inappropriate ioctl for device", "ioctl", `fd ${fd}`);
  },
};
const plain = platformOf(plainLinux);
const causeOf = (action: () => unknown) => {
  try {
    action();
  } catch (error) {
    return ((error as Error).cause as Error).message;
  }
  return undefined;
};
const meta = (path: string) => readFileSync(join(path, "meta.json"), "utf8");

describe("init", () => {
  test("makes a repository, and is content with one that is just so", () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "r");
    const options = { hash: "sha512", format: 1, insecure: true, platform: plain } as const;
    expect(initRepository(path, options)).toBe(true);
    expect(meta(path)).toBe(serializeMetadata(newMetadata("sha512", 1)));
    expect(initRepository(path, options)).toBe(false);
    expect(readdirSync(path)).toEqual(["meta.json"]);
    using repository = openRepository(path, { platform: plain });
    expect(repository).toMatchObject({ hash: "sha512", formats: [1], insecure: true });
  });

  test("leaves a different one alone and says what is different", () => {
    using fixture = newRepository("insecure", { hash: "sha256" });
    const { path, platform } = fixture;
    const before = meta(path);
    const make = (changes: object) => () =>
      initRepository(path, { hash: "sha256", format: 1, insecure: true, platform, ...changes });
    expect(make({})()).toBe(false);
    for (const changes of [{ hash: "sha512" }, { format: 2 }, { insecure: false }]) {
      expect(make(changes)).toThrow(
        /already, and it is different: fsverity-sha256-12, EROFS format 1, without fs-verity; asked for was/,
      );
    }
    expect(meta(path)).toBe(before);
  });

  test("that fails for want of fs-verity leaves nothing", () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "r");
    const make = () =>
      initRepository(path, { hash: "sha256", format: 1, insecure: false, platform: plain });
    expect(make).toThrow(`make a repository at ${path}`);
    expect(readdirSync(directory.path)).toEqual([]);
    mkdirSync(path);
    expect(make).toThrow();
    expect(readdirSync(path)).toEqual([]);
  });

  test("gives meta.json fs-verity in a secure repository", () => {
    using fixture = newRepository("secure");
    fixture.open({ requireVerity: true }).close();
  });
});

/** A repository as bootc up to 1.15 has left it: no meta.json. */
function oldRepository(kind: "secure" | "insecure"): Fixture & { readonly image: string } {
  const fixture = newRepository(kind, { hash: "sha512" });
  using repository = fixture.open();
  for (let i = 0; i < 20; i++) repository.storeObject(bytes(`object ${i}`));
  const image = toHex(repository.writeImage(bytes("an image")));
  rmSync(join(fixture.path, "meta.json"));
  return { ...fixture, image };
}

describe("a repository without meta.json", () => {
  test.each(["secure", "insecure"] as const)("%s: is read as it is", (kind) => {
    using fixture = oldRepository(kind);
    const before = readdirSync(fixture.path);
    using repository = fixture.open();
    expect(repository).toMatchObject({ hash: "sha512", formats: [2], insecure: kind !== "secure" });
    const image = repository.openImage(fixture.image);
    expect(image.verity).toBe(kind === "secure");
    fixture.platform.linux.close(image.fd);
    expect(readdirSync(fixture.path)).toEqual(before);
  });

  test.each(["secure", "insecure"] as const)("%s: gets one when it is written to", (kind) => {
    using fixture = oldRepository(kind);
    {
      using repository = fixture.open();
      repository.storeObject(bytes("new"));
    }
    expect(meta(fixture.path)).toBe(serializeMetadata(newMetadata("sha512", 2)));
    using repository = fixture.open({ requireVerity: kind === "secure" });
    expect(repository).toMatchObject({ formats: [2], insecure: kind !== "secure" });
  });

  test("is insecure if any object that is looked at has no fs-verity", () => {
    using fixture = oldRepository("secure");
    fixture.verity.strip(AT_FDCWD, join(fixture.path, "objects", objectPath(fixture.image)));
    const directory = join(fixture.path, "objects", fixture.image.slice(0, 2));
    if (readdirSync(directory).length > 1) return; // another one of the directory is looked at
    using repository = fixture.open();
    expect(repository.insecure).toBe(true);
  });

  test("is one only if there are objects, all of one hash", () => {
    using directory = temporaryDirectory();
    const open = () => openRepository(directory.path, { platform: plain });
    mkdirSync(join(directory.path, "objects/aa"), { recursive: true });
    writeFileSync(join(directory.path, "objects/aa/README"), "");
    expect(open).toThrow(/there is no repository/);
    writeFileSync(join(directory.path, "objects/aa", "b".repeat(62)), "");
    expect(open().hash).toBe("sha256");
    mkdirSync(join(directory.path, "objects/bb"));
    writeFileSync(join(directory.path, "objects/bb", "c".repeat(126)), "");
    expect(open).toThrow(/repository/);
  });

  test("is not made anew by init, only completed", () => {
    using fixture = oldRepository("insecure");
    const make = (format: 1 | 2) => () =>
      initRepository(fixture.path, {
        hash: "sha512",
        format,
        insecure: true,
        platform: fixture.platform,
      });
    expect(make(1)).toThrow(/is different: fsverity-sha512-12, EROFS format 2/);
    expect(make(2)()).toBe(false);
    expect(meta(fixture.path)).toBe(serializeMetadata(newMetadata("sha512", 2)));
  });
});

describe("seal", () => {
  function filled(): Fixture & { readonly file: Uint8Array } {
    const fixture = newRepository("insecure");
    using repository = fixture.open();
    const file = repository.storeObject(bytes("hello world")).digest;
    repository.writeStream("s", streamOf("sha256", [file]), { existing: "keep", ref: "r" });
    repository.writeImage(bytes("an image"), "debian");
    return { ...fixture, file };
  }

  test("makes an insecure repository a secure one", () => {
    using fixture = filled();
    const before = meta(fixture.path);
    const { path, platform } = fixture;
    const progress: number[] = [];
    const sealed = sealRepository(path, { platform, onProgress: (done) => progress.push(done) });
    expect(sealed).toEqual({ objects: 3, enabled: 3, already: false });
    expect(progress.at(-1)).toBe(readdirSync(join(path, "objects")).length);
    expect(meta(path)).toBe(before);
    using repository = fixture.open({ requireVerity: true });
    platform.linux.close(repository.openObject(fixture.file));
    const image = repository.openImage("debian");
    expect(image.verity).toBe(true);
    platform.linux.close(image.fd);
    repository.close();
    expect(sealRepository(path, { platform })).toEqual({ objects: 3, enabled: 0, already: true });
  });

  test("seals meta.json last", () => {
    using fixture = filled();
    const calls: string[] = [];
    const linux = watched(fixture.platform.linux, (call, args) => {
      if (call === "ioctl" && args[1] === 0x40806685) calls.push("enable");
      if (call === "syncfs") calls.push("sync");
      if (call === "renameat2") calls.push(`rename ${args[3]}`);
    });
    sealRepository(fixture.path, { platform: platformOf(linux) });
    expect(calls).toEqual(["enable", "enable", "enable", "sync", "enable", "rename meta.json"]);
  });

  test("names every object that is damaged, and the repository stays as open as it was", () => {
    using fixture = filled();
    const damaged = join(fixture.path, "objects", objectPath(toHex(fixture.file)));
    writeFileSync(damaged, "hello w0rld");
    const seal = () => sealRepository(fixture.path, { platform: fixture.platform });
    const message = `not sealed, 1 of 3 objects are damaged: ${toHex(fixture.file)}`;
    expect(seal).toThrow(message);
    expect(seal).toThrow(message); // and again
    expect(fixture.open().insecure).toBe(true);
  });

  test("can be repeated when a damaged object is mended", () => {
    using fixture = filled();
    writeFileSync(join(fixture.path, "objects", objectPath(toHex(fixture.file))), "hello w0rld");
    const seal = () => sealRepository(fixture.path, { platform: fixture.platform });
    expect(seal).toThrow(/damaged/);
    {
      using repository = fixture.open();
      expect(repository.storeObject(bytes("hello world")).existing).toBe(false);
    }
    expect(seal()).toEqual({ objects: 3, enabled: 1, already: false });
    fixture.open({ requireVerity: true }).close();
  });

  test("leaves foreign files alone", () => {
    using fixture = filled();
    const directory = join(fixture.path, "objects", readdirSync(join(fixture.path, "objects"))[0]!);
    writeFileSync(join(directory, "README"), "not an object");
    expect(sealRepository(fixture.path, { platform: fixture.platform }).objects).toBe(3);
    writeFileSync(join(directory, "README"), "can still be written");
  });

  test("without fs-verity says so", () => {
    using fixture = filled();
    const seal = () => sealRepository(fixture.path, { platform: plain });
    expect(seal).toThrow(/^object [0-9a-f]{64}$/);
    expect(causeOf(seal)).toBe("the file system or the kernel has no fs-verity");
  });

  test("waits until nobody else has the repository open, but only when all objects are sealed", () => {
    using fixture = filled();
    using _other = fixture.open();
    const { linux } = fixture.platform;
    let enabled = 0;
    const counting = watched(linux, (call, args) => {
      if (call === "ioctl" && args[1] === 0x40806685) enabled++;
    });
    const onWait = () => {
      throw new Error("must wait");
    };
    const options = { platform: platformOf(counting), onWait };
    expect(() => sealRepository(fixture.path, options)).toThrow("must wait");
    expect(enabled).toBe(3);
  });

  test("seals what is added meanwhile", () => {
    using fixture = filled();
    const { path, platform } = fixture;
    const onProgress = (done: number, total: number) => {
      if (done < total) return;
      using other = fixture.open();
      other.storeObject(bytes("added meanwhile"));
    };
    expect(sealRepository(path, { platform, onProgress })).toMatchObject({
      objects: 4,
      enabled: 4,
    });
  });

  test("with the kernel's fs-verity", (context) => {
    using directory = temporaryDirectory(tmpdir());
    const path = join(directory.path, "r");
    initRepository(path, { hash: "sha256", format: 1, insecure: true });
    {
      using repository = openRepository(path);
      repository.storeObject(bytes("hello world"));
    }
    try {
      sealRepository(path);
    } catch (error) {
      if (!/no fs-verity/.test(String((error as Error).cause))) throw error;
      return context.skip("the file system of the temporary directory has no fs-verity");
    }
    using repository = openRepository(path, { requireVerity: true });
    const { digest } = repository.storeObject(bytes("another one"));
    expect(toHex(digest)).toBe(toHex(digestBytes("sha256", bytes("another one"))));
  });
});
