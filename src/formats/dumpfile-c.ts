/**
 * Dump files as C's mkcomposefs 1.0 reads them (composefs-dump(5)). It takes more than composefs-rs: missing fields at the
 * end of a line, links to entries that come later, link counts and object paths of any kind, any bytes.
 */
import { type ByteString, display, fromBytes, toBytes } from "./bytestring.ts";
import { fromHex } from "./digest.ts";
import {
  inField,
  parseXattr,
  quote,
  S_IFDIR,
  S_IFMT,
  TYPE_BITS,
  unescapeField,
} from "./dumpfile-fields.ts";
import type { CInput, Home } from "./erofs/c-input.ts";
import type { Directory, Leaf, LeafContent, Node, Stat, Tree } from "./tree.ts";

const FIELDS = 11;
const MAX_NAME = 255;
const MAX_INLINE = 5000;
const MAX_SYMLINK = 4095;
const MAX_XATTRS = 65535;
/** 1024 chunks of 2^43 bytes. */
const MAX_FILE = 2n ** 53n;
const MAX_U64 = 2n ** 64n - 1n;
const SHA256_SIZE = 32;
const SHOWN = 200;

/** A tree, and what its image says beyond it. */
export interface CDumpfile {
  readonly tree: Tree;
  readonly cInput: CInput;
}

/** Reads a dump file. All digests are of SHA-256. Errors name the line and the field. */
export function parseDumpfileC(bytes: Uint8Array): CDumpfile {
  const reader = new Reader();
  let line = 0;
  for (let start = 0; start < bytes.length; ) {
    const newline = bytes.indexOf(0x0a, start);
    const end = newline < 0 ? bytes.length : newline;
    const text = fromBytes(bytes.subarray(start, end));
    start = end + 1;
    line++;
    atLine(line, () => reader.addLine(line, text));
  }
  return reader.finish();
}

function atLine<T>(line: number, work: () => T): T {
  return inField(`line ${line}`, work);
}

/** An entry for what another entry is. */
interface Link extends Home {
  readonly line: number;
  readonly path: ByteString;
  readonly target: ByteString;
}

class Reader {
  #root: Directory | undefined;
  readonly #nodes = new Map<ByteString, Node>();
  readonly #names = new Map<Leaf, Home>();
  /** Where links that were followed lead in the end. */
  readonly #resolved = new Map<ByteString, ByteString>();
  readonly #links = new Map<ByteString, Link>();
  readonly #linkCounts = new Map<Leaf, number>();
  readonly #redirects = new Map<Leaf, ByteString>();

