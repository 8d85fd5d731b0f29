/**
 * composefs dump files: a filesystem tree as text, one line per entry (composefs-dump(5)). The rules are those of
 * composefs-rs, and what it lets through although no image can hold it is an error.
 */
import { type ByteString, display, toBytes } from "./bytestring.ts";
import { DIGEST_SIZE, digestOfObjectPath, type HashName, hashOfDigest } from "./digest.ts";
import {
  AT,
  FIELDS,
  type Field,
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
import { DumpLine } from "./dumpfile-line.ts";
import { DumpPlaces, type Place } from "./dumpfile-places.ts";
import {
  type Leaf,
  type LeafContent,
  NO_XATTRS,
  type Node,
  type Stat,
  type Tree,
  type Xattrs,
} from "./tree.ts";

export { dumpLines, formatDumpfile } from "./dumpfile-writer.ts";

const MAX_PATH = 4096;
const MAX_NAME = 255;
const MAX_INLINE = 512;
const MAX_SYMLINK = 1024;
const MAX_XATTR_KEYS = 65535;
const MAX_U32 = 0xffffffff;
const SLASH = 0x2f;
const AT_SIGN = 0x40;
/** 1024 chunks of 2^43 bytes: what the chunk index of one inode can hold. */
const MAX_FILE = 2 ** 53;
const NSEC = 1_000_000_000n;
/** What a file that is not regular is called. */
const NAME_OF_TYPE = new Map<number, string>(
  Object.entries(TYPE_BITS).map(([name, bits]) => [bits, name]),
);

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
  const line = new DumpLine(bytes, { dropCarriageReturn: true });
  while (line.next()) {
    if (bytes[line.start(0)] !== SLASH && /^\s*$/.test(line.line())) continue;
    try {
      reader.addLine(line);
    } catch (error) {
      throw new Error(`line ${line.number}`, { cause: error });
    }
  }
  return { tree: reader.finish(), hash: reader.hash };
}

class Reader {
  hash: HashName | undefined;
  readonly #places = new DumpPlaces();

  constructor(hash: HashName | undefined) {
    this.hash = hash;
  }

  addLine(line: DumpLine): void {
    const place = this.#places.besideLast(line);
    if (place !== undefined) {
      this.#add(line, place, undefined, this.#parseNode(line));
      return;
    }
    const path = inField("PATH", () => parsePath(line.text(AT.PATH)));
    const node = this.#parseNode(line);
    if (path === "/") this.#addRoot(node);
    else this.#add(line, this.#place(path, line), path, node);
  }

  finish(): Tree {
    const root = this.#places.root;
    if (root === undefined) throw new Error("no entry for /");
    return root;
  }

