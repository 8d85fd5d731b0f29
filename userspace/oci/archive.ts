/**
 * Tar archives that images are kept in: their members are found once and then read where they lie, in any order.
 *
 * What cannot be read that way, a pipe or a compressed archive, goes through a temporary file without a name.
 */
import {
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  read,
  readSync,
  rmdirSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join, posix } from "node:path";
import { promisify } from "node:util";
import { display, toText } from "../../src/formats/bytestring.ts";
import { BLOCK_SIZE } from "../../src/formats/tar/header.ts";
import { MEMBER_TYPES, type TarMember } from "../../src/formats/tar/member.ts";
import { TarScanner } from "../../src/formats/tar/scanner.ts";
import { type Compression, decompress, detectCompression } from "../decompress.ts";
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

  stream(file: ArchiveFile, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    return readRange(this.#fd, file.offset, file.size, signal);
  }

  /** How the content of a file is compressed, by its first bytes. */
  compression({ offset }: ArchiveFile): Compression {
    return compressionAt(this.#fd, offset);
  }
}

function compressionAt(fd: number, offset: number): Compression {
  const start = new Uint8Array(4);
  return detectCompression(start.subarray(0, readFully(fd, start, offset)));
}

/** Copies what is read from `fd` into a temporary file that has no name any more, decompressed. */
async function spool(fd: number, compression: Compression): Promise<number> {
  const directory = mkdtempSync(join(largeTemporaryDirectory(), "cfsboot-archive-"));
  const name = join(directory, "archive");
  const spooled = openSync(name, "wx+", 0o600);
  try {
    unlinkSync(name);
    rmdirSync(directory);
    for await (const chunk of decompress(readRange(fd, null, Infinity), compression))
      writeFileSync(spooled, chunk);
    return spooled;
  } catch (error) {
    closeSync(spooled);
    throw error;
  }
}

const readAsync = promisify(read);

/** Up to `size` bytes from an offset on; from where the descriptor stands, if that is `null`. */
async function* readRange(
  fd: number,
  offset: number | null,
  size: number,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let done = 0; done < size; ) {
    signal?.throwIfAborted();
    const chunk = new Uint8Array(Math.min(READ_SIZE, size - done));
    const position = offset === null ? null : offset + done;
    const { bytesRead } = await readAsync(fd, chunk, 0, chunk.length, position);
    if (bytesRead === 0) return;
    done += bytesRead;
    yield chunk.subarray(0, bytesRead);
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
      return { type: "link", target: normal(posix.resolve(`/${textOf(member)}`, "..", target)) };
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
