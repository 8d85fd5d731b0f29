/** A layer on its way into the repository. */
import { createHash } from "node:crypto";
import { Crc64, formatCrc64 } from "../../src/formats/crc64.ts";
import { sameDigest, toHex } from "../../src/formats/digest.ts";
import { CONTENT_TYPES } from "../../src/formats/splitstream.ts";
import { SplitstreamWriter } from "../../src/formats/splitstream-writer.ts";
import { TarSplitter } from "../../src/formats/tar/splitter.ts";
import { AT_EMPTY_PATH } from "../../src/linux/constants.ts";
import type { Fd } from "../../src/linux/linux.ts";
import { isProblem } from "../repository/errors.ts";
import { readContent } from "../repository/file-content.ts";
import type { ObjectWriter, Repository, StoredObject } from "../repository/repository.ts";
import { zstd } from "../zstd.ts";
import type { BodyObject } from "./archive-pieces.ts";

/** What an import put into the repository. */
export interface ImportStats {
  /** Objects that were not there before, and their bytes. */
  objectsStored: number;
  bytesStored: number;
  /** Objects that were there already, and their bytes. */
  objectsExisting: number;
  bytesExisting: number;
  /** Bytes of headers and small files that are kept in splitstreams. */
  bytesInline: number;
  /** Of the objects that were stored: files of this machine that share their blocks with others. */
  objectsReflinked: number;
  /** And those that are other names of files of this machine. */
  objectsHardlinked: number;
}

export function noStats(): ImportStats {
  return {
    objectsStored: 0,
    bytesStored: 0,
    objectsExisting: 0,
    bytesExisting: 0,
    bytesInline: 0,
    objectsReflinked: 0,
    objectsHardlinked: 0,
  };
}

export function addStats(to: ImportStats, more: ImportStats): void {
  for (const key of Object.keys(to) as (keyof ImportStats)[]) to[key] += more[key];
}

/** The name of a layer's stream. `diffId` is the digest of the uncompressed tar; of an artifact's layer, that of the blob. */
export function layerContentId(diffId: string): string {
  return `oci-layer-${diffId}`;
}

/** Its name where an artifact, whose blob is the same tar, was first and has a stream of another kind by that name. */
function tarContentId(diffId: string): string {
  return `${layerContentId(diffId)}.tar`;
}

/**
 * The stream of a layer, if it is there. A container image's is one of a tar; for an artifact, `asIs`, any stream will do
 * that stands for the bytes.
 */
export function findLayer(
  repository: Repository,
  diffId: string,
  asIs: boolean,
): Uint8Array | undefined {
  const stream = repository.streamObject(layerContentId(diffId));
  if (stream !== undefined && (asIs || !isBlob(repository, stream))) return stream;
  return asIs ? undefined : repository.streamObject(tarContentId(diffId));
}

function isBlob(repository: Repository, stream: Uint8Array): boolean {
  try {
    return repository.streamType(stream) === CONTENT_TYPES["oci-blob"];
  } catch (error) {
    if (isProblem(error, "corrupt")) return false; // who reads all of it says so
    throw error;
  }
}

/**
 * The uncompressed tar of a layer, written in pieces of any size: bodies of files become objects, all else a splitstream.
 *
 * Nothing refers to the objects until `finish` has seen that the bytes are those that the diff_id stands for. Synchronous,
 * and bound to nothing but the repository.
 */
export class LayerImport {
  readonly stats = noStats();
  readonly #repository: Repository;
  readonly #diffId: string;
  readonly #hash = createHash("sha256");
  readonly #stream: SplitstreamWriter;
  readonly #splitter: TarSplitter;
  #object: ObjectWriter | undefined;
  /** The external body at hand, if it is in the store already. */
  #stored: StoredObject | undefined;

