/**
 * Tar archives that images are kept in: their members are found once and then read where they lie, in any order.
 *
 * What cannot be read that way, a pipe or a compressed archive, goes through a temporary file without a name.
 */
import {
  closeSync,
  createReadStream,
  fstatSync,
  mkdtempSync,
  openSync,
  readSync,
  rmdirSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join, posix } from "node:path";
import { display, toText } from "../../src/formats/bytestring.ts";
import { BLOCK_SIZE } from "../../src/formats/tar/header.ts";
import { MEMBER_TYPES, type TarMember } from "../../src/formats/tar/member.ts";
import { TarScanner } from "../../src/formats/tar/scanner.ts";
import { type Compression, decompress } from "../decompress.ts";
import { largeTemporaryDirectory } from "./temporary.ts";

/** Where a file's content is in the archive, in bytes. */
export interface ArchiveFile {
  readonly offset: number;
  readonly size: number;
}

/** More members than images have, by far: several per layer. */
const MAX_MEMBERS = 100_000;
/** Longest name of a member, in bytes. */
const MAX_NAME = 4096;
/** Links that lead to links. */
const MAX_LINKS = 8;
const READ_SIZE = 256 * 1024;

/** Opens an archive and finds its members. Throws, naming the file and the place, if it is none. */
export async function openArchive(path: string): Promise<Archive> {
  let fd = openSync(path, "r");
  try {
    const compression = fstatSync(fd).isFile() ? compressionAt(fd, 0) : undefined;
    if (compression !== "none") {
      const spooled = await spool(fd, compression ?? "none");
      closeSync(fd);
      fd = spooled;
    }
    return new Archive(path, fd, findMembers(fd));
  } catch (error) {
    closeSync(fd);
    throw new Error(path, { cause: error });
  }
}

type Entry =
  | { readonly type: "file"; readonly file: ArchiveFile }
  /** To another member of the archive. */
  | { readonly type: "link"; readonly target: string };

export class Archive {
  readonly path: string;
  readonly #fd: number;
  readonly #entries: ReadonlyMap<string, Entry>;

  constructor(path: string, fd: number, entries: ReadonlyMap<string, Entry>) {
    this.path = path;
    this.#fd = fd;
    this.#entries = entries;
  }

