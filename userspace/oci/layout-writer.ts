/** Writing images into an image layout directory (OCI image specification, image-layout). */
import { mkdirSync } from "node:fs";
import { fromText, toBytes } from "../../src/formats/bytestring.ts";
import { parseJson } from "../../src/formats/json-document.ts";
import { MAX_MANIFEST, MEDIA_TYPES, parseIndex, TAG_ANNOTATION } from "../../src/formats/oci.ts";
import {
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  LOCK_EX,
  O_CLOEXEC,
  O_DIRECTORY,
  O_RDONLY,
} from "../../src/linux/constants.ts";
import { readFile, writeAll } from "../../src/linux/files.ts";
import { type Fd, isErrno, type Linux } from "../../src/linux/linux.ts";
import { makeDirectory, readDirectory, syncDirectory } from "../repository/links.ts";
import { TemporaryFile } from "../repository/temporary-file.ts";
import type { Destination, OutgoingBlob, OutgoingManifest } from "./destination.ts";
import type { LayoutReference } from "./reference.ts";
import { type BlobDescriptor, verified } from "./transport.ts";

const LAYOUT_FILE = "oci-layout";
const INDEX_FILE = "index.json";
const BLOBS = "blobs/sha256";
const TEMPORARY_PREFIX = ".cfsboot-";
const FILE_MODE = 0o644;

/**
 * Opens a layout for writing; makes it if there is none. Throws if the directory has other content.
 *
 * Order of writes: blobs, each with its name when it is complete; the manifest; sync of the file system; the index, in
 * place of the old one. So at any time the index names what is there.
 */
export function openLayoutDestination(linux: Linux, reference: LayoutReference): Destination {
  const { directory } = reference;
  mkdirSync(directory, { recursive: true });
  const root = linux.openat(AT_FDCWD, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  try {
    prepare(linux, root, directory);
  } catch (error) {
    linux.close(root);
    throw error;
  }
  return new LayoutDestination(linux, root, reference);
}

function prepare(linux: Linux, root: Fd, directory: string): void {
  const text = readIfThere(linux, root, LAYOUT_FILE);
  if (text === undefined) {
    const entries = readDirectory(linux, root, ".").filter(({ name }) => !name.startsWith("."));
    if (entries.length > 0) {
      throw new Error(`${directory} is no image layout, and it is not empty`);
    }
    const content = toBytes(fromText('{"imageLayoutVersion":"1.0.0"}'));
    writeFile(linux, root, LAYOUT_FILE, content);
  } else {
    const layout = parseJson(text, `${directory}/${LAYOUT_FILE}`, MAX_MANIFEST);
    if (!layout.string("imageLayoutVersion").startsWith("1.")) {
      layout.fail("imageLayoutVersion", "expected 1.0.0");
    }
  }
  makeDirectory(linux, root, "blobs");
  makeDirectory(linux, root, BLOBS);
}

class LayoutDestination implements Destination {
  readonly scratch: Fd;
  readonly #linux: Linux;
  readonly #reference: LayoutReference;

  /** Takes over `root`. */
  constructor(linux: Linux, root: Fd, reference: LayoutReference) {
    this.scratch = root;
    this.#linux = linux;
    this.#reference = reference;
  }

  async close(): Promise<void> {
    this.#linux.close(this.scratch);
  }

  async obtain({ digest, size }: BlobDescriptor): Promise<boolean> {
    try {
      return this.#linux.statx(this.scratch, blobPath(digest), AT_SYMLINK_NOFOLLOW).size === size;
    } catch (error) {
      if (isErrno(error, "ENOENT")) return false;
      throw error;
    }
  }

  async putBlob(blob: OutgoingBlob, signal?: AbortSignal): Promise<void> {
    if (blob.file !== undefined) {
      place(blob.file, this.scratch, blobPath(blob.digest));
      return;
    }
    const file = new TemporaryFile(this.#linux, this.scratch, TEMPORARY_PREFIX, FILE_MODE);
    try {
      for await (const chunk of verified(blob.read(0), blob)) {
        signal?.throwIfAborted();
        writeAll(this.#linux, file.fd, chunk);
      }
      place(file, this.scratch, blobPath(blob.digest));
    } finally {
      file.discard();
    }
  }

  async putManifest(manifest: OutgoingManifest): Promise<void> {
    const { scratch: root } = this;
    writeFile(this.#linux, root, blobPath(manifest.digest), manifest.bytes);
    this.#linux.syncfs(root);
    // Of two that add to the index at once, none is lost.
    const lock = this.#linux.openat(root, LAYOUT_FILE, O_RDONLY | O_CLOEXEC);
    try {
      this.#linux.flock(lock, LOCK_EX);
      const path = `${this.#reference.directory}/${INDEX_FILE}`;
      const index = readIfThere(this.#linux, root, INDEX_FILE);
      writeFile(
        this.#linux,
        root,
        INDEX_FILE,
        addToIndex(index, path, manifest, this.#reference.tag),
      );
      syncDirectory(this.#linux, root, ".");
    } finally {
      this.#linux.close(lock);
    }
  }
}

/** An index with one more manifest, in place of what had the tag. The other entries stay as they are. */
function addToIndex(
  index: Uint8Array | undefined,
  path: string,
  { mediaType, digest, size, artifactType }: OutgoingManifest,
  tag: string | undefined,
): Uint8Array {
  const entry = {
    mediaType,
    digest,
    size,
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(tag === undefined ? {} : { annotations: { [TAG_ANNOTATION]: tag } }),
  };
  if (index === undefined) {
    const document = { schemaVersion: 2, mediaType: MEDIA_TYPES.index, manifests: [entry] };
    return encode(document);
  }
  parseIndex(index, path);
  const document = parseJson(index, path, MAX_MANIFEST);
  const others = document.objects("manifests").filter((other) => {
    const otherTag = other.stringMap("annotations").get(TAG_ANNOTATION);
    if (otherTag !== undefined) return otherTag !== tag;
    return other.string("digest") !== digest; // without a name it is listed once
  });
  const named = others.some((other) => other.string("digest") === digest);
  const manifests = others.map(({ value }) => value);
  if (tag !== undefined || !named) manifests.push(entry);
  return encode({ ...document.value, manifests });
}

function encode(document: object): Uint8Array {
  const bytes = toBytes(fromText(JSON.stringify(document)));
  if (bytes.length > MAX_MANIFEST) throw new Error(`index of more than ${MAX_MANIFEST} bytes`);
  return bytes;
}

function blobPath(digest: string): string {
  return `${BLOBS}/${digest.slice("sha256:".length)}`;
}

/** Gives a complete file its name, in place of what may have it. */
function place(file: TemporaryFile, root: Fd, path: string): void {
  if (!file.publish(root, path)) file.replace(root, path);
}

function writeFile(linux: Linux, root: Fd, path: string, bytes: Uint8Array): void {
  const file = new TemporaryFile(linux, root, TEMPORARY_PREFIX, FILE_MODE);
  try {
    writeAll(linux, file.fd, bytes);
    linux.fsync(file.fd);
    place(file, root, path);
  } finally {
    file.discard();
  }
}

function readIfThere(linux: Linux, root: Fd, path: string): Uint8Array | undefined {
  try {
    return readFile(linux, root, path, MAX_MANIFEST);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}
