/**
 * composefs dump files: a filesystem tree as text, one line per entry (composefs-dump(5)). The rules are those of
 * composefs-rs, and what it lets through although no image can hold it is an error.
 */
import { type ByteString, display, fromBytes, toBytes } from "./bytestring.ts";
import { DIGEST_SIZE, digestOfObjectPath, fromHex, type HashName, hashOfDigest } from "./digest.ts";
import {
  inField,
  parseU32,
  parseU64,
  parseXattr,
  quote,
  S_IFDIR,
  S_IFMT,
  TYPE_BITS,
  unescapeField,
} from "./dumpfile-fields.ts";
import type { Directory, Leaf, LeafContent, Node, Stat, Tree } from "./tree.ts";

export { dumpLines, formatDumpfile } from "./dumpfile-writer.ts";

const FIELDS = [
  "PATH",
  "SIZE",
  "MODE",
  "NLINK",
  "UID",
  "GID",
  "RDEV",
  "MTIME",
  "PAYLOAD",
  "CONTENT",
  "DIGEST",
] as const;
type Field = (typeof FIELDS)[number];
const AT = Object.fromEntries(FIELDS.map((name, index) => [name, index])) as Record<Field, number>;

const MAX_PATH = 4096;
const MAX_NAME = 255;
const MAX_INLINE = 512;
const MAX_SYMLINK = 1024;
const MAX_XATTR_KEYS = 65535;
/** 1024 chunks of 2^43 bytes: what the chunk index of one inode can hold. */
const MAX_FILE = 2 ** 53;
const NSEC = 1_000_000_000n;

export interface DumpfileOptions {
  /** The hash of the digests; without it, the first digest's length decides. */
  readonly hash?: HashName;
}

export interface Dumpfile {
  readonly tree: Tree;
  /** The hash of the digests, `undefined` if there are none and none was asked for. */
  readonly hash: HashName | undefined;
}

/** Reads a dump file. Errors name the line and the field. */
export function parseDumpfile(bytes: Uint8Array, options: DumpfileOptions = {}): Dumpfile {
  const reader = new Reader(options.hash);
  let line = 0;
  for (let start = 0; start < bytes.length; ) {
    const newline = bytes.indexOf(0x0a, start);
    const end = newline < 0 ? bytes.length : newline;
    line++;
    const text = fromBytes(bytes.subarray(start, end)).replace(/\r$/, "");
    start = end + 1;
    if (/^\s*$/.test(text)) continue;
    try {
      reader.addLine(text);
    } catch (error) {
      throw new Error(`line ${line}`, { cause: error });
    }
  }
  return { tree: reader.finish(), hash: reader.hash };
}

class Reader {
  hash: HashName | undefined;
  #root: Directory | undefined;
  readonly #nodes = new Map<ByteString, Node>();

  constructor(hash: HashName | undefined) {
    this.hash = hash;
  }