  close(): void {
    closeSync(this.#fd);
  }

  /** A file of the archive, through links; `undefined` if there is none of that name. */
  find(name: string): ArchiveFile | undefined {
    let at = normal(name);
    for (let links = 0; links <= MAX_LINKS; links++) {
      const entry = this.#entries.get(at);
      if (entry === undefined) return undefined;
      if (entry.type === "file") return entry.file;
      at = entry.target;
    }
    return undefined;
  }

  /** A file of the archive. Throws if there is none of that name. */
  require(name: string): ArchiveFile {
    const file = this.find(name);
    if (file === undefined) throw new Error(`${this.path}: has no file ${JSON.stringify(name)}`);
    return file;
  }

  /** The whole content of a file. Throws if it is longer than `limit` bytes. */
  read(name: string, limit: number): Uint8Array {
    const { offset, size } = this.require(name);
    if (size > limit)
      throw new Error(`${this.path}: ${name}: ${size} bytes, expected at most ${limit}`);
    const bytes = new Uint8Array(size);
    if (readFully(this.#fd, bytes, offset) < size)
      throw new Error(`${this.path}: ${name}: the archive has become shorter`);
    return bytes;
  }

  async *stream(
    { offset, size }: ArchiveFile,
    signal?: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    if (size === 0) return;
    yield* createReadStream("", {
      fd: this.#fd,
      autoClose: false,
      start: offset,
      end: offset + size - 1,
      highWaterMark: READ_SIZE,
      ...(signal === undefined ? {} : { signal }),
    }) as AsyncIterable<Uint8Array>;
  }

  /** How the content of a file is compressed, by its first bytes. */
  compression({ offset, size }: ArchiveFile): Compression {
    return size < MAGIC_SIZE ? "none" : compressionAt(this.#fd, offset);
  }
}

const MAGIC_SIZE = 4;

function compressionAt(fd: number, offset: number): Compression {
  const magic = new Uint8Array(MAGIC_SIZE);
  readFully(fd, magic, offset);
  const [a, b, c, d] = magic;
  if (a === 0x1f && b === 0x8b) return "gzip";
  if (a === 0x28 && b === 0xb5 && c === 0x2f && d === 0xfd) return "zstd";
  return "none";
}

/** Copies what is read from `fd` into a temporary file that has no name any more, decompressed. */
async function spool(fd: number, compression: Compression): Promise<number> {
  const directory = mkdtempSync(join(largeTemporaryDirectory(), "cfsboot-archive-"));
  const name = join(directory, "archive");
  const spooled = openSync(name, "wx+", 0o600);
  try {
    unlinkSync(name);
    rmdirSync(directory);
    const source = createReadStream("", { fd, autoClose: false, highWaterMark: READ_SIZE });
    for await (const chunk of decompress(source as AsyncIterable<Uint8Array>, compression))
      writeFileSync(spooled, chunk);
    return spooled;
  } catch (error) {
    closeSync(spooled);
    throw error;
  }
}

/** Reads the headers and leaves the bodies out. */
function findMembers(fd: number): Map<string, Entry> {
  const entries = new Map<string, Entry>();
  const archiveSize = fstatSync(fd).size;
  let offset = 0;
  let members = 0;
  const scanner = new TarScanner({
    framing: () => {},
    member: (member) => {
      if (++members > MAX_MEMBERS)
        throw new Error(`tar offset ${member.offset}: more than ${MAX_MEMBERS} members`);
      if (Math.max(member.path.length, member.linkTarget.length) > MAX_NAME)
        throw new Error(`tar offset ${member.offset}: a name of more than ${MAX_NAME} bytes`);
      const entry = entryOf(member, offset, archiveSize);
      if (entry !== undefined) entries.set(normal(textOf(member)), entry);
    },
    body: () => {},
    endBody: () => {},
  });
  const block = new Uint8Array(BLOCK_SIZE);
  while (!scanner.finished) {
    // never beyond a block: what follows may be a body
    const bytes = block.subarray(offset % BLOCK_SIZE);
    const size = readFully(fd, bytes, offset);
    if (size === 0) break;
    offset += size;
    scanner.push(bytes.subarray(0, size));
    const body = scanner.bodyRemaining;
    if (body > 0) {
      scanner.skipBody();
      offset += body;
    }
  }
  scanner.end();
  return entries;
}

/** `offset` is where the member's body begins. */
function entryOf(member: TarMember, offset: number, archiveSize: number): Entry | undefined {
  switch (MEMBER_TYPES.get(member.typeLetter)) {
    case "file":
      if (offset + member.size > archiveSize)
        throw new Error(
          `tar offset ${offset}: ${display(member.path)}: ${member.size} bytes, the archive ends after ${archiveSize - offset} of them`,
        );
      return { type: "file", file: { offset, size: member.size } };
    case "hardlink":
      return { type: "link", target: normal(toText(member.linkTarget) ?? "") };
    case "symlink": {
      const target = toText(member.linkTarget) ?? "";
      return { type: "link", target: normal(posix.join(posix.dirname(textOf(member)), target)) };
    }
    default:
      return undefined;
  }
}

/** Names that are not text are nobody's. */
function textOf({ path }: TarMember): string {
  return toText(path) ?? "";
}

/** The name that a member is looked up by: `./a//b` and `/a/b` are `a/b`. No path on this machine is made of it. */
function normal(name: string): string {
  return posix.normalize(`/${name}`).slice(1).replace(/\/$/, "");
}

/** Fills a buffer from a place in a file; less only at the file's end. */
function readFully(fd: number, buffer: Uint8Array, position: number): number {
  let filled = 0;
  for (let n = -1; n !== 0 && filled < buffer.length; filled += n)
    n = readSync(fd, buffer, filled, buffer.length - filled, position + filled);
  return filled;
}
