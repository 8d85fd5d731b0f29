/** Which of an image's objects a directory does not have. */
import { type ByteString, toBytes } from "../../src/formats/bytestring.ts";
import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_PATH } from "../../src/linux/constants.ts";
import { isErrno } from "../../src/linux/linux.ts";

/** Of the paths below `basedir` those where nothing is; without `basedir`, all. */
export async function missingPaths(
  paths: readonly ByteString[],
  basedir: string | undefined,
): Promise<ByteString[]> {
  if (basedir === undefined) return [...paths];
  const { linux } = await import("../linux.ts");
  const directory = linux.openat(AT_FDCWD, basedir, O_PATH | O_DIRECTORY | O_CLOEXEC);
  try {
    return paths.filter((path) => {
      try {
        linux.statx(directory, toBytes(path), 0);
        return false;
      } catch (error) {
        if (isErrno(error, "ENOENT", "ENOTDIR")) return true;
        throw error;
      }
    });
  } finally {
    linux.close(directory);
  }
}
