/** Reads what an initramfs holds, as the kernel unpacks it: archives as they are (microcode), then compressed ones. */
import { CpioScanner } from "../src/formats/cpio.ts";
import { type InitramfsContent, InitramfsFinder } from "../src/model/initramfs-content.ts";
import { unpack } from "./unpack.ts";

/** In bytes, of all archives when they are decompressed. */
const MAX_UNPACKED = 2 ** 31;

/** What it holds. Throws, naming an offset, where the kernel could not unpack it. */
export function readInitramfs(data: Uint8Array): InitramfsContent {
  const finder = new InitramfsFinder();
  const scan = () => new CpioScanner((entry) => finder.add(entry));
  const plain = scan();
  const start = plain.push(data);
  if (start === data.length) {
    if (!plain.seen) throw new Error("there is no archive in it");
    plain.end();
    return finder.content;
  }
  try {
    readCompressed(data.subarray(start), scan());
  } catch (error) {
    throw new Error(`offset ${start}`, { cause: error });
  }
  return finder.content;
}

function readCompressed(data: Uint8Array, scanner: CpioScanner): void {
  let size = 0;
  for (const piece of unpack(data)) {
    size += piece.length;
    if (size > MAX_UNPACKED) throw new Error(`more than ${MAX_UNPACKED} bytes`);
    if (scanner.push(piece) < piece.length)
      throw new Error("what is compressed is no cpio archive");
  }
  if (!scanner.seen) throw new Error("there is no archive in it");
  scanner.end();
}
