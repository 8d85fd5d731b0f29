import { describe, expect, test } from "vitest";
import { ascii, fromBytes } from "../../../src/formats/bytestring.ts";
import { readEntries } from "../../../src/formats/tar/entries.ts";
import { TAR_MAGIC } from "../../../src/formats/tar/header.ts";
import {
  concat,
  END,
  entriesOf,
  header,
  latin1,
  longName,
  member,
  pax,
  reassemble,
  record,
  split,
} from "./archive.ts";

/** The only entry of an archive of these blocks. */
function entry(...blocks: Uint8Array[]) {
  const entries = entriesOf(concat(...blocks, END));
  expect(entries).toHaveLength(1);
  return entries[0]!;
}

const gnu = TAR_MAGIC.gnu;
const v7 = new Uint8Array(8);
const base256 = (value: bigint, size: number) => {
  const out = new Uint8Array(size);
  for (let i = size - 1; i > 0; i--, value >>= 8n) out[i] = Number(value & 0xffn);
  out[0] = 0x80;
  return out;
};

describe("names", () => {
  test("ustar joins prefix and name, GNU and V7 have no prefix", () => {
    const name = { name: "b/c", prefix: "a" };
    expect(entry(header(name)).path).toBe("a/b/c");
    expect(entry(header({ ...name, magic: gnu })).path).toBe("b/c");
    expect(entry(header({ ...name, magic: v7 })).path).toBe("b/c");
  });

  test("a name may fill its field and hold any byte", () => {
    expect(entry(header({ name: "n".repeat(100) })).path).toBe("n".repeat(100));
    expect(entry(header({ name: "\xff\xfe" })).path).toBe("\xff\xfe");
  });

  test("extended header before long name before header", () => {
    const long = longName(`${"l".repeat(120)}\0`);
    expect(entry(long, header({ magic: gnu })).path).toBe("l".repeat(120));
    const both = [long, pax({ path: "p" }), header({ magic: gnu, prefix: "x" })];
    expect(entry(...both).path).toBe("p");
    const reversed = [pax({ path: "p" }), long, header({ magic: gnu })];
    expect(entry(...reversed).path).toBe("p");
  });

  test("a long name ends in one NUL, or in none", () => {
    expect(entry(longName("abc\0"), header({ magic: gnu })).path).toBe("abc");
    expect(entry(longName("abc"), header({ magic: gnu })).path).toBe("abc");
    expect(() => entry(longName("abc\0\0"), header({ magic: gnu }))).toThrow("NUL in a path");
  });

  test("targets of links come from the same places", () => {
    const link = { type: "2", linkName: "header", mode: 0o777 };
    expect(entry(header(link)).item).toEqual({ type: "symlink", target: "header" });
    expect(entry(longName("long\0", "K"), header(link)).item).toMatchObject({ target: "long" });
    expect(
      entry(pax({ linkpath: "\xe9" }), longName("long\0", "K"), header(link)).item,
    ).toMatchObject({ target: "\xe9" });
    expect(entry(header({ ...link, linkName: "" })).item).toMatchObject({ target: "" });
    expect(entry(header({ type: "1", linkName: "/bin/a" })).item).toEqual({
      type: "hardlink",
      target: "/bin/a",
    });
  });

  test("an empty path is refused, also from an extended header", () => {
    expect(() => entry(header({ name: "" }))).toThrow('tar offset 0: "": empty path');
    expect(() => entry(pax({ path: "" }), header({}))).toThrow("tar offset 1024");
  });
});

