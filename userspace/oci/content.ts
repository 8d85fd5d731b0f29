/** The bytes that a stream stands for, put together from its pieces and objects. */
import type { Splitstream } from "../../src/formats/splitstream.ts";
import type { Repository } from "../repository/repository.ts";

const PIECE = 1 << 18;

/** The bytes in pieces of a size that suits pipes and files. They are unchecked where the kernel does not check objects. */
export function* streamContent(
  repository: Repository,
  stream: Splitstream,
): Generator<Uint8Array, void, undefined> {
  const { linux } = repository.files.platform;
  let buffer = new Uint8Array(PIECE);
  let length = 0;
  for (const chunk of stream.chunks()) {
    if (chunk.type === "inline") {
      for (let at = 0; at < chunk.data.length; ) {
        const part = chunk.data.subarray(at, at + buffer.length - length);
        buffer.set(part, length);
        at += part.length;
        length += part.length;
        if (length < buffer.length) continue;
        yield buffer;
        buffer = new Uint8Array(PIECE);
        length = 0;
      }
      continue;
    }
    const fd = repository.openObject(chunk.digest);
    try {
      for (;;) {
        const count = linux.read(fd, buffer.subarray(length));
        if (count === 0) break;
        length += count;
        if (length < buffer.length) continue;
        yield buffer;
        buffer = new Uint8Array(PIECE);
        length = 0;
      }
    } finally {
      linux.close(fd);
    }
  }
  if (length > 0) yield buffer.subarray(0, length);
}
