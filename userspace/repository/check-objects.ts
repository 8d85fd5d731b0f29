/** Checking the objects of a repository against their names. */
import { display } from "../../src/formats/bytestring.ts";
import { sameDigest, toHex } from "../../src/formats/digest.ts";
import { AT_EMPTY_PATH, S_IFMT, S_IFREG } from "../../src/linux/constants.ts";
import type { Fd } from "../../src/linux/linux.ts";
import { describeMeasured, type Measured, measureVerity } from "../../src/linux/verity.ts";
import { DigestSet } from "../../src/model/digest-set.ts";
import { listObjects, objectDirectories, openObjectFile } from "./contents.ts";
import type { Checked, Finding } from "./finding.ts";
import { OBJECTS, objectFile } from "./layout.ts";
import type { RepositoryFiles } from "./repository.ts";

const READ_SIZE = 1 << 20;

export interface ObjectsOptions {
  /** "none": only the names are. A set: only these are. */
  readonly objects: "all" | "none" | DigestSet;
  /** Also read all data where the kernel checks it, for what is damaged on the disk since it was sealed. */
  readonly readData: boolean;
  /** Called after each of the (at most 256) directories of objects. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface CheckedObjects extends Checked {
  /** All that have a name of an object. */
  readonly present: DigestSet;
  /** The directories that could not be read, by the first byte of their objects' digests. */
  readonly unreadable: ReadonlySet<number>;
}

/** Checks every object. */
export function checkObjects(
  files: RepositoryFiles,
  { objects: which, readData, onProgress }: ObjectsOptions,
  report: (finding: Finding) => void,
): CheckedObjects {
  const present = new DigestSet(files.hash);
  const unreadable = new Set<number>();
  const count: Checked = { checked: 0, corrupted: 0 };
  const directories = objectDirectories(files);
  for (const [done, directory] of directories.entries()) {
    let listed: ReturnType<typeof listObjects>;
    try {
      listed = listObjects(files, directory);
    } catch (cause) {
      unreadable.add(Number.parseInt(directory, 16));
      report({ kind: "object-check-failed", where: `${OBJECTS}/${directory}`, cause });
      continue;
    }
    for (const { digest } of listed.objects) {
      present.add(digest);
      if (which === "none" || (which !== "all" && !which.has(digest))) continue;
      count.checked++;
      const finding = checkObject(files, digest, readData);
      if (finding === undefined) continue;
      count.corrupted++;
      report(finding);
    }
    for (const { name } of which === "none" ? [] : listed.others) {
      count.checked++;
      count.corrupted++;
      const where = `${OBJECTS}/${directory}/${display(name)}`;
      report({ kind: "object-invalid-name", where, what: `no object of ${files.hash}` });
    }
    onProgress?.(done + 1, directories.length);
  }
  return { ...count, present, unreadable };
}

/** Checks one object; with `readData` every byte, also where the kernel has the digest. */
export function checkObject(
  files: RepositoryFiles,
  digest: Uint8Array,
  readData: boolean,
): Finding | undefined {
  const { linux } = files.platform;
  const place = { where: objectFile(digest), object: digest };
  let fd: Fd | undefined;
  try {
    fd = openObjectFile(files, digest);
    if (fd === undefined) return { kind: "object-open-failed", ...place, what: "there is none" };
    if ((linux.statx(fd, "", AT_EMPTY_PATH).mode & S_IFMT) !== S_IFREG) {
      return { kind: "object-open-failed", ...place, what: "it is no regular file" };
    }
  } catch (cause) {
    return { kind: "object-open-failed", ...place, cause };
  }
  try {
    const wrong = checkContent(files, fd, digest, readData);
    return wrong === undefined ? undefined : { ...wrong, ...place };
  } catch (cause) {
    return { kind: "object-verity-failed", ...place, cause };
  } finally {
    linux.close(fd);
  }
}

type Wrong = Pick<Finding, "kind" | "what" | "cause">;

/** Throws where the content cannot be read. */
function checkContent(
  files: RepositoryFiles,
  fd: Fd,
  digest: Uint8Array,
  readData: boolean,
): Wrong | undefined {
  let measured: Measured | undefined;
  let cause: unknown;
  try {
    measured = measureVerity(files.platform.linux, fd, files.hash);
  } catch (error) {
    cause = error;
  }
  let actual: Uint8Array;
  if (measured?.state === "verity") {
    actual = readData ? hashFile(files, fd) : measured.digest;
  } else if (files.secure) {
    const what = measured === undefined ? {} : { what: describeMeasured(measured) };
    return { kind: "object-verity-missing", ...what, cause };
  } else {
    actual = hashFile(files, fd);
  }
  if (sameDigest(actual, digest)) return undefined;
  return { kind: "object-digest-mismatch", what: `its fs-verity digest is ${toHex(actual)}` };
}

let buffer: Uint8Array | undefined;

function hashFile({ platform, hash }: RepositoryFiles, fd: Fd): Uint8Array {
  buffer ??= new Uint8Array(READ_SIZE);
  const digester = platform.digester(hash);
  for (let at = 0; ; ) {
    const count = platform.linux.read(fd, buffer, at);
    if (count === 0) return digester.digest();
    digester.update(buffer.subarray(0, count));
    at += count;
  }
}
