/** Content of an image's files, read from the repository. What is not what the image's digest stands for is an error. */
import { type ByteSource, lengthOf, sourceOf } from "../../src/formats/byte-source.ts";
import { toHex } from "../../src/formats/digest.ts";
import { fileSource } from "../../src/linux/file-source.ts";
import type { RegularContent } from "../../src/model/boot-resources.ts";
import type { Repository } from "../repository/repository.ts";

const CHUNK = 1 << 20;

/** Size in bytes. */
export function contentSize(content: RegularContent): number {
  return content.type === "inline" ? content.data.length : content.size;
}

/** All bytes of a file of at most `limit` bytes. */
export function readContent(
  repository: Repository,
  content: RegularContent,
  limit: number,
): Uint8Array {
  if (contentSize(content) > limit) throw new Error(`larger than ${limit} bytes`);
  if (content.type === "inline") return content.data;
  if (content.type === "sparse") return new Uint8Array(content.size);
  return repository.readObject(content.digest, limit);
}

/**
 * The bytes of a file in pieces; each one is only good until the next is asked for. Their fs-verity digest is computed on
 * the way, whatever the kernel has measured: a wrong one is an error after the last piece.
 */
export function* contentChunks(
  repository: Repository,
  content: RegularContent,
): Generator<Uint8Array> {
  if (content.type === "inline") {
    yield content.data;
    return;
  }
  const buffer = new Uint8Array(CHUNK);
  if (content.type === "sparse") {
    for (let left = content.size; left > 0; left -= CHUNK) {
      yield buffer.subarray(0, Math.min(left, CHUNK));
    }
    return;
  }
  const { platform, hash } = repository.files;
  const { linux } = platform;
  const digester = platform.digester(hash);
  const fd = repository.openObject(content.digest);
  try {
    for (let n = linux.read(fd, buffer); n > 0; n = linux.read(fd, buffer)) {
      const chunk = buffer.subarray(0, n);
      digester.update(chunk);
      yield chunk;
    }
  } finally {
    linux.close(fd);
  }
  const found = toHex(digester.digest());
  const wanted = toHex(content.digest);
  if (found !== wanted) {
    throw new Error(`object ${wanted} is damaged: its fs-verity digest is ${found}`);
  }
}

/** A file of which only parts are read. Whether they are what the image's digest stands for is not checked. */
export function contentSource(repository: Repository, content: RegularContent): ByteSource {
  if (content.type === "inline") return sourceOf(content.data);
  const { size } = content;
  if (content.type === "sparse") return { size, read: (range) => new Uint8Array(lengthOf(range)) };
  const { linux } = repository.files.platform;
  return {
    size,
    read(range) {
      const fd = repository.openObject(content.digest);
      try {
        return fileSource(linux, fd, size).read(range);
      } finally {
        linux.close(fd);
      }
    },
  };
}
