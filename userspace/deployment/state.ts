/** State directories of deployments: `/etc`, the link to the shared `/var`, and the origin file. */
import { fromBytes, fromText, toBytes, toText } from "../../src/formats/bytestring.ts";
import { hashOfHexLength } from "../../src/formats/digest.ts";
import { formatOrigin, type Origin, parseOrigin } from "../../src/formats/origin.ts";
import { DT_DIR } from "../../src/linux/constants.ts";
import {
  exists,
  ifThere,
  replaceFile,
  TEMPORARY,
  withDirectory,
} from "../../src/linux/directories.ts";
import { readFile } from "../../src/linux/files.ts";
import { type Fd, isErrno, type Linux } from "../../src/linux/linux.ts";
import type { StateDirectory } from "../../src/model/deployments.ts";
import { removeEtc } from "./etc/remove.ts";
import { DEPLOY, type Host } from "./host.ts";

const MAX_ORIGIN = 1 << 16;
const ORIGIN_MODE = 0o644;

/** The name of an origin file in its directory. */
export function originName(id: string): string {
  return `${id}.origin`;
}

/** All state directories, sorted by id. */
export function readStates({ linux, sysroot }: Pick<Host, "linux" | "sysroot">): StateDirectory[] {
  const ids = ifThere(() =>
    withDirectory(linux, sysroot, DEPLOY, (directory) =>
      linux.readdir(directory).flatMap(({ name, type }) => {
        const id = toText(name);
        return id !== undefined && type === DT_DIR && isId(id) ? [id] : [];
      }),
    ),
  );
  return (ids ?? []).sort().map((id) => readState(linux, sysroot, id));
}

function isId(name: string): boolean {
  return /^[0-9a-f]+$/.test(name) && hashOfHexLength(name.length) !== undefined;
}

/** The state directory of a deployment, which must be there. */
export function readState(linux: Linux, sysroot: Fd, id: string): StateDirectory {
  return withDirectory(linux, sysroot, `${DEPLOY}/${id}`, (directory) => {
    const problems: string[] = [];
    for (const name of ["etc", "var"]) {
      if (!exists(linux, directory, name)) problems.push(`its state has no ${name}`);
    }
    const name = originName(id);
    const before = problems.length;
    let origin: Origin | undefined;
    try {
      const text = toText(fromBytes(readFile(linux, directory, name, MAX_ORIGIN)));
      if (text === undefined) problems.push(`${name} is not UTF-8`);
      else origin = parseOrigin(text);
      problems.push(...(origin?.problems ?? []).map((problem) => `${name}: ${problem}`));
      // as it is when a power failure has left it empty
      if (origin?.image === undefined && problems.length === before) {
        problems.push(`${name} names no image`);
      }
    } catch (error) {
      const absent = isErrno(error, "ENOENT");
      problems.push(absent ? `it has no ${name}` : `${name}: ${(error as Error).message}`);
    }
    return { id, origin, problems };
  });
}

/** Writes a deployment's origin in place of the one that it has. */
export function writeOrigin({ linux, sysroot }: Host, id: string, origin: Origin): void {
  withDirectory(linux, sysroot, `${DEPLOY}/${id}`, (directory) => {
    const bytes = toBytes(fromText(formatOrigin(origin)));
    replaceFile(linux, directory, originName(id), bytes, ORIGIN_MODE);
  });
}

/** Removes a state directory with the `/etc` in it; false if there is none. The shared `/var` stays. */
export function removeState({ linux, sysroot }: Host, id: string): boolean {
  if (!isId(id)) throw new Error(`${id} is not a deployment's id`);
  return (
    ifThere(() =>
      withDirectory(linux, sysroot, DEPLOY, (directory) => {
        const removed = removeEtc(linux, directory, id);
        linux.fsync(directory);
        return removed;
      }),
    ) ?? false
  );
}

/** Removes state directories that never became complete. */
export function removeUnfinishedStates({ linux, sysroot }: Host): void {
  ifThere(() =>
    withDirectory(linux, sysroot, DEPLOY, (directory) => {
      for (const { name } of linux.readdir(directory)) {
        const text = toText(name);
        if (text?.endsWith(TEMPORARY) && isId(text.slice(0, -TEMPORARY.length))) {
          removeEtc(linux, directory, text);
        }
      }
    }),
  );
}
