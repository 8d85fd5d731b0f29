/**
 * Dump files as C's mkcomposefs 1.0 reads them (composefs-dump(5)). It takes more than composefs-rs: missing fields at the
 * end of a line, links to entries that come later, link counts and object paths of any kind, any bytes.
 */
import { type ByteString, display, toBytes } from "./bytestring.ts";
import {
  AT,
  FIELDS,
  type Field,
  inField,
  parseXattr,
  quote,
  S_IFDIR,
  S_IFMT,
  TYPE_BITS,
  unescapeField,
} from "./dumpfile-fields.ts";
import { DumpLine } from "./dumpfile-line.ts";
import { DumpPlaces, type Place } from "./dumpfile-places.ts";
import type { CInput, Home } from "./erofs/c-input.ts";
import {
  type Leaf,
  type LeafContent,
  NO_XATTRS,
  type Node,
  type Stat,
  type Tree,
  type Xattrs,
} from "./tree.ts";

const MAX_NAME = 255;
const MAX_INLINE = 5000;
const MAX_SYMLINK = 4095;
const MAX_XATTRS = 65535;
/** 1024 chunks of 2^43 bytes. */
const MAX_FILE = 2n ** 53n;
const MAX_U64 = 2n ** 64n - 1n;
const SHA256_SIZE = 32;
const SHOWN = 200;
const SLASH = 0x2f;
const AT_SIGN = 0x40;
const KNOWN_TYPES = new Set<number>([S_IFDIR, ...Object.values(TYPE_BITS)]);

/** A tree, and what its image says beyond it. */
export interface CDumpfile {
  readonly tree: Tree;
  readonly cInput: CInput;
}

/** Reads a dump file. All digests are of SHA-256. Errors name the line and the field. */
export function parseDumpfileC(bytes: Uint8Array): CDumpfile {
  const reader = new Reader();
  const nul = bytes.indexOf(0);
  const line = new DumpLine(bytes, { dropCarriageReturn: false });
  while (line.next()) {
    try {
      if (nul >= 0 && nul < line.end(line.fields)) {
        throw new Error(`NUL at byte ${nul - line.start(0)}`);
      }
      reader.addLine(line);
    } catch (error) {
      throw new Error(`line ${line.number}`, { cause: error });
    }
  }
  return reader.finish();
}

/** An entry for what another entry is. */
interface Link extends Place {
  readonly line: number;
  readonly target: ByteString;
}

class Reader {
  readonly #places = new DumpPlaces();
  /** Where links that were followed lead in the end. */
  readonly #resolved = new Map<ByteString, ByteString>();
  readonly #links = new Map<ByteString, Link>();
  readonly #linkCounts = new Map<Leaf, number>();
  readonly #redirects = new Map<Leaf, ByteString>();

