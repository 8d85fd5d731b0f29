/** What an interrupted run can leave behind. */
import { fromText } from "../../src/formats/bytestring.ts";
import { DT_LNK, DT_REG } from "../../src/linux/constants.ts";
import type { Fd, Linux } from "../../src/linux/linux.ts";
import { OBJECTS, TEMPORARY_METADATA, TEMPORARY_OBJECT, TEMPORARY_SYMLINK } from "./layout.ts";
import { readDirectory } from "./links.ts";

const PLACES = [
  { directory: ".", prefix: TEMPORARY_SYMLINK, type: DT_LNK },
  { directory: ".", prefix: TEMPORARY_METADATA, type: DT_REG },
  { directory: OBJECTS, prefix: TEMPORARY_OBJECT, type: DT_REG },
];

/** Removes temporary files that nobody uses any more; whoever calls it must hold the exclusive lock. */
export function removeLeftovers(linux: Linux, root: Fd): void {
  for (const { directory, prefix, type } of PLACES) {
    for (const entry of readDirectory(linux, root, directory)) {
      if (entry.type === type && entry.name.startsWith(fromText(prefix))) {
        linux.unlinkat(root, `${directory}/${entry.name}`, 0);
      }
    }
  }
}
