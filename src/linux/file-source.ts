/** Files of any size of which only parts are read. */
import { type ByteSource, lengthOf } from "../formats/byte-source.ts";
import type { Fd, Linux } from "./linux.ts";

/** An open file of this size, in bytes. Errors are those of `read`. */
export function fileSource(linux: Linux, fd: Fd, size: number): ByteSource {
  return {
    size,
    read(range) {
      const buffer = new Uint8Array(lengthOf(range));
      let have = 0;
      for (let n = 1; n > 0 && have < buffer.length; have += n) {
        n = linux.read(fd, buffer.subarray(have), range.start + have);
      }
      return buffer.subarray(0, have);
    },
  };
}