  addLine(text: string): void {
    const fields = text.split(" ");
    const path = inField("PATH", () => parsePath(fields[AT.PATH]!));
    const node = this.#parseNode(fields);
    if (path === "/") {
      if (node.type !== "directory") throw new Error("/ is not a directory");
      // a later line for the root gives it other metadata
      if (this.#root === undefined) this.#root = node;
      else this.#root.stat = node.stat;
      this.#nodes.set(path, this.#root);
      return;
    }
    if (this.#root === undefined) throw new Error("the first entry is not /");
    const slash = path.lastIndexOf("/");
    const parent = this.#nodes.get((path.slice(0, slash) || "/") as ByteString);
    if (parent?.type !== "directory") {
      const why = parent === undefined ? "there is no such directory yet" : "not a directory";
      throw new Error(`PATH: parent of ${display(path)}: ${why}`);
    }
    if (this.#nodes.has(path)) throw new Error(`PATH: second entry for ${display(path)}`);
    this.#nodes.set(path, node);
    parent.entries.set(path.slice(slash + 1) as ByteString, node);
  }

  finish(): Tree {
    if (this.#root === undefined) throw new Error("no entry for /");
    return this.#root;
  }

  #parseNode(fields: readonly string[]): Node {
    const mode = field(fields, "MODE");
    if (mode.startsWith("@")) return this.#parseHardlink(fields, mode.slice(1));
    field(fields, "DIGEST");

    const number = (name: Field) => parseField(fields, name, (text) => parseU32(text));
    const size = parseField(fields, "SIZE", parseU64);
    const type = inField("MODE", () => parseU32(mode, 8));
    const nlink = number("NLINK");
    const uid = number("UID");
    const gid = number("GID");
    const rdev = number("RDEV");
    const [mtimeSec, mtimeNsec] = parseField(fields, "MTIME", parseTime);
    const xattrs = parseXattrs(fields.slice(FIELDS.length));
    const stat: Stat = { mode: type & 0o7777, uid, gid, mtimeSec, mtimeNsec, xattrs };

    const isDevice =
      (type & S_IFMT) === TYPE_BITS.chardev || (type & S_IFMT) === TYPE_BITS.blockdev;
    if (!isDevice && rdev !== 0) throw new Error(`RDEV: ${rdev}, but it is not a device`);
    if ((type & S_IFMT) === S_IFDIR) {
      expectAbsent(fields, "CONTENT", "a directory");
      expectAbsent(fields, "DIGEST", "a directory");
      return { type: "directory", stat, entries: new Map() };
    }
    if ((type & S_IFMT) === TYPE_BITS.chardev && rdev === 0 && nlink > 1) {
      throw new Error("NLINK: a whiteout cannot have more than one name");
    }
    return { type: "leaf", stat, content: this.#parseContent(fields, type & S_IFMT, size, rdev) };
  }

  #parseContent(fields: readonly string[], type: number, size: bigint, rdev: number): LeafContent {
    if (type === TYPE_BITS.inline) return this.#parseRegular(fields, size);
    const what = Object.entries(TYPE_BITS).find(([, bits]) => bits === type)?.[0];
    if (what === undefined) {
      throw new Error(`MODE: unknown file type, got ${quote(field(fields, "MODE"))}`);
    }
    expectAbsent(fields, "CONTENT", `a ${what}`);
    expectAbsent(fields, "DIGEST", `a ${what}`);
    switch (type) {
      case TYPE_BITS.symlink: {
        const target = parsePayload(fields, "a symlink's target", unescapeField);
        if (target.length > MAX_SYMLINK) {
          throw new Error(`PAYLOAD: target of ${target.length} bytes, at most ${MAX_SYMLINK}`);
        }
        if (target.includes("\0")) throw new Error("PAYLOAD: NUL in the target");
        return { type: "symlink", target };
      }
      case TYPE_BITS.chardev:
        return { type: "chardev", rdev };
      case TYPE_BITS.blockdev:
        return { type: "blockdev", rdev };
      case TYPE_BITS.fifo:
        return { type: "fifo" };
      default:
        return { type: "socket" };
    }
  }

  #parseRegular(fields: readonly string[], size: bigint): LeafContent {
    const digest = field(fields, "DIGEST");
    if (field(fields, "PAYLOAD") !== "-") {
      return {
        type: "external",
        size: fileSize(size),
        digest:
          digest === "-"
            ? parsePayload(fields, "an object", (path) => this.#digestOfPath(unescapeField(path)))
            : inField("DIGEST", () => this.#parseDigest(digest)),
        verity: digest !== "-",
      };
    }
    expectAbsent(fields, "DIGEST", "a file without a backing object");
    const escaped = field(fields, "CONTENT");
    const content = inField("CONTENT", () => (escaped === "-" ? "" : unescapeField(escaped)));
    if (content.length > MAX_INLINE) {
      throw new Error(`CONTENT: ${content.length} bytes, at most ${MAX_INLINE}`);
    }
    if (content === "" && size > 0n) return { type: "sparse", size: fileSize(size) };
    return { type: "inline", data: toBytes(content as ByteString) };
  }

  #parseHardlink(fields: readonly string[], mode: string): Leaf {
    parseField(fields, "SIZE", parseU64);
    const type = inField("MODE", () => parseU32(mode, 8));
    if ((type & S_IFMT) === S_IFDIR) throw new Error("MODE: a directory cannot be a hard link");
    const target = parsePayload(fields, "a hard link's target", parsePath);
    const node = this.#nodes.get(target);
    if (node === undefined) throw new Error(`PAYLOAD: no entry ${display(target)} before this one`);
    if (node.type === "directory") {
      throw new Error(`PAYLOAD: hard link to the directory ${display(target)}`);
    }
    if (node.content.type === "chardev" && node.content.rdev === 0) {
      throw new Error(`PAYLOAD: hard link to the whiteout ${display(target)}`);
    }
    return node;
  }

  #parseDigest(hex: string): Uint8Array {
    const digest = fromHex(hex);
    const own = digest && hashOfDigest(digest);
    const hash = this.hash ?? own ?? "sha512";
    if (digest === undefined || own !== hash) {
      const expected = `expected ${hash}, ${2 * DIGEST_SIZE[hash]} hex digits`;
      const error = new Error(`${expected}, got ${digest ? hex.length : quote(hex)}`);
      throw own === undefined
        ? error
        : Object.assign(error, { hint: `its digests look like ${own}` });
    }
    this.hash = hash;
    return digest;
  }

  /** The digest that the object's path `xx/rest` ends in. */
  #digestOfPath(path: ByteString): Uint8Array {
    const digest = digestOfObjectPath(path, this.hash === undefined ? undefined : [this.hash]);
    if (digest !== undefined) {
      this.hash ??= hashOfDigest(digest);
      return digest;
    }
    throw new Error(`expected the path of an object (xx/rest), got ${quote(path)}`);
  }
}

/** An unparsed field. */
function field(fields: readonly string[], name: Field): string {
  const value = fields[AT[name]];
  if (value === undefined) throw new Error(`${name}: the line ends before it`);
  return value;
}

/** Runs `parse` on a field, whose errors name it. */
function parseField<T>(fields: readonly string[], name: Field, parse: (text: string) => T): T {
  const text = field(fields, name);
  return inField(name, () => parse(text));
}

function parsePayload<T>(fields: readonly string[], what: string, parse: (text: string) => T): T {
  return parseField(fields, "PAYLOAD", (text) => {
    if (text === "-" || text === "") throw new Error(`expected ${what}, got nothing`);
    return parse(text);
  });
}

function expectAbsent(fields: readonly string[], name: Field, what: string): void {
  if (field(fields, name) !== "-") throw new Error(`${name}: expected "-" for ${what}`);
}

function parsePath(field: string): ByteString {
  const path = unescapeField(field);
  if (!path.startsWith("/")) throw new Error(`expected an absolute path, got ${quote(path)}`);
  if (path.length > MAX_PATH) throw new Error(`${path.length} bytes, at most ${MAX_PATH}`);
  if (path.includes("\0")) throw new Error("NUL in a path");
  if (path === "/") return path;
  for (const name of path.slice(1).split("/")) {
    if (name === "") throw new Error(`empty name in ${quote(path)}`);
    if (name === "." || name === "..") throw new Error(`"${name}" in ${quote(path)}`);
    if (name.length > MAX_NAME)
      throw new Error(`name of ${name.length} bytes, at most ${MAX_NAME}`);
  }
  return path;
}

/** `sec.nsec`, two plain numbers. A sign is ours: other readers know none. */
function parseTime(field: string): [bigint, number] {
  const dot = field.indexOf(".");
  if (dot < 0) throw new Error(`expected SECONDS.NANOSECONDS, got ${quote(field)}`);
  const negative = field.startsWith("-");
  const seconds = parseU64(field.slice(negative ? 1 : 0, dot));
  const nanoseconds = parseU64(field.slice(dot + 1));
  if (nanoseconds >= NSEC)
    throw new Error(`${nanoseconds} nanoseconds, less than ${NSEC} expected`);
  return [BigInt.asIntN(64, negative ? -seconds : seconds), Number(nanoseconds)];
}

function fileSize(size: bigint): number {
  if (size > BigInt(MAX_FILE)) throw new Error(`SIZE: ${size} bytes, at most ${MAX_FILE}`);
  return Number(size);
}

function parseXattrs(fields: readonly string[]): Map<ByteString, Uint8Array> {
  const values = new Map<ByteString, ByteString>();
  let keys = 0;
  for (const [index, text] of fields.entries()) {
    inField(`xattr ${index + 1}`, () => {
      const [key, value] = parseXattr(text);
      keys += key.length;
      if (keys > MAX_XATTR_KEYS) throw new Error(`keys of more than ${MAX_XATTR_KEYS} bytes`);
      // of two values for one key the one that sorts last counts, wherever it stands
      const known = values.get(key);
      if (known === undefined || known < value) values.set(key, value);
    });
  }
  return new Map([...values].map(([key, value]) => [key, toBytes(value)]));
}