  /** `diffId` is the digest that the uncompressed bytes must have. */
  constructor(repository: Repository, diffId: string) {
    this.#repository = repository;
    this.#diffId = diffId;
    this.#stream = new SplitstreamWriter(repository.hash, CONTENT_TYPES["oci-layer"], zstd);
    this.#splitter = new TarSplitter({
      inline: (bytes) => {
        this.stats.bytesInline += bytes.length;
        this.#stream.inline(bytes);
      },
      beginExternal: () => {
        this.#stored = undefined;
      },
      externalData: (chunk) => {
        this.#object ??= this.#repository.createObject();
        this.#object.write(chunk);
      },
      endExternal: () => {
        const object = this.#object;
        this.#object = undefined;
        const { digest, size, existing } = this.#stored ?? object!.finish();
        this.stats[existing ? "objectsExisting" : "objectsStored"]++;
        this.stats[existing ? "bytesExisting" : "bytesStored"] += size;
        this.#stream.external(digest, size);
      },
    });
  }

  /** Throws where the bytes are no tar, naming the offset. */
  write(chunk: Uint8Array): void {
    this.#hash.update(chunk);
    this.#splitter.push(chunk);
  }

  /**
   * Takes the next body as a whole, from an open file that nobody writes to any more. A large one gets into the store
   * without being copied, if that can be. What is hashed is what the store has then, whatever becomes of the file.
   *
   * Throws if the file is not the body: it must have its size, and the CRC-64 if there is one.
   */
  writeFile(fd: Fd, { size, crc64 }: { size: number; crc64: bigint | undefined }): void {
    const { remaining, external } = this.#splitter.body;
    if (remaining !== size)
      throw new Error(`a file of ${size} bytes where the archive has one of ${remaining}`);
    const { linux } = this.#repository.files.platform;
    const stat = linux.statx(fd, "", AT_EMPTY_PATH);
    if (stat.size !== size) throw new Error(`has ${stat.size} bytes; expected ${size}`);
    const checksum = new Crc64();
    if (!external) {
      const count = readContent(linux, fd, (piece) => {
        checksum.update(piece);
        this.write(piece);
      });
      if (count !== size) throw new Error(`has ${count} bytes; expected ${size}`);
      requireChecksum(checksum, crc64);
      return;
    }
    const stored = this.#repository.storeFile(fd, { hardlink: true });
    if (stored.size !== size) throw new Error(`has ${stored.size} bytes; expected ${size}`);
    const object = this.#repository.openObject(stored.digest);
    try {
      readContent(linux, object, (piece) => {
        checksum.update(piece);
        this.#hash.update(piece);
      });
    } finally {
      linux.close(object);
    }
    requireChecksum(checksum, crc64);
    if (stored.method === "reflinked") this.stats.objectsReflinked++;
    if (stored.method === "hardlinked") this.stats.objectsHardlinked++;
    this.#stored = stored;
    this.#splitter.skipExternal();
  }

  /**
   * Takes the next body as a whole, from an object that the store has; nothing is written. The object counts as what it
   * holds: its bytes are hashed like any others.
   *
   * Throws if the object is not there, or is damaged, or is no such body.
   */
  writeObject({ digest, size }: BodyObject): void {
    const { remaining, external } = this.#splitter.body;
    if (remaining !== size || !external)
      throw new Error(`an object of ${size} bytes where the archive has a body of ${remaining}`);
    const { platform, hash } = this.#repository.files;
    // where the kernel does not do it, its name is checked, too
    const digester = this.#repository.insecure ? platform.digester(hash) : undefined;
    const object = this.#repository.openObject(digest);
    try {
      const count = readContent(platform.linux, object, (piece) => {
        this.#hash.update(piece);
        digester?.update(piece);
      });
      if (count !== size)
        throw new Error(`object ${toHex(digest)} has ${count} bytes; expected ${size}`);
    } finally {
      platform.linux.close(object);
    }
    if (digester !== undefined && !sameDigest(digester.digest(), digest))
      throw new Error(`object ${toHex(digest)} is damaged`);
    this.#stored = { digest, size, existing: true };
    this.#splitter.skipExternal();
  }

  /**
   * Checks the digest, makes everything durable and links the layer's stream.
   *
   * Returns the digest of the stream's object: of an older one, if somebody else was faster.
   */
  finish(): Uint8Array {
    this.#splitter.end();
    const digest = `sha256:${this.#hash.digest("hex")}`;
    if (digest !== this.#diffId)
      throw new Error(
        `has the digest ${digest} when decompressed; the config states the diff_id ${this.#diffId}`,
      );
    const bytes = this.#stream.finish();
    const keep = { existing: "keep" } as const;
    const stream = this.#repository.writeStream(layerContentId(this.#diffId), bytes, keep);
    if (!isBlob(this.#repository, stream)) return stream;
    return this.#repository.writeStream(tarContentId(this.#diffId), bytes, keep);
  }

  /** Drops what is unfinished. Does nothing after `finish`. */
  abort(): void {
    this.#object?.abort();
    this.#object = undefined;
  }
}

function requireChecksum({ value }: Crc64, expected: bigint | undefined): void {
  if (expected === undefined || value === expected) return;
  throw new Error(`has the CRC-64 ${formatCrc64(value)}; expected ${formatCrc64(expected)}`);
}
