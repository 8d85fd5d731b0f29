/**
 * The archive of a layer that is kept unpacked, put together from what is left of it (tar-split) and from its files, whose
 * contents become objects without being copied, where that can be.
 */
import { type ByteString, display, toBytes } from "../../../src/formats/bytestring.ts";
import { type TarSplitEntry, TarSplitReader } from "../../../src/formats/tar-split.ts";
import {
  AT_EMPTY_PATH,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
} from "../../../src/linux/constants.ts";
import { type Fd, isErrno, type Linux } from "../../../src/linux/linux.ts";
import type { LayerImport } from "../layer.ts";

/** Where the files of an unpacked layer are. Plain data, which other threads can be sent. */
export interface LayerFiles {
  /** The directory, which somebody else keeps open. */
  readonly directory: Fd;
  /** Its name, for messages. */
  readonly path: string;
}

/**
 * Writes the archive to `layer`. `tarSplit` are the lines of its tar-split, in pieces of any size. `mount` is a descriptor
 * of the file system that the contents go to.
 *
 * Throws an error that names the file, or the line, where they do not go together: a file that is not there, has another
 * size or checksum, or is none. Names are resolved as if the layer's directory were the root: nothing leads out of it.
 */
export async function assembleLayer(
  linux: Linux,
  layer: LayerImport,
  tarSplit: AsyncIterable<Uint8Array>,
  files: LayerFiles,
  mount: Fd,
): Promise<void> {
  const directory = openOnMount(linux, files.directory, mount);
  const place = { directory: directory ?? files.directory, path: files.path };
  const reader = new TarSplitReader();
  const take = (entry: TarSplitEntry) => {
    if (entry.type === "segment") layer.write(entry.bytes);
    else if (entry.size > 0) writeFile(linux, layer, entry, place);
  };
  try {
    for await (const chunk of tarSplit) for (const entry of reader.push(chunk)) take(entry);
    for (const entry of reader.end()) take(entry);
  } catch (error) {
    if (error instanceof FileError) throw error;
    throw new Error(`tar-split of ${files.path}`, { cause: error });
  } finally {
    if (directory !== undefined) linux.close(directory);
  }
}

/**
 * The directory as it is to be reached by another mount of its file system. Those who write stores mount them over
 * themselves, and between two mounts no file can be linked. `undefined` where that is not so, or cannot be helped.
 */
function openOnMount(linux: Linux, directory: Fd, mount: Fd): Fd | undefined {
  const is = linux.statx(directory, "", AT_EMPTY_PATH);
  const wanted = linux.statx(mount, "", AT_EMPTY_PATH);
  const sameDevice = is.devMajor === wanted.devMajor && is.devMinor === wanted.devMinor;
  if (!sameDevice || is.mountId === wanted.mountId) return undefined;
  try {
    return linux.open_by_handle_at(mount, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  } catch (error) {
    // without the capability, or on a file system without handles
    if (isErrno(error, "EPERM", "EOPNOTSUPP", "ESTALE", "EACCES", "ENOSYS")) return undefined;
    throw error;
  }
}

/** Says which file it is about. */
class FileError extends Error {}

function writeFile(
  linux: Linux,
  layer: LayerImport,
  entry: Extract<TarSplitEntry, { type: "file" }>,
  files: LayerFiles,
): void {
  let fd: Fd | undefined;
  try {
    fd = openFile(linux, files.directory, entry.name);
    layer.writeFile(fd, entry);
  } catch (cause) {
    const hint = isErrno(cause, "EACCES") && linux.geteuid() !== 0 ? { hint: UNSHARE_HINT } : {};
    const name = `${files.path}/${display(entry.name).replace(/^(?:\.?\/+)+/, "")}`;
    throw Object.assign(new FileError(name, { cause }), hint);
  } finally {
    if (fd !== undefined) linux.close(fd);
  }
}

const UNSHARE_HINT =
  "files of a user's images may belong to other IDs of theirs: try it in podman unshare";

function openFile(linux: Linux, directory: Fd, name: ByteString): Fd {
  return linux.openat2(directory, toBytes(name), {
    // it may have become a pipe, which is not to be waited for
    flags: O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
    resolve: RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
  });
}