describe("numbers", () => {
  test("octal with spaces, NULs, plus signs or nothing", () => {
    for (const [text, value] of [
      ["0000644\0", 0o644],
      ["   644 \0", 0o644],
      ["\x0b644\t\n", 0o644],
      ["+644", 0o644],
      ["644\0junk", 0o644],
      ["00107777", 0o7777],
      ["", 0],
      ["        ", 0],
    ] as const) {
      expect(entry(header({ mode: latin1(text) })).stat.mode).toBe(value);
    }
  });

  test.each(["8", "6 4", "-1", "0x1", "+", "+ 1"])("octal %j is refused", (text) => {
    expect(() => entry(header({ uid: latin1(text) }))).toThrow(
      "tar offset 108: uid: expected octal digits",
    );
  });

  test("base 256", () => {
    const { stat } = entry(
      header({ uid: base256(4_000_000_000n, 8), gid: base256(2n ** 32n + 5n, 8) }),
    );
    expect(stat.uid).toBe(4_000_000_000);
    expect(stat.gid).toBe(5);
    expect(entry(header({ mtime: base256(2n ** 40n, 12) })).stat.mtimeSec).toBe(2n ** 40n);
  });

  test("base 256 that is negative or too large is refused", () => {
    expect(() => entry(header({ mtime: new Uint8Array(12).fill(0xff) }))).toThrow(
      "tar offset 136: mtime: expected a number that is not negative",
    );
    expect(() => entry(header({ mtime: base256(2n ** 64n, 12) }))).toThrow("at most 64 bits");
    expect(() => entry(header({ size: base256(2n ** 60n, 12) }))).toThrow("implausible");
  });

  test("fields must be numbers even where an extended header overrides them", () => {
    expect(() => entry(pax({ uid: "5" }), header({ uid: "x" }))).toThrow("tar offset 1132: uid");
    // But an extension header's own fields, its size apart, may hold anything.
    expect(entry(member({ type: "x", uid: "x", mtime: "y" }, ""), header({})).path).toBe("file");
  });

  test("extended headers have decimal numbers", () => {
    const { stat } = entry(
      pax({ uid: "3000000", gid: "4294967297", mtime: "12345678901.5" }),
      header({}),
    );
    expect(stat).toMatchObject({
      uid: 3_000_000,
      gid: 1,
      mtimeSec: 12345678901n,
      mtimeNsec: 500_000_000,
    });
  });

  test.each([
    ["uid", ""],
    ["gid", "-1"],
    ["size", "0x10"],
    ["size", "18446744073709551616"],
    ["mtime", "-5.5"],
    ["mtime", ""],
    ["mtime", "\xff"],
  ])("extended header %s=%j is refused", (key, value) => {
    expect(() => entry(pax({ [key]: value }), header({}))).toThrow(
      `tar offset 512: extended header ${key}: expected a decimal number`,
    );
  });

  test.each([
    ["1234567890.123456789", 123_456_789],
    ["1234567890.5", 500_000_000],
    ["1234567890.000000001", 1],
    ["1234567890.1234567899", 123_456_789],
    ["1234567890", 0],
    ["1234567890.", 0],
    ["1234567890.x", 0],
    ["1234567890.5.5", 0],
  ])("mtime=%s has %i nanoseconds", (mtime, nanoseconds) => {
    const { stat } = entry(pax({ mtime }), header({ mtime: 7 }));
    expect(stat.mtimeSec).toBe(1234567890n);
    expect(stat.mtimeNsec).toBe(nanoseconds);
  });

  test("of two mtimes the last has the seconds, the first the fraction", () => {
    const { stat } = entry(pax(record("mtime", "1.25") + record("mtime", "2.5")), header({}));
    expect([stat.mtimeSec, stat.mtimeNsec]).toEqual([2n, 250_000_000]);
  });
});