  #addRoot(node: Node): void {
    if (node.type !== "directory") throw new Error("/ is not a directory");
    // a later line for the root gives it other metadata
    const root = this.#places.root;
    if (root === undefined) this.#places.addDirectory("/" as ByteString, node);
    else root.stat = node.stat;
  }

  #place(path: ByteString, line: DumpLine): Place {
    const place = this.#places.of(path, line);
    if (place !== undefined) return place;
    if (this.#places.root === undefined) throw new Error("the first entry is not /");
    const parent = path.slice(0, path.lastIndexOf("/")) as ByteString;
    const exists = this.#places.node(parent) !== undefined;
    const why = exists ? "not a directory" : "there is no such directory yet";
    throw new Error(`PATH: parent of ${display(path)}: ${why}`);
  }

  /** Without `path`, it is the field as it is. */
  #add(line: DumpLine, { directory, name }: Place, path: ByteString | undefined, node: Node): void {
    if (directory.entries.has(name)) {
      throw new Error(`PATH: second entry for ${display(path ?? line.text(AT.PATH))}`);
    }
    directory.entries.set(name, node);
    if (node.type === "directory") this.#places.addDirectory(path ?? line.text(AT.PATH), node);
  }

  #parseNode(line: DumpLine): Node {
    requireField(line, "MODE");
    if (line.bytes[line.start(AT.MODE)] === AT_SIGN) return this.#parseHardlink(line);
    requireField(line, "DIGEST");

    const size = parseSize(line);
    const octal = line.digits(AT.MODE, 8);
    const type =
      octal >= 0 && octal <= MAX_U32
        ? octal
        : parseField(line, "MODE", (text) => parseU32(text, 8));
    const nlink = parseNumber(line, "NLINK");
    const uid = parseNumber(line, "UID");
    const gid = parseNumber(line, "GID");
    const rdev = parseNumber(line, "RDEV");
    const [mtimeSec, mtimeNsec] = line.time(AT.MTIME) ?? parseField(line, "MTIME", parseTime);
    const xattrs = parseXattrs(line);
    const stat: Stat = { mode: type & 0o7777, uid, gid, mtimeSec, mtimeNsec, xattrs };

    const isDevice =
      (type & S_IFMT) === TYPE_BITS.chardev || (type & S_IFMT) === TYPE_BITS.blockdev;
    if (!isDevice && rdev !== 0) throw new Error(`RDEV: ${rdev}, but it is not a device`);
    if ((type & S_IFMT) === S_IFDIR) {
      expectAbsent(line, "CONTENT", "a directory");
      expectAbsent(line, "DIGEST", "a directory");
      return { type: "directory", stat, entries: new Map() };
    }
    if ((type & S_IFMT) === TYPE_BITS.chardev && rdev === 0 && nlink > 1) {
      throw new Error("NLINK: a whiteout cannot have more than one name");
    }
    return { type: "leaf", stat, content: this.#parseContent(line, type & S_IFMT, size, rdev) };
  }

  #parseContent(line: DumpLine, type: number, size: number | bigint, rdev: number): LeafContent {
    if (type === TYPE_BITS.inline) return this.#parseRegular(line, size);
    const what = NAME_OF_TYPE.get(type);
    if (what === undefined) {
      throw new Error(`MODE: unknown file type, got ${quote(line.text(AT.MODE))}`);
    }
    expectAbsent(line, "CONTENT", `a ${what}`);
    expectAbsent(line, "DIGEST", `a ${what}`);
    switch (type) {
      case TYPE_BITS.symlink: {
        const target = parsePayload(line, "a symlink's target", unescapeField);
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

  #parseRegular(line: DumpLine, size: number | bigint): LeafContent {
    if (!line.isDash(AT.PAYLOAD)) {
      const verity = !line.isDash(AT.DIGEST);
      return {
        type: "external",
        size: fileSize(size),
        digest: verity
          ? this.#parseDigest(line)
          : parsePayload(line, "an object", (path) => this.#digestOfPath(unescapeField(path))),
        verity,
      };
    }
    expectAbsent(line, "DIGEST", "a file without a backing object");
    const content = line.isDash(AT.CONTENT) ? "" : parseField(line, "CONTENT", unescapeField);
    if (content.length > MAX_INLINE) {
      throw new Error(`CONTENT: ${content.length} bytes, at most ${MAX_INLINE}`);
    }
    if (content === "" && size > 0) return { type: "sparse", size: fileSize(size) };
    return { type: "inline", data: toBytes(content as ByteString) };
  }

  #parseHardlink(line: DumpLine): Leaf {
    parseSize(line);
    const type = parseField(line, "MODE", (text) => parseU32(text.slice(1), 8));
    if ((type & S_IFMT) === S_IFDIR) throw new Error("MODE: a directory cannot be a hard link");
    const target = parsePayload(line, "a hard link's target", parsePath);
    const node = this.#places.node(target);
    if (node === undefined) throw new Error(`PAYLOAD: no entry ${display(target)} before this one`);
    if (node.type === "directory") {
      throw new Error(`PAYLOAD: hard link to the directory ${display(target)}`);
    }
    if (node.content.type === "chardev" && node.content.rdev === 0) {
      throw new Error(`PAYLOAD: hard link to the whiteout ${display(target)}`);
    }
    return node;
  }

  #parseDigest(line: DumpLine): Uint8Array {
    const digest = line.hex(AT.DIGEST);
    const own = digest && hashOfDigest(digest);
    const hash = this.hash ?? own ?? "sha512";
    if (digest === undefined || own !== hash) {
      const hex = line.text(AT.DIGEST);
      const expected = `expected ${hash}, ${2 * DIGEST_SIZE[hash]} hex digits`;
      const cause = new Error(`${expected}, got ${digest ? hex.length : quote(hex)}`);
      const hint = own === undefined ? {} : { hint: `its digests look like ${own}` };
      throw new Error("DIGEST", { cause: Object.assign(cause, hint) });
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

function requireField(line: DumpLine, name: Field): void {
  if (AT[name] >= line.fields) throw new Error(`${name}: the line ends before it`);
}

/** Runs `parse` on a field, whose errors name it. */
function parseField<T>(line: DumpLine, name: Field, parse: (text: ByteString) => T): T {
  requireField(line, name);
  return inField(name, () => parse(line.text(AT[name])));
}

function parsePayload<T>(line: DumpLine, what: string, parse: (text: ByteString) => T): T {
  return parseField(line, "PAYLOAD", (text) => {
    if (text === "-" || text === "") throw new Error(`expected ${what}, got nothing`);
    return parse(text);
  });
}

function expectAbsent(line: DumpLine, name: Field, what: string): void {
  if (!line.isDash(AT[name])) throw new Error(`${name}: expected "-" for ${what}`);
}

/** A number of 32 bits. */
function parseNumber(line: DumpLine, name: Field): number {
  const value = line.digits(AT[name]);
  return value >= 0 && value <= MAX_U32 ? value : parseField(line, name, (text) => parseU32(text));
}

function parseSize(line: DumpLine): number | bigint {
  const size = line.digits(AT.SIZE);
  return size >= 0 ? size : parseField(line, "SIZE", parseU64);
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

function fileSize(size: number | bigint): number {
  if (size > MAX_FILE) throw new Error(`SIZE: ${size} bytes, at most ${MAX_FILE}`);
  return Number(size);
}

function parseXattrs(line: DumpLine): Xattrs {
  if (line.fields <= FIELDS.length) return NO_XATTRS;
  const values = new Map<ByteString, ByteString>();
  let keys = 0;
  for (let at = FIELDS.length; at < line.fields; at++) {
    inField(`xattr ${at - FIELDS.length + 1}`, () => {
      const [key, value] = parseXattr(line.text(at));
      keys += key.length;
      if (keys > MAX_XATTR_KEYS) throw new Error(`keys of more than ${MAX_XATTR_KEYS} bytes`);
      // of two values for one key the one that sorts last counts, wherever it stands
      const known = values.get(key);
      if (known === undefined || known < value) values.set(key, value);
    });
  }
  return new Map([...values].map(([key, value]) => [key, toBytes(value)]));
}