  addLine(line: DumpLine): void {
    const beside = this.#places.besideLast(line);
    let path: ByteString | undefined; // of those beside the last one, the field as it is
    if (beside === undefined) {
      path = inField("PATH", () => parsePath(line.text(AT.PATH)));
      if (path === "/") {
        this.#addRoot(this.#parseNode(line));
        return;
      }
    }
    const place = beside ?? this.#place(path!, line);
    const { directory, name } = place;
    if (
      directory.entries.has(name) ||
      (this.#links.size > 0 && this.#links.has(path ?? line.text(AT.PATH)))
    ) {
      throw new Error(`PATH: second entry for ${shown(path ?? line.text(AT.PATH))}`);
    }
    if (line.bytes[line.start(AT.MODE)] === AT_SIGN && line.fields > AT.MODE) {
      parseType(line.text(AT.MODE).slice(1), true);
      const target = inField("PAYLOAD", () => parseTarget(line.text(AT.PAYLOAD)));
      this.#links.set(path ?? line.text(AT.PATH), { ...place, line: line.number, target });
      return;
    }
    const node = this.#parseNode(line);
    directory.entries.set(name, node);
    if (node.type === "directory") this.#places.addDirectory(path ?? line.text(AT.PATH), node);
  }

  /** Links may come before what they link to. */
  finish(): CDumpfile {
    const { root } = this.#places;
    if (root === undefined) throw new Error("no entry for /");
    const homes = new Map<Leaf, Home>();
    for (const { line, directory, name, target } of this.#links.values()) {
      const { leaf, home } = inField(`line ${line}`, () =>
        inField("PAYLOAD", () => this.#resolve(target)),
      );
      directory.entries.set(name, leaf);
      homes.set(leaf, home);
      if (!this.#linkCounts.has(leaf)) this.#linkCounts.set(leaf, 1);
    }
    const cInput = { links: this.#linkCounts, redirects: this.#redirects, homes };
    return { tree: root, cInput };
  }

  #addRoot(node: Node): void {
    if (node.type !== "directory") throw new Error("/ is not a directory");
    if (this.#places.root !== undefined) throw new Error("PATH: second entry for /");
    this.#places.addDirectory("/" as ByteString, node);
  }

  #place(path: ByteString, line: DumpLine): Place {
    const place = this.#places.of(path, line);
    if (place !== undefined) return place;
    const parent = path.slice(0, path.lastIndexOf("/")) as ByteString;
    const exists = this.#places.node(parent) !== undefined;
    const why = exists ? "not a directory" : "there is no such directory yet";
    throw new Error(`PATH: parent of ${shown(path)}: ${why}`);
  }

  /** Each link is followed once, however many lead to it. */
  #resolve(target: ByteString): { readonly leaf: Leaf; readonly home: Home } {
    const seen = new Set<ByteString>();
    let path = target;
    for (let link = this.#links.get(path); link !== undefined; link = this.#links.get(path)) {
      if (seen.has(path)) throw new Error(`hard link to itself at ${shown(path)}`);
      seen.add(path);
      path = this.#resolved.get(path) ?? link.target;
    }
    const leaf = this.#places.node(path);
    if (leaf === undefined) throw new Error(`no entry ${shown(path)}`);
    if (leaf.type === "directory") throw new Error(`hard link to the directory ${shown(path)}`);
    for (const link of seen) this.#resolved.set(link, path);
    return { leaf, home: this.#places.find(path)! };
  }

  #parseNode(line: DumpLine): Node {
    const size = parseNumber(line, "SIZE");
    const octal = line.digits(AT.MODE, 8);
    const type = isType(octal) ? octal : parseType(line.text(AT.MODE), false);
    const nlink = parseU32(line, "NLINK");
    const uid = parseU32(line, "UID");
    const gid = parseU32(line, "GID");
    const rdev = parseU32(line, "RDEV");
    const [mtimeSec, mtimeNsec] =
      line.time(AT.MTIME) ?? inField("MTIME", () => parseTime(line.text(AT.MTIME)));
    const isRegular = (type & S_IFMT) === TYPE_BITS.external;
    const isOwnObject = isRegular && payloadIsObject(line);
    const payload = isOwnObject ? undefined : optionalField(line, "PAYLOAD");
    const content = optionalField(line, "CONTENT");
    const digest = parseDigest(line);
    const xattrs = parseXattrs(line);
    if (content !== undefined && BigInt(content.length) !== BigInt(size)) {
      throw new Error(`CONTENT: ${content.length} bytes, but SIZE says ${size}`);
    }
    const stat: Stat = { mode: type & 0o7777, uid, gid, mtimeSec, mtimeNsec, xattrs };
    if ((type & S_IFMT) === S_IFDIR) return { type: "directory", stat, entries: new Map() };
    const leaf = (content: LeafContent): Leaf => {
      const leaf: Leaf = { type: "leaf", stat, content };
      if (nlink !== 1) this.#linkCounts.set(leaf, nlink);
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
      if (Number(size) === 0) return leaf({ type: "inline", data: new Uint8Array(0) });
      return leaf({ type: "sparse", size: Number(size) });
    }
    const external = leaf({
      type: "external",
      size: Number(size),
      digest: digest ?? new Uint8Array(SHA256_SIZE),
      verity: digest !== undefined,
    });
    if (!isOwnObject) {
      this.#redirects.set(external, payload === undefined ? NOWHERE : redirect(payload));
    }
    return external;
  }
}

/** Whether PAYLOAD is the path `xx/rest` of the object that DIGEST names, as it nearly always is. */
function payloadIsObject(line: DumpLine): boolean {
  const { bytes } = line;
  const payload = line.start(AT.PAYLOAD);
  const digest = line.start(AT.DIGEST);
  if (line.end(AT.DIGEST) - digest !== 2 * SHA256_SIZE) return false;
  if (line.end(AT.PAYLOAD) - payload !== 2 * SHA256_SIZE + 1) return false;
  if (bytes[payload + 2] !== SLASH) return false;
  for (let i = 0; i < 2 * SHA256_SIZE; i++) {
    const digit = bytes[digest + i]!;
    if (digit !== bytes[payload + (i < 2 ? i : i + 1)]) return false;
    if (digit >= 0x41 && digit <= 0x46) return false; // objects have names in lower case
  }
  return true;
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

function u32(value: number | bigint): number {
  return typeof value === "number" ? value >>> 0 : Number(BigInt.asUintN(32, value));
}

function parseNumber(line: DumpLine, name: Field): number | bigint {
  const value = line.digits(AT[name]);
  return value >= 0 ? value : inField(name, () => parseInteger(line.text(AT[name])));
}

function parseU32(line: DumpLine, name: Field): number {
  return u32(parseNumber(line, name));
}

function isType(mode: number): boolean {
  return mode >= 0 && mode <= (S_IFMT | 0o7777) && KNOWN_TYPES.has(mode & S_IFMT);
}

function parseType(field: string, isLink: boolean): number {
  return inField("MODE", () => {
    const mode = Number(parseInteger(field, 8));
    if (!isType(mode)) throw new Error(`unknown file type, got ${quote(field)}`);
    if (isLink && (mode & S_IFMT) === S_IFDIR) {
      throw new Error("a directory cannot be a hard link");
    }
    return mode;
  });
}

function parseTime(field: string): [bigint, number] {
  const dot = field.indexOf(".");
  if (dot < 0) throw new Error(`expected SECONDS.NANOSECONDS, got ${quote(field)}`);
  const seconds = parseInteger(field.slice(0, dot));
  return [BigInt.asIntN(64, seconds), u32(parseInteger(field.slice(dot + 1)))];
}

/** A field that may be absent: `-`, or PAYLOAD where it is empty. An empty CONTENT is content. */
function optionalField(line: DumpLine, name: "PAYLOAD" | "CONTENT"): ByteString | undefined {
  if (line.isDash(AT[name])) return undefined;
  const text = line.text(AT[name]);
  if (name === "PAYLOAD" && text === "") return undefined;
  return inField(name, () => unescapeField(text));
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

function parseDigest(line: DumpLine): Uint8Array | undefined {
  if (line.isDash(AT.DIGEST) || line.end(AT.DIGEST) === line.start(AT.DIGEST)) return undefined;
  const digest = line.hex(AT.DIGEST);
  if (digest?.length === SHA256_SIZE) return digest;
  const expected = `expected sha256, ${2 * SHA256_SIZE} hex digits`;
  return inField("DIGEST", () => {
    throw new Error(`${expected}, got ${quote(line.text(AT.DIGEST))}`);
  });
}

function parseXattrs(line: DumpLine): Xattrs {
  if (line.fields <= FIELDS.length) return NO_XATTRS;
  const bytes = line.end(line.fields) - line.start(FIELDS.length);
  if (bytes > MAX_XATTRS) throw new Error(`xattrs of ${bytes} bytes, at most ${MAX_XATTRS}`);
  const xattrs = new Map<ByteString, Uint8Array>();
  for (let at = FIELDS.length; at < line.fields; at++) {
    const text = line.text(at);
    if (text === "" && at === line.fields - 1) break; // a blank at the end of the line is no xattr
    inField(`xattr ${at - FIELDS.length + 1}`, () => {
      const [key, value] = parseXattr(text);
      xattrs.set(key, toBytes(value));
    });
  }
  return xattrs;
}
