/** Where the entries of a dump file belong: its directories by their paths. */
import { type ByteString, fromBytes } from "./bytestring.ts";
import type { DumpLine } from "./dumpfile-line.ts";
import type { Directory, Node } from "./tree.ts";

const PATH = 0;
const MAX_NAME = 255;
const MAX_PATH = 4096;
const SLASH = 0x2f;
const BACKSLASH = 0x5c;
const DOT = 0x2e;

/** The name of an entry in its directory. */
export interface Place {
  readonly directory: Directory;
  readonly name: ByteString;
}

export class DumpPlaces {
  readonly #directories = new Map<ByteString, Directory>();
  /** The last entry's directory; its path, with the slash at its end, is from `#start` to `#end` in the file. */
  #directory: Directory | undefined;
  #start = 0;
  #end = 0;

  get root(): Directory | undefined {
    return this.#directories.get("/" as ByteString);
  }

  addDirectory(path: ByteString, directory: Directory): void {
    this.#directories.set(path, directory);
  }

  /**
   * The place of a line's entry, if it is in the same directory as the one before and a plain name; then its path needs
   * neither be read nor checked. `undefined` if that is not so.
   */
  besideLast(line: DumpLine): Place | undefined {
    const { bytes } = line;
    const start = line.start(PATH);
    const end = line.end(PATH);
    const length = this.#end - this.#start;
    const nameAt = start + length;
    if (this.#directory === undefined || end <= nameAt) return undefined;
    if (end - nameAt > MAX_NAME || end - start > MAX_PATH) return undefined;
    for (let i = 0; i < length; i++) {
      if (bytes[start + i] !== bytes[this.#start + i]) return undefined;
    }
    if (bytes[nameAt] === DOT) return undefined; // it might be all of the name
    for (let at = nameAt; at < end; at++) {
      const byte = bytes[at]!;
      if (byte === SLASH || byte === BACKSLASH || byte === 0) return undefined;
    }
    return { directory: this.#directory, name: fromBytes(bytes, nameAt, end) };
  }

  /** The place of a line's entry, whose path is this one, not `/`; `undefined` if there is no such directory. */
  of(path: ByteString, line: DumpLine): Place | undefined {
    const slash = path.lastIndexOf("/");
    const directory = this.#parent(path, slash);
    if (directory === undefined) return undefined;
    if (path === line.text(PATH)) {
      this.#directory = directory;
      this.#start = line.start(PATH);
      this.#end = this.#start + slash + 1;
    }
    return { directory, name: path.slice(slash + 1) as ByteString };
  }

  /** The place that a path leads to. */
  find(path: ByteString): Place | undefined {
    const slash = path.lastIndexOf("/");
    const directory = this.#parent(path, slash);
    return directory && { directory, name: path.slice(slash + 1) as ByteString };
  }

  /** What is at a path. */
  node(path: ByteString): Node | undefined {
    if (path === "/") return this.root;
    const place = this.find(path);
    return place?.directory.entries.get(place.name);
  }

  #parent(path: ByteString, slash: number): Directory | undefined {
    return this.#directories.get((path.slice(0, slash) || "/") as ByteString);
  }
}
