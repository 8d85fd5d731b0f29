/**
 * Finds contents of files in a repository by their sha256, by which images name them; the repository names them by their
 * fs-verity digests. No table is kept for that: the layers that are there tell sizes and paths, and what may be meant is
 * hashed. To read it is cheaper than to fetch it again.
 */
import { createHash } from "node:crypto";
import { setImmediate as pause } from "node:timers/promises";
import { type ByteString, fromBytes, fromText } from "../../src/formats/bytestring.ts";
import { CONTENT_TYPES } from "../../src/formats/splitstream.ts";
import { readEntries } from "../../src/formats/tar/entries.ts";
import { LAYER_PREFIX } from "../repository/layout.ts";
import type { Repository } from "../repository/repository.ts";

/** Content that the repository has. */
export type LocalContent =
  | { readonly type: "object"; readonly digest: Uint8Array; readonly size: number }
  | { readonly type: "inline"; readonly data: Uint8Array };

/** What is looked for. */
export interface WantedContent {
  /** Where the image has it: the same place is the likeliest one. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
  /** `sha256:…` */
  readonly digest: string;
  /** What it costs to fetch it, in bytes. */
  readonly cost: number;
}

/** Contents that are remembered: they take memory. */
const MAX_CANDIDATES = 200_000;
/** So many bytes may be hashed in order not to fetch one. */
const HASHED_PER_BYTE = 8;
/** What it costs to open an object, in bytes that could be hashed in that time; and what a request costs, in part. */
const OPEN_COST = 32 << 10;
const REQUEST_SHARE = 4 << 10;
/** So many contents are hashed whatever they cost if their file's name, but not its place, is the same. */
const NAMESAKES = 3;
const PIECE = 1 << 18;
/** After so much others have their turn, in bytes that could be hashed in that time. */
const TURN = 1 << 23;

interface Candidate {
  readonly path: ByteString;
  readonly content: LocalContent;
}

/** Contents of one size. */
interface SizeClass {
  readonly unknown: Candidate[];
  readonly known: Map<string, LocalContent>;
  /** Bytes that may still be hashed on suspicion. */
  budget: number;
}

export class LocalContents {
  readonly #repository: Repository;
  #index: Promise<Map<number, SizeClass>> | undefined;
  /** One for all: garbage of this kind piles up before it is collected. */
  readonly #buffer = new Uint8Array(PIECE);
  /** What was hashed since others had their turn. */
  #spent = 0;

  constructor(repository: Repository) {
    this.#repository = repository;
  }

  /** Whether there is no layer, so that nothing will be found. */
  get isEmpty(): boolean {
    return !this.#repository.listStreams().some((name) => name.startsWith(LAYER_PREFIX));
  }

  /**
   * Looks for a content. What is returned had the digest when it was read here. Not everything that is there is found: only
   * what is worth it is hashed.
   */
  async find(wanted: WantedContent, signal: AbortSignal): Promise<LocalContent | undefined> {
    this.#index ??= readIndex(this.#repository, signal);
    const found = (await this.#index).get(wanted.size);
    if (found === undefined) return undefined;
    found.budget += HASHED_PER_BYTE * (wanted.cost + REQUEST_SHARE);
    const path = plainPath(fromText(wanted.name));
    const base = baseName(path);
    const unlessKnown = () => found.known.get(wanted.digest);

    const namesakes = found.unknown.filter((one) => baseName(one.path) === base);
    namesakes.sort((a, b) => Number(b.path === path) - Number(a.path === path));
    for (const one of namesakes.slice(0, NAMESAKES)) {
      if (unlessKnown() !== undefined) break;
      await this.#hash(found, one, signal);
    }
    while (unlessKnown() === undefined && found.budget >= wanted.size + OPEN_COST) {
      const one = found.unknown.at(-1);
      if (one === undefined) break;
      found.budget -= wanted.size + OPEN_COST;
      await this.#hash(found, one, signal);
    }
    return unlessKnown();
  }

  async #hash(found: SizeClass, candidate: Candidate, signal: AbortSignal): Promise<void> {
    // at once, so that nobody else hashes it as well
    const index = found.unknown.indexOf(candidate);
    if (index < 0) return;
    found.unknown.splice(index, 1);
    const hash = createHash("sha256");
    this.#spent += OPEN_COST;
    try {
      for (const piece of this.#read(candidate.content)) {
        hash.update(piece);
        this.#spent += piece.length;
        if (this.#spent < TURN) continue;
        this.#spent = 0;
        await pause();
        signal.throwIfAborted();
      }
    } catch {
      signal.throwIfAborted();
      return; // it is missing or damaged: it is no help, and no hindrance
    }
    found.known.set(`sha256:${hash.digest("hex")}`, candidate.content);
  }

  /** The bytes of a content. A piece is only good until anything is awaited. */
  *#read(content: LocalContent): Generator<Uint8Array, void, undefined> {
    if (content.type === "inline") {
      yield content.data;
      return;
    }
    const { linux } = this.#repository.files.platform;
    const fd = this.#repository.openObject(content.digest);
    try {
      for (let at = 0; ; ) {
        const count = linux.read(fd, this.#buffer, at);
        if (count === 0) break;
        yield this.#buffer.subarray(0, count);
        at += count;
      }
    } finally {
      linux.close(fd);
    }
  }
}

/** The contents of all layers, each once. */
async function readIndex(
  repository: Repository,
  signal: AbortSignal,
): Promise<Map<number, SizeClass>> {
  const index = new Map<number, SizeClass>();
  const seen = new Set<string>();
  const add = (path: ByteString, size: number, id: ByteString, content: () => LocalContent) => {
    const key = `${size} ${id}`;
    if (seen.has(key)) return;
    seen.add(key);
    let found = index.get(size);
    if (found === undefined) {
      found = { unknown: [], known: new Map(), budget: 0 };
      index.set(size, found);
    }
    found.unknown.push({ path: plainPath(path), content: content() });
  };
  for (const name of repository.listStreams()) {
    if (!name.startsWith(LAYER_PREFIX)) continue;
    if (seen.size >= MAX_CANDIDATES) break;
    try {
      const stream = repository.readStream(name, CONTENT_TYPES["oci-layer"]);
      for (const { path, item } of readEntries(stream.chunks())) {
        if (item.type === "external") {
          const { digest, size } = item;
          add(path, size, fromBytes(digest), () => ({
            type: "object",
            digest: digest.slice(),
            size,
          }));
        } else if (item.type === "inline" && item.data.length > 0) {
          const { data } = item;
          add(path, data.length, fromBytes(data), () => ({ type: "inline", data: data.slice() }));
        }
      }
    } catch {} // an artifact's, or damaged: others will do
    await pause();
    signal.throwIfAborted();
  }
  return index;
}

/** Without what archives begin their names with. */
function plainPath(path: ByteString): ByteString {
  return path.replace(/^(?:\.?\/)+/, "") as ByteString;
}

function baseName(path: ByteString): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
