import {
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { objectPath, toHex } from "../../src/formats/digest.ts";
import { CONTENT_TYPES } from "../../src/formats/splitstream.ts";
import { AT_FDCWD } from "../../src/linux/constants.ts";
import { readAll } from "../../src/linux/files.ts";
import type { Linux } from "../../src/linux/linux.ts";
import { digestBytes } from "../../userspace/hash.ts";
import { openRepository, type Repository } from "../../userspace/repository/repository.ts";
import {
  bytes,
  type Fixture,
  newRepository,
  platformOf,
  quickLinux,
  streamOf,
  temporaryDirectory,
  withoutNamelessFiles,
} from "./fixture.ts";
import { watched } from "./trouble.ts";

const HELLO = "1e2eaa4202d750a41174ee454970b92c1bc2f925b1e35076d8c7d5f56362ba64";
const objectFile = (fixture: Fixture, digest: Uint8Array) =>
  join(fixture.path, "objects", objectPath(toHex(digest)));
const read = (fixture: Fixture, repository: Repository, digest: Uint8Array) => {
  const fd = repository.openObject(digest);
  try {
    return Buffer.from(readAll(fixture.platform.linux, fd, 1 << 20)).toString();
  } finally {
    fixture.platform.linux.close(fd);
  }
};

describe.each(["secure", "insecure"] as const)("%s: objects", (kind) => {
  test("are found by the fs-verity digest of their content", () => {
    using fixture = newRepository(kind);
    using repository = fixture.open();
    const stored = repository.storeObject(bytes("hello world"));
    expect(toHex(stored.digest)).toBe(HELLO);
    expect(stored).toMatchObject({ size: 11, existing: false });
    expect(readFileSync(join(fixture.path, "objects", objectPath(HELLO)), "utf8")).toBe(
      "hello world",
    );
    expect(statSync(objectFile(fixture, stored.digest)).mode & 0o7111).toBe(0);
    expect(repository.storeObject(bytes("hello world")).existing).toBe(true);
    expect(repository.hasObject(stored.digest)).toBe(true);
    expect(repository.objectSize(stored.digest)).toBe(11);
    expect(read(fixture, repository, stored.digest)).toBe("hello world");
  });

  test.each([100_001, 1_000_001])("written in pieces are the same objects: %d bytes", (size) => {
    using fixture = newRepository(kind, { hash: "sha512" });
    using repository = fixture.open();
    const data = Buffer.alloc(size, "0123456789 and so on");
    const writer = repository.createObject();
    const piece = Buffer.alloc(4099);
    for (let at = 0; at < data.length; at += piece.length) {
      // the same buffer again and again, as a reader would give it
      writer.write(piece.subarray(0, data.copy(piece, 0, at, at + piece.length)));
    }
    const stored = writer.finish();
    expect(stored).toMatchObject({ size: data.length, existing: false });
    expect(toHex(stored.digest)).toBe(toHex(digestBytes("sha512", data)));
    expect(repository.storeObject(data).existing).toBe(true);
    const again = repository.createObject();
    again.write(data);
    expect(again.finish().existing).toBe(true);
  });

  test("that are written at the same time do not mix", () => {
    using fixture = newRepository(kind);
    using repository = fixture.open();
    const letters = ["a", "b", "c"];
    const writers = letters.map(() => repository.createObject());
    for (let round = 0; round < 5; round++) {
      for (const [i, writer] of writers.entries()) writer.write(bytes(letters[i]!.repeat(1000)));
    }
    const stored = writers.map((writer) => writer.finish().digest);
    expect(stored.map((digest) => read(fixture, repository, digest))).toEqual(
      letters.map((letter) => letter.repeat(5000)),
    );
  });

  test("that nobody finishes leave nothing", () => {
    using fixture = newRepository(kind);
    using repository = fixture.open();
    const writer = repository.createObject();
    writer.write(bytes("x".repeat(100)));
    writer.abort();
    writer.abort();
    expect(readdirSync(join(fixture.path, "objects"))).toEqual([]);
  });

  test("can be empty", () => {
    using fixture = newRepository(kind);
    using repository = fixture.open();
    const { digest } = repository.createObject().finish();
    expect(toHex(digest)).toMatch(/^3d248ca542a2/);
    expect(repository.readObject(digest)).toEqual(new Uint8Array(0));
  });

  test("that a power cut has shortened are stored again", () => {
    using fixture = newRepository(kind);
    using repository = fixture.open();
    const { digest } = repository.storeObject(bytes("hello world"));
    rmSync(objectFile(fixture, digest));
    writeFileSync(objectFile(fixture, digest), "");
    fixture.verity.strip(AT_FDCWD, objectFile(fixture, digest)); // the inode may be the same
    expect(repository.storeObject(bytes("hello world")).existing).toBe(false);
    expect(read(fixture, repository, digest)).toBe("hello world");
    expect(readdirSync(join(fixture.path, "objects"))).toEqual([HELLO.slice(0, 2)]);
  });

  test("that are missing or too large are said to be", () => {
    using fixture = newRepository(kind);
    using repository = fixture.open();
    const { digest } = repository.storeObject(bytes("hello world"));
    expect(() => repository.readObject(digest, 10)).toThrow(`object ${HELLO}`);
    const other = new Uint8Array(32);
    expect(() => repository.openObject(other)).toThrow(`no object ${"00".repeat(32)}`);
    expect(() => repository.hasObject(new Uint8Array(64))).toThrow(/is no sha256 digest/);
  });

  test("get by without nameless files (bootc#2340)", () => {
    using fixture = newRepository(kind, { base: withoutNamelessFiles });
    using repository = fixture.open();
    const large = repository.createObject();
    large.write(Buffer.alloc(1 << 20));
    expect(readdirSync(join(fixture.path, "objects"))[0]).toMatch(/^\.tmp-object-[A-Za-z0-9]{12}$/);
    large.abort();
    const writer = repository.createObject();
    writer.write(bytes("hello world"));
    expect(toHex(writer.finish().digest)).toBe(HELLO);
    repository.createObject().abort();
    expect(repository.storeObject(bytes("hello world")).existing).toBe(true);
    expect(readdirSync(join(fixture.path, "objects"))).toEqual([HELLO.slice(0, 2)]);
    expect(readdirSync(fixture.path).sort()).toEqual(["meta.json", "objects"]);
  });
});

test("small objects that the store has are not written again, where no kernel has to hash them", () => {
  using fixture = newRepository("insecure");
  const calls: string[] = [];
  const linux = watched(fixture.platform.linux, (call) => calls.push(call));
  using repository = openRepository(fixture.path, { platform: { ...fixture.platform, linux } });
  const write = () => {
    const writer = repository.createObject();
    writer.write(bytes("hello "));
    writer.write(bytes("world"));
    return writer.finish().existing;
  };
  expect(write()).toBe(false);
  expect(calls).toContain("write");
  calls.length = 0;
  expect(write()).toBe(true);
  expect(calls).not.toContain("write");
  expect(calls).not.toContain("linkat");
});

describe("what is not what its name says", () => {
  test("is refused in a secure repository, and stored again", () => {
    using fixture = newRepository("secure");
    using repository = fixture.open();
    const { digest } = repository.storeObject(bytes("hello world"));
    fixture.verity.strip(AT_FDCWD, objectFile(fixture, digest));
    expect(() => repository.openObject(digest)).toThrow(`object ${HELLO}: it has no fs-verity`);
    expect(repository.storeObject(bytes("hello world")).existing).toBe(false);
    expect(read(fixture, repository, digest)).toBe("hello world");

    const other = repository.storeObject(bytes("another one"));
    rmSync(objectFile(fixture, digest));
    fixture.platform.linux.linkat(
      AT_FDCWD,
      objectFile(fixture, other.digest),
      AT_FDCWD,
      objectFile(fixture, digest),
      0,
    );
    expect(() => repository.openObject(digest)).toThrow(
      `object ${HELLO} is damaged: its fs-verity digest is ${toHex(other.digest)}`,
    );
  });

  test("is noticed in an insecure repository when it is read as a whole", () => {
    using fixture = newRepository("insecure");
    using repository = fixture.open();
    const { digest } = repository.storeObject(bytes("hello world"));
    writeFileSync(objectFile(fixture, digest), "hello w0rld");
    expect(() => repository.readObject(digest)).toThrow(`object ${HELLO} is damaged`);
  });
});

test("fs-verity goes to a copy when somebody still has the file open for writing", () => {
  using fixture = newRepository("secure");
  using repository = fixture.open();
  fixture.verity.busy = 2;
  const first = repository.storeObject(bytes("hello world"));
  expect(fixture.verity.busy).toBe(0);
  fixture.verity.busy = 7;
  const second = repository.storeObject(bytes("another one"));
  expect(fixture.verity.busy).toBe(0);
  expect(read(fixture, repository, first.digest)).toBe("hello world");
  expect(read(fixture, repository, second.digest)).toBe("another one");
});

describe.each(["secure", "insecure"] as const)("%s: streams", (kind) => {
  test("are linked, read and listed", () => {
    using fixture = newRepository(kind);
    using repository = fixture.open();
    const file = repository.storeObject(bytes("f".repeat(100)));
    const digest = repository.writeStream(
      "oci-layer-sha256:ab",
      streamOf("sha256", [file.digest]),
      {
        existing: "keep",
        ref: "oci/a%2Fb:1",
      },
    );
    const hex = toHex(digest);
    expect(fixture.link("streams/oci-layer-sha256:ab")).toBe(`../objects/${objectPath(hex)}`);
    expect(fixture.link("streams/refs/oci/a%2Fb:1")).toBe("../../oci-layer-sha256:ab");
    expect(repository.streamObject("oci-layer-sha256:ab")).toEqual(digest);
    expect(repository.listStreams()).toEqual(["oci-layer-sha256:ab"]);
    const stream = repository.readStream("oci-layer-sha256:ab", CONTENT_TYPES["oci-layer"]);
    expect(stream.objectRefs.map(toHex)).toEqual([toHex(file.digest)]);
    expect([...stream.chunks()].map(({ type }) => type)).toEqual(["external"]);
    expect(repository.readStreamObject(digest).size).toBe(100);
    expect(() => repository.readStream("oci-layer-sha256:ab", CONTENT_TYPES["oci-config"])).toThrow(
      "stream oci-layer-sha256:ab has content type 0x726579616c69636f, 0x67666e6f6369636f expected",
    );
    expect(() => repository.readStream("oci-layer-sha256:cd")).toThrow(
      "no stream oci-layer-sha256:cd",
    );
    expect(repository.removeStream("oci-layer-sha256:ab")).toBe(true);
    expect(repository.removeStream("oci-layer-sha256:ab")).toBe(false);
    expect(repository.streamObject("oci-layer-sha256:ab")).toBeUndefined();
  });

  test("stay or are re-pointed, but layers always stay", () => {
    using fixture = newRepository(kind);
    using repository = fixture.open();
    const [a, b] = ["a", "b"].map((text) => streamOf("sha256", [], text)) as [
      Uint8Array,
      Uint8Array,
    ];
    const write = (id: string, data: Uint8Array, existing: "keep" | "replace") =>
      toHex(repository.writeStream(id, data, { existing }));
    const first = write("oci-config-x", a, "keep");
    expect(write("oci-config-x", b, "keep")).toBe(first);
    const second = write("oci-config-x", b, "replace");
    expect(second).not.toBe(first);
    expect(fixture.link("streams/oci-config-x")).toBe(`../objects/${objectPath(second)}`);
    expect(write("oci-layer-x", a, "replace")).toBe(first);
    expect(write("oci-layer-x", b, "replace")).toBe(first);
    expect(readdirSync(fixture.path).sort()).toEqual(["meta.json", "objects", "streams"]);
  });

  test("whose object is gone are written again", () => {
    using fixture = newRepository(kind);
    using repository = fixture.open();
    const digest = repository.writeStream("oci-layer-x", streamOf("sha256", [], "a"), {
      existing: "keep",
    });
    unlinkSync(objectFile(fixture, digest));
    expect(repository.streamObject("oci-layer-x")).toBeUndefined();
    const other = repository.writeStream("oci-layer-x", streamOf("sha256", [], "b"), {
      existing: "keep",
    });
    expect(repository.streamObject("oci-layer-x")).toEqual(other);
  });

  test("are durable before they are linked", () => {
    const calls: string[] = [];
    const base = watched(quickLinux, (call, args) => {
      if (call === "syncfs") calls.push("sync");
      if (call === "linkat") calls.push("object");
      if (call === "symlinkat") calls.push(String(args[2]));
    });
    using fixture = newRepository(kind, { base });
    using repository = fixture.open();
    calls.length = 0;
    const write = (existing: "keep" | "replace", text: string) =>
      repository.writeStream("s", streamOf("sha256", [], text), { existing, ref: "r" });
    write("keep", "a");
    // a link is tried once more after its object's directory is made
    expect([...new Set(calls)]).toEqual(["object", "sync", "streams/s", "streams/refs/r"]);
    calls.length = 0;
    write("replace", "b");
    expect([...new Set(calls)].slice(0, 3)).toEqual(["object", "sync", "streams/s"]);
    calls.length = 0;
    repository.writeImage(bytes("an image"));
    expect([...new Set(calls)]).toEqual(["object", "sync", expect.stringMatching(/^images\//)]);
  });

  test("that are damaged are said to be", () => {
    using fixture = newRepository(kind);
    using repository = fixture.open();
    repository.writeStream("s", bytes("this is not a splitstream, is it?"), { existing: "keep" });
    expect(() => repository.readStream("s")).toThrow("stream s");
    symlinkSync("../meta.json", join(fixture.path, "streams/t"));
    expect(() => repository.streamObject("t")).toThrow(
      "streams/t leads to ../meta.json, which is no object",
    );
    writeFileSync(join(fixture.path, "streams/u"), "");
    expect(() => repository.streamObject("u")).toThrow("streams/u is not a symbolic link");
    expect(repository.listStreams()).toEqual(["s", "t"]);
  });
});

describe("images", () => {
  test("are found by digest, by reference and by its path", () => {
    using fixture = newRepository("secure");
    using repository = fixture.open();
    const digest = repository.writeImage(bytes("an image"), "os/debian");
    const hex = toHex(digest);
    expect(fixture.link(`images/${hex}`)).toBe(`../objects/${objectPath(hex)}`);
    expect(fixture.link("images/refs/os/debian")).toBe(`../../${hex}`);
    for (const name of [hex, hex.toUpperCase(), "os/debian", "refs/os/debian"]) {
      const image = repository.openImage(name);
      expect(toHex(image.digest)).toBe(hex);
      expect(image.verity).toBe(true);
      fixture.platform.linux.close(image.fd);
    }
    expect(repository.listImages()).toEqual([hex]);
  });

  test("must be linked as images: an object or a dangling name is none", () => {
    using fixture = newRepository("secure");
    using repository = fixture.open();
    const { digest } = repository.storeObject(bytes("hello world"));
    for (const name of [toHex(digest), "nothing", "refs/nothing", "refs"]) {
      expect(() => repository.openImage(name)).toThrow(`no image ${name}`);
    }
    mkdirSync(join(fixture.path, "images/refs"), { recursive: true });
    symlinkSync(`../${HELLO}`, join(fixture.path, "images/refs/gone"));
    expect(() => repository.openImage("gone")).toThrow(`no image ${HELLO}, which gone refers to`);
    expect(() => repository.openImage("../x")).toThrow(/cannot be a name/);
  });

  test("that another spelling of a link leads to are found, too", () => {
    using fixture = newRepository("secure");
    using repository = fixture.open();
    const hex = toHex(repository.writeImage(bytes("an image")));
    mkdirSync(join(fixture.path, "images/refs"));
    symlinkSync(`../../images/${hex}`, join(fixture.path, "images/refs/debian"));
    fixture.platform.linux.close(repository.openImage("debian").fd);
    expect(repository.listRefs("images")).toEqual([{ name: "debian", target: hex }]);
  });

  test("under a name are measured just as those by digest", () => {
    using fixture = newRepository("secure");
    using repository = fixture.open();
    const digest = repository.writeImage(bytes("an image"), "debian");
    fixture.verity.strip(AT_FDCWD, objectFile(fixture, digest));
    expect(() => repository.openImage("debian")).toThrow("it has no fs-verity");
  });

  test("whose link leads to another object are refused", () => {
    using fixture = newRepository("secure");
    using repository = fixture.open();
    const good = toHex(repository.writeImage(bytes("an image")));
    const other = toHex(repository.writeImage(bytes("another image"), "debian"));
    unlinkSync(join(fixture.path, "images", other));
    symlinkSync(`../objects/${objectPath(good)}`, join(fixture.path, "images", other));
    for (const name of [other, "debian"]) {
      expect(() => repository.openImage(name)).toThrow(`images/${other} leads to another object`);
    }
  });

  test("of an insecure repository demand no fs-verity of their files", () => {
    using fixture = newRepository("insecure");
    using repository = fixture.open();
    repository.writeImage(bytes("an image"), "debian");
    const image = repository.openImage("debian");
    expect(image.verity).toBe(false);
    fixture.platform.linux.close(image.fd);
  });
});

describe("references", () => {
  test("are set, listed, read, re-pointed and removed", () => {
    using fixture = newRepository("insecure");
    using repository = fixture.open();
    for (const id of ["one", "two"]) {
      repository.writeStream(id, streamOf("sha256", [], id), { existing: "keep" });
    }
    repository.setRef("streams", "oci/x", "one");
    repository.setRef("streams", "oci/deep/er", "one");
    repository.setRef("streams", "other", "two");
    repository.setRef("streams", "oci/x", "two");
    expect(fixture.link("streams/refs/oci/x")).toBe("../../two");
    expect(fixture.link("streams/refs/oci/deep/er")).toBe("../../../one");
    expect(repository.listRefs("streams")).toEqual([
      { name: "oci/deep/er", target: "one" },
      { name: "oci/x", target: "two" },
      { name: "other", target: "two" },
    ]);
    expect(repository.listRefs("streams", "oci")).toEqual([
      { name: "oci/deep/er", target: "one" },
      { name: "oci/x", target: "two" },
    ]);
    expect(repository.listRefs("streams", "none")).toEqual([]);
    expect(repository.listRefs("images")).toEqual([]);
    expect(repository.readRef("streams", "oci/x")).toBe("two");
    expect(repository.removeRef("streams", "oci/x")).toBe(true);
    expect(repository.removeRef("streams", "oci/x")).toBe(false);
    expect(repository.readRef("streams", "oci/x")).toBeUndefined();
    expect(() => repository.setRef("streams", "x", "three")).toThrow("no streams/three");
  });

  test.each(["", "/x", "x/", "a//b", "..", "a/../b", ".", "a\0b", "x".repeat(256)])(
    "cannot be named %j",
    (name) => {
      using fixture = newRepository("insecure");
      using repository = fixture.open();
      repository.writeStream("one", streamOf("sha256", []), { existing: "keep" });
      expect(() => repository.setRef("streams", name, "one")).toThrow(/cannot be a name/);
    },
  );

  test.each(["", "a/b", "..", ".", "refs", "a\0b", "x".repeat(256)])(
    "and a stream cannot be named %j",
    (name) => {
      using fixture = newRepository("insecure");
      using repository = fixture.open();
      const write = () => repository.writeStream(name, bytes(""), { existing: "keep" });
      expect(write).toThrow(/cannot be a name/);
    },
  );
});

describe("opening", () => {
  test("says what is missing or different", () => {
    using directory = temporaryDirectory();
    const platform = platformOf(quickLinux);
    const open = (path: string) => () => openRepository(path, { platform });
    expect(open(join(directory.path, "none"))).toThrow(/there is no repository at .*none/);
    expect(open(directory.path)).toThrow(/there is no repository at/);
    writeFileSync(join(directory.path, "meta.json"), "{}");
    expect(open(directory.path)).toThrow(`repository ${directory.path}`);

    using fixture = newRepository("insecure");
    expect(() => openRepository(fixture.path, { platform, hash: "sha512" })).toThrow(
      /has sha256, sha512 was asked for/,
    );
    expect(() => fixture.open({ requireVerity: true })).toThrow(/does not enforce fs-verity/);
    using secure = newRepository("secure");
    secure.open({ requireVerity: true }).close();
  });

  test("a secure repository without demands still stores objects with fs-verity", () => {
    using fixture = newRepository("secure");
    {
      using repository = fixture.open({ insecure: true });
      expect(repository.insecure).toBe(true);
      repository.storeObject(bytes("hello world"));
    }
    using repository = fixture.open();
    expect(read(fixture, repository, digestBytes("sha256", bytes("hello world")))).toBe(
      "hello world",
    );
  });

  test("a repository with an unknown feature is for reading only", () => {
    using fixture = newRepository("insecure");
    const meta = join(fixture.path, "meta.json");
    writeFileSync(meta, readFileSync(meta, "utf8").replace("v1_erofs", "v9_erofs"));
    using repository = fixture.open();
    expect(repository.listImages()).toEqual([]);
    expect(() => repository.storeObject(bytes("x"))).toThrow(/does not know: v9_erofs/);
    expect(() => repository.createObject()).toThrow(/cannot be written to/);
    expect(() => repository.writeImage(bytes("x"))).toThrow(/cannot be written to/);
    expect(() => repository.removeRef("images", "x")).toThrow(/cannot be written to/);
  });

  test("a file system that is mounted read-only is said to be", () => {
    using fixture = newRepository("insecure");
    const linux: Linux = {
      ...quickLinux,
      fstatfs: (fd) => ({ ...quickLinux.fstatfs(fd), flags: 1 }),
    };
    using repository = openRepository(fixture.path, { platform: platformOf(linux) });
    expect(() => repository.storeObject(bytes("x"))).toThrow(/mounted read-only/);
  });

  test("gives back every descriptor", () => {
    using fixture = newRepository("secure");
    const count = () => readdirSync("/proc/self/fd").length;
    const before = count();
    {
      using repository = fixture.open();
      repository.storeObject(bytes("hello world"));
      repository.writeStream("s", streamOf("sha256", []), { existing: "keep", ref: "r" });
      repository.writeImage(bytes("an image"), "i");
      repository.readStream("s");
      repository.listRefs("images");
    }
    expect(() => fixture.open().openObject(new Uint8Array(3))).toThrow();
    expect(count()).toBe(before + 1); // the one that is not closed
  });
});

test("the exclusive lock waits for others, and cleans up", () => {
  using fixture = newRepository("insecure");
  const repository = fixture.open();
  for (const name of [".symlink-abcdefghijkl", "images"]) {
    symlinkSync("x", join(fixture.path, name));
  }
  repository.storeObject(bytes("hello world"));
  writeFileSync(join(fixture.path, "objects/.tmp-object-abcdefghijkl"), "");
  const other = fixture.open();
  const waits = () => {
    throw new Error("must wait");
  };
  expect(() => repository.exclusively(() => 1, waits)).toThrow("must wait");
  other.close();
  expect(repository.exclusively(() => 42, waits)).toBe(42);
  expect(readdirSync(fixture.path).sort()).toEqual(["images", "meta.json", "objects"]);
  expect(readdirSync(join(fixture.path, "objects"))).toEqual([HELLO.slice(0, 2)]);
  fixture.open().close(); // shared again
  repository.close();
});
