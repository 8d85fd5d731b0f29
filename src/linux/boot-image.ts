/** Finding the image to boot in a repository, and checking that it is the one that was asked for. */
import { fromBytes, toText } from "../formats/bytestring.ts";
import type { ComposefsArgument } from "../formats/cmdline.ts";
import { hashOfHexLength, toHex } from "../formats/digest.ts";
import { parseMetadata } from "../formats/meta-json.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  RESOLVE_BENEATH,
  S_IFMT,
  S_IFREG,
} from "./constants.ts";
import { readAll } from "./files.ts";
import { HintedError } from "./hint.ts";
import { type Fd, isErrno, type Linux } from "./linux.ts";
import { measureVerity } from "./verity.ts";

export interface BootImage {
  /** The argument that named it. */
  readonly argument: ComposefsArgument;
  /** The image, open for reading, measured unless the argument has a `?`. */
  readonly fd: Fd;
  /** The repository's `objects`. */
  readonly objects: Fd;
}

const MAX_METADATA = 1 << 20;
/** How many of the images that there are a message names. */
const MAX_NAMED = 8;

/**
 * Opens the first of `candidates` that the repository `composefs` below `sysroot` (called `sysrootPath` in messages)
 * has. Only "no such image" moves on to the next one: an image that fails its check stops the boot. Nothing is written,
 * and a repository without `meta.json` will do.
 */
export function findBootImage(
  linux: Linux,
  sysroot: Fd,
  sysrootPath: string,
  candidates: readonly ComposefsArgument[],
): BootImage {
  const path = `${sysrootPath.replace(/\/+$/, "")}/composefs`;
  const repository = openRepository(linux, sysroot, path);
  try {
    checkMetadata(linux, repository, path);
    for (const argument of candidates) {
      const fd = openImage(linux, repository, argument.digest);
      if (fd === undefined) continue;
      try {
        if (!argument.insecure) checkDigest(linux, fd, argument, path);
        return { argument, fd, objects: openBeneath(linux, repository, "objects", O_PATH) };
      } catch (cause) {
        linux.close(fd);
        throw new Error(`image of ${argument.text}`, { cause });
      }
    }
    throw notFound(linux, repository, path, candidates);
  } finally {
    linux.close(repository);
  }
}

function openRepository(linux: Linux, sysroot: Fd, path: string): Fd {
  try {
    return openBeneath(linux, sysroot, "composefs", O_PATH | O_DIRECTORY);
  } catch (cause) {
    const hint = "root= must name the file system that holds the directory composefs";
    throw new HintedError(`no composefs repository ${path}`, hint, { cause });
  }
}

function openBeneath(linux: Linux, dirfd: Fd, path: string, flags: number): Fd {
  return linux.openat2(dirfd, path, { flags: flags | O_CLOEXEC, resolve: RESOLVE_BENEATH });
}

/** Refuses a repository of a kind that this program does not know. */
function checkMetadata(linux: Linux, repository: Fd, path: string): void {
  let fd: Fd;
  try {
    fd = openBeneath(linux, repository, "meta.json", O_RDONLY | O_NONBLOCK);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return;
    throw new Error(`open ${path}/meta.json`, { cause: error });
  }
  try {
    const text = toText(fromBytes(readAll(linux, fd, MAX_METADATA)));
    if (text === undefined) throw new Error("not UTF-8");
    parseMetadata(text);
  } catch (cause) {
    throw new Error(`${path}/meta.json`, { cause });
  } finally {
    linux.close(fd);
  }
}

/** The image of this name; `undefined` if there is none, or if its link leads nowhere. */
function openImage(linux: Linux, repository: Fd, digest: string): Fd | undefined {
  const path = `images/${digest}`;
  let fd: Fd;
  try {
    // O_NONBLOCK: what should be a file might be a FIFO.
    fd = openBeneath(linux, repository, path, O_RDONLY | O_NONBLOCK);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw new Error(`open image ${digest}`, { cause: error });
  }
  if ((linux.statx(fd, "", AT_EMPTY_PATH).mode & S_IFMT) === S_IFREG) return fd;
  linux.close(fd);
  throw new Error(`image ${digest} is not a regular file`);
}

function checkDigest(linux: Linux, fd: Fd, argument: ComposefsArgument, path: string): void {
  const { digest, hash } = argument;
  const insecure = "or boot without any verification: put ? after the =";
  const measured = measureVerity(linux, fd, hash);
  switch (measured.state) {
    case "verity": {
      const found = toHex(measured.digest);
      if (found === digest) return;
      throw new Error(`wrong image: its fs-verity digest is ${found}, expected ${digest}`);
    }
    case "none":
      throw new HintedError(
        `the image has no fs-verity: ${path}/images/${digest}`,
        `seal the repository (cfsboot repo seal), ${insecure}`,
      );
    case "other-algorithm":
      throw new Error(
        `wrong image: its fs-verity digest has another hash (algorithm ${measured.algorithm}), expected ${hash} ${digest}`,
      );
    case "unsupported":
      if (kernelLacksVerity(linux)) {
        throw new HintedError(
          "fs-verity is required, but this kernel has none",
          `boot a kernel with CONFIG_FS_VERITY, ${insecure}`,
        );
      }
      throw new HintedError(
        `fs-verity is required, but the file system of ${path} (or this kernel) has none`,
        `turn it on (ext4: tune2fs -O verity) and seal the repository, ${insecure}`,
      );
  }
}

/** ext4 says in sysfs whether the kernel has fs-verity. Where there is no ext4, nobody says. */
function kernelLacksVerity(linux: Linux): boolean {
  const exists = (path: string) => {
    try {
      linux.statx(AT_FDCWD, path, 0);
      return true;
    } catch {
      return false;
    }
  };
  return exists("/sys/fs/ext4/features") && !exists("/sys/fs/ext4/features/verity");
}

function notFound(
  linux: Linux,
  repository: Fd,
  path: string,
  candidates: readonly ComposefsArgument[],
): Error {
  const there = imageNames(linux, repository);
  const tried = candidates.map((argument) => {
    const dangling = there.includes(argument.digest);
    return dangling ? `${argument.text} (its link is there, its object is not)` : argument.text;
  });
  const named = there.slice(0, MAX_NAMED).join(" ");
  const more = there.length > MAX_NAMED ? ` and ${there.length - MAX_NAMED} more` : "";
  return new HintedError(
    `no such image in ${path}: ${tried.join(", ")}`,
    there.length === 0 ? "there are no images at all" : `images there: ${named}${more}`,
  );
}

/** The names below `images` that are digests. */
function imageNames(linux: Linux, repository: Fd): string[] {
  try {
    const fd = openBeneath(linux, repository, "images", O_RDONLY | O_DIRECTORY);
    try {
      return linux
        .readdir(fd)
        .map((entry) => entry.name as string)
        .filter((name) => /^[0-9a-f]+$/.test(name) && hashOfHexLength(name.length) !== undefined)
        .sort();
    } finally {
      linux.close(fd);
    }
  } catch {
    return [];
  }
}
