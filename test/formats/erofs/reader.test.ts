import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ascii, type ByteString } from "../../../src/formats/bytestring.ts";
import { toHex } from "../../../src/formats/digest.ts";
import { formatDumpfile, parseDumpfile } from "../../../src/formats/dumpfile.ts";
import { readDirents } from "../../../src/formats/erofs/directory.ts";
import { ErofsImage, type StoredInode } from "../../../src/formats/erofs/image.ts";
import {
  type ErofsFormat,
  erofsObjects,
  readErofs,
  writeErofs,
} from "../../../src/formats/erofs/index.ts";
import {
  COMPOSEFS_HEADER,
  DIRENT,
  INODE_COMPACT,
  INODE_EXTENDED,
  SUPERBLOCK,
} from "../../../src/formats/erofs/layout.ts";
import { isStub } from "../../../src/formats/erofs/stubs.ts";
import { walk } from "../../../src/formats/erofs/walk.ts";
import type { Tree } from "../../../src/formats/tree.ts";
import { arbitraryTree } from "./arbitrary-tree.ts";
import { dumpNames, FORMATS, readDump } from "./vectors.ts";

const encode = (text: string) => new TextEncoder().encode(text);

/** Whiteouts that cannot be told from stubs are not in the tree that is read. */
function withoutStubs(tree: Tree): Tree {
  const own = [...tree.entries].filter(
    ([name, node]) =>
      node.type === "directory" ||
      node.content.type !== "chardev" ||
      node.content.rdev !== 0 ||
      !isStub(tree.stat, name, node),
  );
  return { ...tree, entries: new Map(own) };
}

describe.each(FORMATS)("format %d", (format) => {
  test("a tree that was written is read, and written the same again", () => {
    fc.assert(
      fc.property(arbitraryTree(format), (tree) => {
        const image = writeErofs(tree, { format });
        const back = readErofs(image);
        expect(back).toEqual(format === 2 ? tree : withoutStubs(tree));
        expect(Buffer.compare(writeErofs(back, { format }), image)).toBe(0);
      }),
      { numRuns: 100 },
    );
  });

  test.each(dumpNames)("%s is read, and written the same again", (name) => {
    const { tree } = parseDumpfile(readDump(name));
    const image = writeErofs(tree, { format });
    const back = readErofs(image);
    expect(Buffer.compare(writeErofs(back, { format }), image)).toBe(0);
    if (format !== 2) expect(formatDumpfile(back)).toBe(formatDumpfile(withoutStubs(tree)));
  });

  test("a damaged image is a tree, or an error that names the offset", () => {
    const damage = fc.record({
      name: fc.constantFrom(...dumpNames),
      cut: fc.option(fc.nat(1 << 16), { freq: 8 }),
      flips: fc.array(fc.record({ at: fc.nat(1 << 16), bits: fc.integer({ min: 1, max: 255 }) }), {
        minLength: 1,
        maxLength: 4,
      }),
    });
    const images = new Map(
      dumpNames.map((name) => [name, writeErofs(parseDumpfile(readDump(name)).tree, { format })]),
    );
    fc.assert(
      fc.property(damage, ({ name, cut, flips }) => {
        const image = images.get(name)!.slice(0, cut ?? undefined);
        for (const { at, bits } of flips) {
          // mostly where superblock and inodes are
          const offset = (at < 1 << 14 ? at + 1024 : at) % (image.length || 1);
          if (offset < image.length) image[offset] = image[offset]! ^ bits;
        }
        for (const read of [readErofs, erofsObjects]) {
          try {
            read(image);
          } catch (error) {
            expect((error as Error).message).toMatch(/^offset \d+: ./);
          }
        }
      }),
      { numRuns: 1500 },
    );
  });

  test("bytes that are no image are refused", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 3000 }), (bytes) => {
        expect(() => readErofs(bytes)).toThrow(/^offset 0: not an image of composefs/);
      }),
    );
  });

  test("the objects of an image are those of its files, each once", () => {
    fc.assert(
      fc.property(arbitraryTree(format), (tree) => {
        const expected = new Set<string>();
        for (const line of formatDumpfile(tree).split("\n")) {
          const digest = line.split(" ")[10];
          if (digest !== undefined && digest !== "-") expected.add(digest);
        }
        const objects = erofsObjects(writeErofs(tree, { format })).map(toHex);
        expect(objects.toSorted()).toEqual([...expected].sort());
      }),
      { numRuns: 30 },
    );
  });
});

test("a user's whiteout in the root is kept, also under the name of a stub", () => {
  const dump = "/ 0 40755 2 0 0 0 5.0 - - -\n/ab 0 20600 1 7 7 0 6.0 - - - user.a=b\n";
  const { tree } = parseDumpfile(encode(dump));
  expect(formatDumpfile(readErofs(writeErofs(tree, { format: 1 })))).toBe(dump);
});

