/**
 * Names of what is written beside what it is to replace: `NAME.cfsboot-tmp`, with a number behind that where one has to stay
 * (see `discard`).
 */
import { toText } from "../../src/formats/bytestring.ts";
import { exists, numberedTemporary, TEMPORARY } from "../../src/linux/directories.ts";
import type { Fd, Linux } from "../../src/linux/linux.ts";

/** A name for what is to be called `name` that nothing has yet. */
export function temporaryName(linux: Linux, directory: Fd, name: string): string {
  for (let number = 0; ; number++) {
    const temporary = numberedTemporary(name, number);
    if (!exists(linux, directory, temporary)) return temporary;
  }
}

/** What writes that did not come to their end have left: the names beside what was to get a name that is `ours`. */
export function temporaryNames(
  linux: Linux,
  directory: Fd,
  ours: (name: string) => boolean,
): string[] {
  return linux.readdir(directory).flatMap((entry) => {
    const name = toText(entry.name) ?? "";
    const end = name.lastIndexOf(TEMPORARY);
    if (end < 0 || !/^\d*$/.test(name.slice(end + TEMPORARY.length))) return [];
    return ours(name.slice(0, end)) ? [name] : [];
  });
}
