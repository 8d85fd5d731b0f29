/** Random trees of every kind of node that an image of a format can hold. */
import fc from "fast-check";
import { ascii, type ByteString, fromBytes, toBytes } from "../../../src/formats/bytestring.ts";
import type { ErofsFormat } from "../../../src/formats/erofs/index.ts";
import type { Directory, Leaf, LeafContent, Stat, Tree } from "../../../src/formats/tree.ts";

const name: fc.Arbitrary<ByteString> = fc.oneof(
  // names of stubs, and their upper-case cousins
  fc.integer({ min: 0, max: 255 }).map((byte) => ascii(byte.toString(16).padStart(2, "0"))),
  fc.constantFrom("A0", "ff", "0", "-", "..-", ".a", "...", "\x01", "\xff", " ", "=").map(ascii),
  fc.integer({ min: 100, max: 255 }).map((length) => ascii("n".repeat(length))),
  fc.integer({ min: 0, max: 999 }).map((number) => ascii(`f${number}`)),
);

const value = fc.oneof(
  fc.constantFrom("", "x", "y", "label\0").map((text) => toBytes(ascii(text))),
  fc.uint8Array({ maxLength: 40 }),
  fc.uint8Array({ minLength: 1000, maxLength: 3000 }),
);

const OWN_XATTRS = [
  ["user.", "user.a", "user.overlay.opaque", "user.overlay.whiteouts"],
  ["trusted.overlay.", "trusted.overlay.opaque", "trusted.overlay.metacopy"],
  ["trusted.overlay.overlay.opaque", "trusted.overlay.whiteouts", "trusted.x"],
  ["security.selinux", "security.capability", "system.posix_acl_access"],
  ["system.posix_acl_default", "lustre.x", "btrfs.z", `user.${"k".repeat(200)}`],
].flat();

const stat = (format: ErofsFormat): fc.Arbitrary<Stat> =>
  fc.record({
    mode: fc.constantFrom(0, 0o644, 0o755, 0o7777),
    uid: fc.constantFrom(0, 1000, 65535, 65536, 0xffffffff),
    gid: fc.constantFrom(0, 65535, 65536),
    mtimeSec: fc.constantFrom(0n, 1n, 1700000000n, 5000000000n, -1n, 2n ** 63n - 1n),
    mtimeNsec: format === 2 ? fc.constant(0) : fc.constantFrom(0, 1, 999_999_999),
    xattrs: fc
      .array(fc.tuple(fc.constantFrom(...OWN_XATTRS), value), { maxLength: 5 })
      .map((pairs) => new Map(pairs.map(([key, bytes]) => [ascii(key), bytes]))),
  });

const content = (format: ErofsFormat): fc.Arbitrary<LeafContent> => {
  const size = fc.oneof(
    fc.constantFrom(0, 1, 4096, 2 ** 32 - 1, 2 ** 32, 2 ** 43, 2 ** 43 + 1, 2 ** 53),
    fc.integer({ min: 1, max: 1024 }).map((chunks) => chunks * 2 ** 43),
    fc.nat(1 << 20),
  );
  const bytes = (max: number) =>
    fc.tuple(fc.nat(max), fc.nat(255)).map(([length, seed]) => {
      return new Uint8Array(length).map((_, i) => i * 7 + seed);
    });
  const target = (max: number) =>
    fc.integer({ min: 1, max }).map((length) => fromBytes(new Uint8Array(length).fill(0x74)));
  return fc.oneof(
    fc.record({
      type: fc.constant("inline" as const),
      data: format === 2 ? bytes(512) : fc.oneof(bytes(512), bytes(20_000)),
    }),
    fc.record({
      type: fc.constant("external" as const),
      size,
      digest: fc.oneof(
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
        fc.nat(3).map((byte) => new Uint8Array(32).fill(byte)),
      ),
      verity: fc.boolean(),
    }),
    fc.record({ type: fc.constant("sparse" as const), size }),
    fc.record({
      type: fc.constant("symlink" as const),
      target: fc.oneof(target(80), target(format === 2 ? 1024 : 4095)),
    }),
    fc.record({
      type: fc.constantFrom("chardev" as const, "blockdev" as const),
      rdev: fc.constantFrom(0, 1, 259, 0xffffffff),
    }),
    fc.constant({ type: "chardev" as const, rdev: 0 }),
    fc.constantFrom({ type: "fifo" as const }, { type: "socket" as const }),
  );
};

/** What to add to a tree: the numbers choose among the directories, or leaves, that are there. */
const step = (format: ErofsFormat) =>
  fc.record({
    kind: fc.constantFrom("directory", "leaf", "leaf", "leaf", "link"),
    at: fc.nat(),
    to: fc.nat(),
    name,
    stat: stat(format),
    /** A root's whiteout that has what a stub has. */
    likeStub: fc.boolean(),
    content: content(format),
  });

export function arbitraryTree(format: ErofsFormat): fc.Arbitrary<Tree> {
  return fc
    .tuple(stat(format), fc.array(step(format), { maxLength: 60, size: "max" }))
    .map(([rootStat, steps]) => {
      const tree: Tree = { type: "directory", stat: rootStat, entries: new Map() };
      const directories: Directory[] = [tree];
      const leaves: Leaf[] = [];
      for (const { kind, at, to, name, stat, content, likeStub } of steps) {
        const parent = directories[at % directories.length]!;
        if (parent.entries.has(name)) continue;
        if (kind === "directory") {
          const directory: Directory = { type: "directory", stat, entries: new Map() };
          parent.entries.set(name, directory);
          directories.push(directory);
          continue;
        }
        if (kind === "link" && leaves.length > 0) {
          parent.entries.set(name, leaves[to % leaves.length]!);
          continue;
        }
        const isWhiteout = content.type === "chardev" && content.rdev === 0;
        const leaf: Leaf = { type: "leaf", stat, content };
        if (isWhiteout && likeStub) leaf.stat = { ...rootStat, mode: 0o644, xattrs: new Map() };
        parent.entries.set(name, leaf);
        if (!isWhiteout) leaves.push(leaf);
      }
      return tree;
    });
}