test("a user's own marks of overlayfs are kept beside those of the image", () => {
  const dump = [
    "/ 0 40755 3 0 0 0 5.0 - - - trusted.overlay.opaque=mine user.overlay.whiteouts=mine",
    "/d 0 40755 2 0 0 0 5.0 - - - trusted.overlay.opaque=x user.overlay.opaque=mine",
    "/d/gone 0 20000 1 0 0 0 5.0 - - - trusted.overlay.whiteout=mine user.overlay.whiteout=",
    "",
  ].join("\n");
  const { tree } = parseDumpfile(encode(dump));
  for (const format of [0, 1] as const) {
    expect(formatDumpfile(readErofs(writeErofs(tree, { format })))).toBe(dump);
  }
});

/** An image to damage at places that are known by name. */
class Specimen {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #inodes = new Map<string, StoredInode>();
  readonly #image: ErofsImage;

  constructor(format: ErofsFormat, ...lines: string[]) {
    const dump = ["/ 0 40755 2 0 0 0 5.0 - - -", ...lines].join("\n");
    this.bytes = writeErofs(parseDumpfile(encode(dump)).tree, { format });
    this.view = new DataView(this.bytes.buffer);
    this.#image = new ErofsImage(this.bytes);
    for (const { parent, name, inode } of walk(this.#image)) {
      const path = [...this.#inodes].find(([, known]) => known === parent)?.[0];
      this.#inodes.set(path === undefined ? "/" : `${path === "/" ? "" : path}/${name}`, inode);
    }
  }

  inode(path: string): StoredInode {
    return this.#inodes.get(path)!;
  }

  /** Offset of an entry in a directory that is one inline tail, or one block. */
  entry(path: string, name: string): number {
    const { layout, size, data, tailAt } = this.inode(path);
    const at = layout === 0 ? data * 4096 : tailAt;
    const bytes = layout === 0 ? 4096 : size;
    return [...readDirents(this.bytes, this.view, at, bytes)].find((entry) => entry.name === name)!
      .offset;
  }
}

const object = (byte: string) => `${byte}/${byte.repeat(31)} - ${byte.repeat(32)}`;
const LINES = [
  "/d 0 40755 2 0 0 0 5.0 - - -",
  "/d/a 0 100644 1 0 0 0 5.0 - - -",
  "/d/b 0 100644 1 0 0 0 5.0 - - -",
  "/d/e 0 40755 2 0 0 0 5.0 - - -",
  "/file 3 100644 1 0 0 0 5.0 - abc - user.a=b",
  `/object 5000 100644 1 0 0 0 5.0 ${object("5a")}`,
  "/symlink 6 120777 1 0 0 0 5.0 target - -",
];

describe("what is wrong is named with its offset", () => {
  const refused = (bytes: Uint8Array, offset: number, why: string) => {
    for (const read of [readErofs, erofsObjects]) {
      expect(() => read(bytes)).toThrow(`offset ${offset}: ${why}`);
    }
  };

  test.each([
    ["magic", 1, "superblock: magic 1"],
    ["blockBits", 13, "superblock: blockBits 13"],
    ["featureCompat", 8, "superblock: featureCompat 8"],
    ["featureIncompat", 1, "superblock: featureIncompat 1"],
    ["extensionSlots", 1, "superblock: extensionSlots 1"],
    ["compressionAlgorithms", 1, "superblock: compressionAlgorithms 1"],
    ["extraDevices", 1, "superblock: extraDevices 1"],
    ["packedNid", 1, "superblock: packedNid 1"],
    ["metaBlock", 1, "superblock: metaBlock 1"],
    ["xattrPrefixCount", 1, "superblock: xattrPrefixCount 1"],
    ["blocks", 1, "superblock: blocks 1"],
  ] as const)("%s", (name, value, why) => {
    const { bytes, view } = new Specimen(1, ...LINES);
    SUPERBLOCK[name].set(view, SUPERBLOCK.at, value);
    refused(bytes, SUPERBLOCK.at + SUPERBLOCK[name].offset, why);
  });

  test("header version and image format", () => {
    const { bytes, view } = new Specimen(1, ...LINES);
    COMPOSEFS_HEADER.composefsVersion.set(view, 0, 3);
    refused(bytes, 12, "image format 3, expected 0, 1 or 2");
    COMPOSEFS_HEADER.version.set(view, 0, 2);
    refused(bytes, 4, "header version 2");
  });

  test("an image that was cut", () => {
    const { bytes } = new Specimen(1, ...LINES);
    refused(bytes.subarray(0, 1100), 1100, "the image ends here");
    refused(bytes.subarray(0, bytes.length - 4096), 1060, "superblock: blocks");
  });

  test("directories that form a cycle", () => {
    const specimen = new Specimen(1, ...LINES);
    const at = specimen.entry("/d", "e");
    DIRENT.nid.set(specimen.view, at, specimen.inode("/").nid);
    refused(specimen.bytes, at, "a directory with two names");
  });

  test.each([
    [".", '"." refers to inode'],
    ["..", '".." refers to inode'],
  ])("%s that refers elsewhere", (name, why) => {
    const specimen = new Specimen(1, ...LINES);
    const at = specimen.entry("/d", name);
    DIRENT.nid.set(specimen.view, at, specimen.inode("/d/e").nid);
    refused(specimen.bytes, at, why);
  });

  test("names: two that are the same, out of order, with a slash, empty", () => {
    for (const [from, to, entry, why] of [
      ["b", "a", "b", "two entries of one name"],
      ["a", "c", "b", "entry out of order"],
    ] as const) {
      const specimen = new Specimen(1, ...LINES);
      const at = specimen.entry("/d", entry);
      specimen.bytes[nameAt(specimen, from)] = to.charCodeAt(0);
      refused(specimen.bytes, at, why);
    }
    for (const char of ["/", "\0"]) {
      const specimen = new Specimen(1, ...LINES);
      const at = nameAt(specimen, "b");
      specimen.bytes[at] = char.charCodeAt(0);
      refused(specimen.bytes, at, "not a file name");
    }
    const specimen = new Specimen(1, ...LINES);
    const at = specimen.entry("/d", "b");
    const next = specimen.entry("/d", "e");
    DIRENT.nameOffset.set(specimen.view, at, DIRENT.nameOffset.get(specimen.view, next));
    refused(specimen.bytes, at + DIRENT.nameOffset.offset, "name from");
  });

  function nameAt(specimen: Specimen, name: string): number {
    const entry = specimen.entry("/d", name);
    return specimen.inode("/d").tailAt + DIRENT.nameOffset.get(specimen.view, entry);
  }

  test("an entry's file type that is not the inode's", () => {
    const specimen = new Specimen(1, ...LINES);
    const at = specimen.entry("/d", "a");
    DIRENT.fileType.set(specimen.view, at, 7);
    refused(specimen.bytes, at, "file type 7, the inode's is 1");
  });

  test("link counts, of a directory, of a file, of a file that an entry was led to", () => {
    for (const path of ["/d", "/d/a"]) {
      const specimen = new Specimen(1, ...LINES);
      const { offset } = specimen.inode(path);
      INODE_COMPACT.nlink.set(specimen.view, offset, 9);
      refused(specimen.bytes, offset, "link count 9, there are");
    }
    const specimen = new Specimen(1, ...LINES);
    DIRENT.nid.set(specimen.view, specimen.entry("/d", "b"), specimen.inode("/d/a").nid);
    refused(specimen.bytes, specimen.inode("/d/a").offset, "link count 1, there are 2");
  });

  test("a root that lets a directory of objects show through", () => {
    const specimen = new Specimen(1, ...LINES);
    const names = Buffer.from(specimen.bytes.buffer);
    names.write("fg", names.indexOf("fdfefffile") + 4);
    refused(specimen.bytes, specimen.inode("/").offset, 'no entry "ff" in the root');
  });

  test("a whiteout outside the root that is not escaped", () => {
    const specimen = new Specimen(1, ...LINES, "/d/z 0 20000 1 0 0 5 5.0 - - -");
    const { offset } = specimen.inode("/d/z");
    INODE_COMPACT.data.set(specimen.view, offset, 0);
    refused(specimen.bytes, offset, "a whiteout outside the root");
  });

  test("a whiteout of the other formats in format 2", () => {
    const specimen = new Specimen(1, "/gone 0 20000 1 0 0 0 6.0 - - -");
    COMPOSEFS_HEADER.composefsVersion.set(specimen.view, 0, 2);
    expect(() => readErofs(specimen.bytes)).toThrow(/^offset \d+: a whiteout as formats 0 and 1/);
  });

  test("a symlink that reaches into the next block, which older kernels refuse", () => {
    const lines = Array.from(
      { length: 120 },
      (_, i) => `/l${i} 40 120777 1 0 0 0 5.0 ${"t".repeat(40)} - -`,
    );
    const specimen = new Specimen(1, ...lines);
    const straddling = lines
      .map((_, i) => specimen.inode(`/l${i}`))
      .find(({ offset, tailAt }) => (offset % 4096) + (tailAt - offset) + 41 + 32 > 4096)!;
    INODE_COMPACT.size.set(specimen.view, straddling.offset, 100);
    expect(() => readErofs(specimen.bytes)).toThrow(`offset ${straddling.offset}`);
  });

  test("content outside the image, or more of it than the image has", () => {
    const specimen = new Specimen(1, ...LINES);
    const { offset } = specimen.inode("/file");
    INODE_COMPACT.format.set(specimen.view, offset, 0);
    INODE_COMPACT.size.set(specimen.view, offset, 5);
    INODE_COMPACT.data.set(specimen.view, offset, 1000);
    expect(() => readErofs(specimen.bytes)).toThrow(`offset ${offset}: needs 4096000 to 4096005`);
    // two files that claim the whole image
    for (const path of ["/d/a", "/file"]) {
      const { offset } = specimen.inode(path);
      INODE_COMPACT.size.set(specimen.view, offset, specimen.bytes.length);
      INODE_COMPACT.data.set(specimen.view, offset, 0);
    }
    expect(() => readErofs(specimen.bytes)).toThrow(/^offset \d+: overlaps with other inodes$/);
  });

  test("xattrs: over the end, hidden by the name filter, of an unknown prefix", () => {
    for (const [byte, value, why] of [
      [4, 0xff, "more shared xattrs than fit"],
      [14, 0xff, "xattr reaches over the end"],
      [0, 0xff, "the name filter hides an xattr"],
      [13, 0x80, "unknown xattr prefix 128"],
    ] as const) {
      const specimen = new Specimen(1, ...LINES);
      const { tailAt, xattrBytes } = specimen.inode("/file");
      const area = tailAt - xattrBytes;
      specimen.bytes.fill(value, area + byte, area + (byte === 0 ? 4 : byte + 1));
      expect(() => readErofs(specimen.bytes)).toThrow(new RegExp(`^offset \\d+: ${why}`));
    }
  });

  test("a file that overlayfs would not find in the objects", () => {
    for (const [find, replace, why] of [
      ["overlay.metacopy\0$", "overlay.metacopy\x07$", "malformed trusted.overlay.metacopy"],
      ["\xff\xff\xff\xff", "\x01\0\0\0", "chunk with a block"],
    ] as const) {
      const specimen = new Specimen(1, ...LINES);
      const { offset } = specimen.inode("/object");
      const buffer = Buffer.from(specimen.bytes.buffer);
      const at = buffer.indexOf(Buffer.from(find, "latin1"), offset + 44);
      expect(at).toBeGreaterThan(0);
      buffer.set(Buffer.from(replace, "latin1"), at);
      expect(() => readErofs(specimen.bytes)).toThrow(new RegExp(`^offset \\d+: ${why}`));
    }
  });

  test("modes, inode formats, times", () => {
    const cases: [number, number, string][] = [
      [INODE_EXTENDED.mode.offset, 0, "mode 0 has no file type"],
      [INODE_EXTENDED.format.offset, 3, "inode format 3"],
      [INODE_EXTENDED.mtimeNsec.offset + 2, 0xffff, "nanoseconds"],
      [INODE_EXTENDED.size.offset + 6, 0xffff, "file of"],
    ];
    for (const [offset, value, why] of cases) {
      const specimen = new Specimen(2, ...LINES);
      const at = specimen.inode("/d/a").offset;
      specimen.view.setUint16(at + offset, value, true);
      expect(() => readErofs(specimen.bytes)).toThrow(why);
      expect(() => readErofs(specimen.bytes)).toThrow(/^offset \d+: /);
    }
  });
});

test("an image that claims a lot is refused before anything is spent on it", () => {
  // 4096 entries all lead to inodes with the largest xattr area, which overlap
  const lines = Array.from({ length: 4000 }, (_, i) => `/f${i} 0 100644 1 0 0 0 5.0 - - -`);
  const specimen = new Specimen(
    1,
    ...lines,
    `/last 0 100644 1 0 0 0 5.0 - - - user.a=${"v".repeat(60_000)}`,
  );
  for (let i = 0; i < 4000; i++) {
    INODE_COMPACT.xattrCount.set(specimen.view, specimen.inode(`/f${i}`).offset, 15_000);
  }
  const started = performance.now();
  expect(() => readErofs(specimen.bytes)).toThrow(/^offset \d+: /);
  expect(performance.now() - started).toBeLessThan(2000);
});

test("content of files is not copied", () => {
  const tree: Tree = parseDumpfile(readDump("empty.dump")).tree;
  const data = new Uint8Array(8192).fill(1);
  const stat = { ...tree.stat, xattrs: new Map<ByteString, Uint8Array>() };
  tree.entries.set(ascii("f"), { type: "leaf", stat, content: { type: "inline", data } });
  const image = writeErofs(tree, { format: 1 });
  const file = readErofs(image).entries.get(ascii("f"))!;
  expect(file.type === "leaf" && file.content.type === "inline" && file.content.data.buffer).toBe(
    image.buffer,
  );
});