describe("extended headers", () => {
  test("the last of several records counts", () => {
    const records = record("path", "a") + record("path", "b");
    expect(entry(pax(records), header({})).path).toBe("b");
  });

  test("only SCHILY.xattr becomes xattrs, with raw values", () => {
    const { stat } = entry(
      pax({
        "SCHILY.xattr.security.capability": "\x01\0\n=\xff",
        "SCHILY.xattr.user.a": "",
        "LIBARCHIVE.xattr.user.b": "eA==",
        atime: "1",
        comment: "x",
      }),
      header({}),
    );
    expect(stat.xattrs).toEqual(
      new Map([
        [ascii("security.capability"), latin1("\x01\0\n=\xff")],
        [ascii("user.a"), new Uint8Array(0)],
      ]),
    );
  });

  test("the records end where no length begins", () => {
    expect(entry(pax(`${record("path", "a")}\0\0\0`), header({})).path).toBe("a");
    expect(entry(pax(`${record("path", "a")}x path=b\n`), header({})).path).toBe("a");
  });

  test.each([
    ["99 path=a\n", "record of 99 bytes, 10 are left"],
    ["8 path=a\n", "expected a newline"],
    ["1 path=a\n", "expected a newline"],
    ["7 path\n", "expected key=value"],
    ["6 \xff=a\n", "expected a key in UTF-8"],
  ])("%j is refused", (body, message) => {
    const ok = record("comment", "fine");
    expect(() => entry(pax(ok + body), header({}))).toThrow(
      `tar offset ${512 + ok.length}: extended header: ${message}`,
    );
  });

  test("a global header is kept and means nothing", () => {
    const archive = concat(pax({ path: "global", mtime: "9" }, "g"), header({}), END);
    expect(entriesOf(archive)[0]).toMatchObject({ path: "file", stat: { mtimeSec: 0n } });
    expect(split(archive).chunks).toEqual([{ type: "inline", data: archive }]);
    // V7 archives have it, too.
    expect(entry(member({ type: "g", magic: v7 }, "x"), header({})).path).toBe("file");
  });

  test("the size from an extended header is that of the body", () => {
    const body = concat(new Uint8Array(100).fill(1), new Uint8Array(412));
    const { item } = entry(pax({ size: "100" }), header({ size: 0 }), body);
    expect(item).toMatchObject({ type: "external", size: 100 });
  });

  test("one of each kind per member", () => {
    for (const [name, twice] of [
      ["extended header", pax({ uid: "1" })],
      ["long name", longName("a\0")],
      ["long link name", longName("a\0", "K")],
    ] as const) {
      expect(() => entry(twice, twice, header({}))).toThrow(
        `tar offset ${twice.length}: ${name}: expected a member after the one before`,
      );
    }
    // The next member may have them again.
    expect(entriesOf(concat(pax({}), header({}), pax({}), header({}), END))).toHaveLength(2);
  });

  test("a member must follow", () => {
    expect(() => entriesOf(concat(pax({}), END))).toThrow("tar offset 512: expected a member");
    expect(() => entriesOf(pax({}))).toThrow("after an extension header");
    expect(() => entriesOf(concat(pax({}), pax({}, "g"), header({}), END))).toThrow(
      "expected a member",
    );
  });

  test("at most 1 MiB of them for one member", () => {
    const size = (1 << 20) - 100;
    const ok = concat(longName("a".repeat(size)), longName("b".repeat(100), "K"));
    expect(entry(ok, header({})).path).toHaveLength(size);
    const large = [longName("a".repeat(size)), longName("b".repeat(101), "K"), header({})];
    expect(() => entry(...large)).toThrow("expected at most 1048576 bytes");
    // Refused by its header, before there is a body.
    expect(() => split(header({ type: "x", size: 0o77777777777 }))).toThrow("at most 1048576");
    expect(() => split(header({ type: "g", size: 0o77777777777 }))).toThrow("at most 1048576");
  });

  test("V7 headers have no extensions", () => {
    for (const type of ["x", "L", "K", "S"]) {
      const archive = concat(member({ type, magic: v7 }, "abc"), END);
      expect(reassemble(split(archive))).toEqual(archive);
      expect(() => entriesOf(archive)).toThrow(`tar offset 0: "file": unknown type "${type}"`);
    }
  });
});

describe("types", () => {
  test.each(["0", "\0", "7"])("%j is a regular file", (type) => {
    expect(entry(member({ type }, "hello")).item).toEqual({
      type: "inline",
      data: latin1("hello"),
    });
    // A slash does not make a directory of it.
    expect(entry(member({ type, name: "dir/" })).item.type).toBe("inline");
  });

  test("devices", () => {
    const numbers = { devMajor: 0xabc, devMinor: 0x12345 };
    expect(entry(header({ type: "3", ...numbers })).item).toEqual({
      type: "chardev",
      rdev: 0x123abc45,
    });
    expect(entry(header({ type: "4", magic: gnu, devMajor: 8, devMinor: 1 })).item).toEqual({
      type: "blockdev",
      rdev: 0x801,
    });
    expect(entry(header({ type: "3", devMajor: 0xfff, devMinor: 0xfffff })).item).toMatchObject({
      rdev: 0xffffffff,
    });
    expect(() => entry(header({ type: "3", devMajor: 0x1000 }))).toThrow("device 4096:0");
    expect(() => entry(header({ type: "3", magic: v7 }))).toThrow("without device numbers");
    expect(() => entry(header({ devMajor: base256(1n, 8) }))).toThrow("tar offset 329: devMajor");
  });

  test("directories and fifos", () => {
    expect(entry(header({ type: "5", name: "d/" }))).toMatchObject({
      path: "d/",
      item: { type: "directory" },
    });
    expect(entry(header({ type: "6" })).item).toEqual({ type: "fifo" });
  });

  test("what is no file has no body", () => {
    for (const type of ["1", "2", "3", "4", "5", "6"]) {
      expect(() => split(concat(member({ type }, "body"), END))).toThrow(
        /tar offset 0: "file": expected no body for a \w+, its size is 4/,
      );
      expect(() => split(concat(pax({ size: "4" }), member({ type }, "body"), END))).toThrow();
    }
  });

  test("sparse files are refused", () => {
    for (const magic of [gnu, TAR_MAGIC.ustar]) {
      expect(() => split(header({ type: "S", magic }))).toThrow("sparse files are not supported");
    }
    expect(() => split(concat(pax({ "GNU.sparse.major": "1" }), header({})))).toThrow(
      "tar offset 512: extended header GNU.sparse.major: sparse files are not supported",
    );
  });

  test("unknown types are kept in the stream, but make no entry", () => {
    for (const type of ["V", "M", "D", "Z"]) {
      const archive = concat(member({ type }, "x".repeat(100)), END);
      expect(split(archive).chunks).toEqual([{ type: "inline", data: archive }]);
      expect(() => entriesOf(archive)).toThrow(`unknown type "${type}"`);
    }
    expect(() => split(header({ type: "Z", size: 1 << 21 }))).toThrow("unknown type");
  });
});