  addLine(line: number, text: string): void {
    const nul = text.indexOf("\0");
    if (nul >= 0) throw new Error(`NUL at byte ${nul}`);
    const fields = text.split(" ");
    const path = inField("PATH", () => parsePath(fields[0]!));
    if (path === "/") {
      const node = this.#parseNode(fields);
      if (node.type !== "directory") throw new Error("/ is not a directory");
      if (this.#root !== undefined) throw new Error("PATH: second entry for /");
      this.#root = node;
      this.#nodes.set(path, node);
      return;
    }
    const slash = path.lastIndexOf("/");
    const parent = this.#nodes.get((path.slice(0, slash) || "/") as ByteString);
    if (parent?.type !== "directory") {
      const why = parent === undefined ? "there is no such directory yet" : "not a directory";
      throw new Error(`PATH: parent of ${shown(path)}: ${why}`);
    }
    if (this.#nodes.has(path) || this.#links.has(path)) {
      throw new Error(`PATH: second entry for ${shown(path)}`);
    }
    const home = { directory: parent, name: path.slice(slash + 1) as ByteString };
    const mode = fields[2] ?? "";
    if (mode.startsWith("@")) {
      parseType(mode.slice(1), true);
      const target = inField("PAYLOAD", () => parseTarget(fields[8] ?? ""));
      this.#links.set(path, { ...home, line, path, target });
      return;
    }
    const node = this.#parseNode(fields);
    parent.entries.set(home.name, node);
    this.#nodes.set(path, node);
    if (node.type === "leaf") this.#names.set(node, home);
  }

  /** Links may come before what they link to. */
  finish(): CDumpfile {
    if (this.#root === undefined) throw new Error("no entry for /");
    const homes = new Map<Leaf, Home>();
    for (const { line, directory, name, target } of this.#links.values()) {
      const node = atLine(line, () => inField("PAYLOAD", () => this.#resolve(target)));
      directory.entries.set(name, node);
      homes.set(node, this.#names.get(node)!);
    }
    const cInput = { links: this.#linkCounts, redirects: this.#redirects, homes };
    return { tree: this.#root, cInput };
  }

  /** Each link is followed once, however many lead to it. */
  #resolve(target: ByteString): Leaf {
    const seen = new Set<ByteString>();
    let path = target;
    for (let link = this.#links.get(path); link !== undefined; link = this.#links.get(path)) {
      if (seen.has(path)) throw new Error(`hard link to itself at ${shown(path)}`);
      seen.add(path);
      path = this.#resolved.get(path) ?? link.target;
    }
    const node = this.#nodes.get(path);
    if (node === undefined) throw new Error(`no entry ${shown(path)}`);
    if (node.type === "directory") throw new Error(`hard link to the directory ${shown(path)}`);
    for (const link of seen) this.#resolved.set(link, path);
    return node;
  }

  #parseNode(fields: readonly string[]): Node {
    const number = (name: string, index: number) =>
      inField(name, () => parseInteger(fields[index] ?? ""));
    const size = number("SIZE", 1);
    const type = parseType(fields[2] ?? "", false);
    const nlink = u32(number("NLINK", 3));
    const uid = u32(number("UID", 4));
    const gid = u32(number("GID", 5));
    const rdev = u32(number("RDEV", 6));
    const [mtimeSec, mtimeNsec] = inField("MTIME", () => parseTime(fields[7] ?? ""));
    const payload = optionalField("PAYLOAD", fields[8]);
    const content = optionalField("CONTENT", fields[9]);
    const digest = inField("DIGEST", () => parseDigest(fields[10] ?? "-"));
    const xattrs = parseXattrs(fields.slice(FIELDS));
    if (content !== undefined && BigInt(content.length) !== size) {
      throw new Error(`CONTENT: ${content.length} bytes, but SIZE says ${size}`);
    }
    const stat: Stat = { mode: type & 0o7777, uid, gid, mtimeSec, mtimeNsec, xattrs };
    if ((type & S_IFMT) === S_IFDIR) return { type: "directory", stat, entries: new Map() };
    const leaf = (content: LeafContent): Leaf => {
      const leaf: Leaf = { type: "leaf", stat, content };
      this.#linkCounts.set(leaf, nlink);
      return leaf;
    };
    switch (type & S_IFMT) {
      case TYPE_BITS.symlink:
        return leaf({ type: "symlink", target: symlinkTarget(payload) });
      case TYPE_BITS.chardev:
        return leaf({ type: "chardev", rdev });
      case TYPE_BITS.blockdev:
        return leaf({ type: "blockdev", rdev });
      case TYPE_BITS.fifo:
        return leaf({ type: "fifo" });
      case TYPE_BITS.socket:
        return leaf({ type: "socket" });
    }
    if (size > MAX_FILE) throw new Error(`SIZE: ${size} bytes, at most ${MAX_FILE}`);
    if (content !== undefined) return leaf({ type: "inline", data: inlineData(content) });
    if (payload === undefined && digest === undefined) {
      if (size === 0n) return leaf({ type: "inline", data: new Uint8Array(0) });
      return leaf({ type: "sparse", size: Number(size) });
    }
    const external = leaf({
      type: "external",
      size: Number(size),
      digest: digest ?? new Uint8Array(SHA256_SIZE),
      verity: digest !== undefined,
    });
    this.#redirects.set(external, payload === undefined ? NOWHERE : redirect(payload));
    return external;
  }
}

const NOWHERE = "" as ByteString;

/** A path for messages: here none is too long. */
function shown(path: ByteString): string {
  const text = display(path);
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text;
}

function redirect(payload: ByteString): ByteString {
  return `/${payload}` as ByteString;
}

/** Slashes in front count for nothing, also if there are none. */
function parsePath(field: string): ByteString {
  const path = unescapeField(field);
  if (path === "") throw new Error("empty path");
  return canonicalPath(path);
}

function parseTarget(field: string): ByteString {
  if (field === "-" || field === "") throw new Error("expected a hard link's target, got nothing");
  return canonicalPath(unescapeField(field));
}

function canonicalPath(path: ByteString): ByteString {
  if (path.includes("\0")) throw new Error("NUL in a path");
  const names = path.split("/").filter((name) => name !== "");
  if (names.length > 0 && path.endsWith("/")) throw new Error(`empty name in ${quote(path)}`);
  for (const name of names) {
    if (name === "." || name === "..") throw new Error(`"${name}" in ${quote(path)}`);
    if (name.length > MAX_NAME)
      throw new Error(`name of ${name.length} bytes, at most ${MAX_NAME}`);
  }
  return `/${names.join("/")}` as ByteString;
}

/** As `strtoull` reads it: with a sign, and a negative number is one from the top. */
function parseInteger(field: string, radix: 8 | 10 = 10): bigint {
  const digits = radix === 8 ? /^([+-]?)([0-7]{1,40})$/ : /^([+-]?)([0-9]{1,40})$/;
  const match = digits.exec(field);
  const value = match === null ? -1n : BigInt(radix === 8 ? `0o${match[2]}` : match[2]!);
  if (value < 0n || value > MAX_U64) {
    const kind = radix === 8 ? "an octal" : "a decimal";
    throw new Error(`expected ${kind} number of at most 64 bits, got ${quote(field)}`);
  }
  return BigInt.asUintN(64, match![1] === "-" ? -value : value);
}

function u32(value: bigint): number {
  return Number(BigInt.asUintN(32, value));
}

function parseType(field: string, isLink: boolean): number {
  return inField("MODE", () => {
    const mode = parseInteger(field, 8);
    const type = Number(mode & BigInt(S_IFMT));
    const known = type === S_IFDIR || Object.values<number>(TYPE_BITS).includes(type);
    if (!known || mode > BigInt(S_IFMT | 0o7777)) {
      throw new Error(`unknown file type, got ${quote(field)}`);
    }
    if (isLink && type === S_IFDIR) throw new Error("a directory cannot be a hard link");
    return Number(mode);
  });
}

function parseTime(field: string): [bigint, number] {
  const dot = field.indexOf(".");
  if (dot < 0) throw new Error(`expected SECONDS.NANOSECONDS, got ${quote(field)}`);
  const seconds = parseInteger(field.slice(0, dot));
  return [BigInt.asIntN(64, seconds), u32(parseInteger(field.slice(dot + 1)))];
}

/** A field that may be absent: `-`, or PAYLOAD where it is empty. An empty CONTENT is content. */
function optionalField(name: "PAYLOAD" | "CONTENT", field: string | undefined) {
  if (field === "-" || (name === "PAYLOAD" && (field ?? "") === "")) return undefined;
  return inField(name, () => unescapeField(field ?? ""));
}

function symlinkTarget(payload: ByteString | undefined): ByteString {
  if (payload === undefined) throw new Error("PAYLOAD: expected a symlink's target, got nothing");
  if (payload.length > MAX_SYMLINK) {
    throw new Error(`PAYLOAD: target of ${payload.length} bytes, at most ${MAX_SYMLINK}`);
  }
  return payload;
}

function inlineData(content: ByteString): Uint8Array {
  if (content.length > MAX_INLINE) {
    throw new Error(`CONTENT: ${content.length} bytes, at most ${MAX_INLINE}`);
  }
  return toBytes(content);
}

function parseDigest(field: string): Uint8Array | undefined {
  if (field === "-" || field === "") return undefined;
  const digest = fromHex(field);
  if (digest?.length !== SHA256_SIZE) {
    throw new Error(`expected sha256, ${2 * SHA256_SIZE} hex digits, got ${quote(field)}`);
  }
  return digest;
}

function parseXattrs(fields: readonly string[]): Map<ByteString, Uint8Array> {
  const bytes = fields.reduce((sum, field) => sum + field.length + 1, 0) - 1;
  if (bytes > MAX_XATTRS) throw new Error(`xattrs of ${bytes} bytes, at most ${MAX_XATTRS}`);
  const xattrs = new Map<ByteString, Uint8Array>();
  // a blank at the end of the line is no xattr
  for (const [index, field] of (fields.at(-1) === "" ? fields.slice(0, -1) : fields).entries()) {
    inField(`xattr ${index + 1}`, () => {
      const [key, value] = parseXattr(field);
      xattrs.set(key, toBytes(value));
    });
  }
  return xattrs;
}