describe("splitting", () => {
  test("content of more than 64 bytes goes out, its padding stays", () => {
    const archive = concat(
      member({ name: "small" }, "s".repeat(64)),
      member({ name: "large" }, "l".repeat(65)),
      member({ name: "blocks" }, "b".repeat(1024)),
      END,
    );
    const { chunks, objects } = split(archive);
    expect(chunks.map((chunk) => (chunk.type === "inline" ? chunk.data.length : "object"))).toEqual(
      [512 + 512 + 512, "object", 447 + 512, "object", 1024],
    );
    expect([...objects.values()].map((content) => fromBytes(content))).toEqual([
      "l".repeat(65),
      "b".repeat(1024),
    ]);
    expect(reassemble({ chunks, objects })).toEqual(archive);
  });

  test("what follows the end is kept, whatever it is", () => {
    const archive = concat(header({}), END, new Uint8Array(8192), latin1("garbage"));
    expect(reassemble(split(archive))).toEqual(archive);
    expect(entriesOf(archive)).toHaveLength(1);
  });

  test("an archive may be empty, or end without zero blocks", () => {
    expect(split(new Uint8Array(0)).chunks).toEqual([]);
    expect(entriesOf(new Uint8Array(0))).toEqual([]);
    expect(entriesOf(header({}))).toHaveLength(1);
    expect(entriesOf(END)).toEqual([]);
  });

  test("one zero block is not an end", () => {
    const zero = new Uint8Array(512);
    expect(() => split(concat(header({}), zero))).toThrow("tar offset 1024: the archive ends");
    expect(() => split(concat(header({}), zero, header({}), END))).toThrow(
      "tar offset 1024: expected a second zero block",
    );
  });

  test("checksums are checked, unsigned or signed", () => {
    const name = { name: "\xff\x80" };
    const sum = Number.parseInt(fromBytes(header(name).subarray(148, 155)), 8);
    expect(entry(header({ ...name, checksum: sum - 512 })).path).toBe("\xff\x80");
    expect(() => entry(header({ ...name, checksum: sum + 1 }))).toThrow(
      `tar offset 148: checksum: is ${sum + 1}, the header adds up to ${sum}`,
    );
    expect(() => split(new Uint8Array(512).fill(0x61))).toThrow("tar offset 148: checksum");
  });

  test("every way of cutting an archive off is found", () => {
    const archive = concat(
      pax({ path: "x".repeat(600) }),
      member({}, "small"),
      member({}, "l".repeat(1000)),
      END,
    );
    // Header boundaries, where an archive may end: its begin, and behind each member.
    const fine = [0, 2560, 4096, archive.length];
    for (let size = 0; size <= archive.length; size++) {
      const cut = () => split(archive.subarray(0, size));
      if (fine.includes(size)) expect(cut).not.toThrow();
      else expect(cut, `cut at ${size}`).toThrow(`tar offset ${size}: the archive ends`);
    }
  });
});

describe("reading splitstreams", () => {
  const large = concat(member({ name: "f" }, "l".repeat(100)), END);

  test("large content must be an object, small content must not", () => {
    const read = (chunks: Parameters<typeof readEntries>[0]) => [...readEntries(chunks)];
    const object = { type: "external", digest: new Uint8Array(32) } as const;
    expect(() => read([{ type: "inline", data: large }])).toThrow(
      'tar offset 0: "f": body of 100 bytes, expected it to be an object',
    );
    const small = member({ name: "f" }, "abc");
    const misplaced = 'tar offset 0: "f": an object that is not the content of a large file';
    expect(() => read([{ type: "inline", data: small.subarray(0, 512) }, object])).toThrow(
      misplaced,
    );
    expect(() => read([{ type: "inline", data: large.subarray(0, 513) }, object])).toThrow(
      "expected it to be an object",
    );
    expect(() => read([{ type: "inline", data: small }, object])).toThrow(misplaced);
    expect(() => read([object])).toThrow("tar offset 0: an object, expected a header");
    expect(() => read([{ type: "inline", data: large.subarray(0, 512) }])).toThrow("ends inside");
  });
});
