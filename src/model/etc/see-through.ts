/** What the merge leaves out of a tree before it looks at it. */
import type { ByteString } from "../../formats/bytestring.ts";
import {
  asDirectory,
  below,
  type EtcDirectory,
  type EtcEntry,
  type FoundDirectory,
} from "./tree.ts";

/**
 * `/etc/.updated`: systemd's note of the time for which `/etc` was last brought up to date. Without it the services that
 * do so (`ConditionNeedsUpdate=`) run once more, as they shall after every merge.
 */
const UPDATED = ".updated";

export interface SeenThrough {
  readonly tree: EtcDirectory;
  /** Paths of sockets. They mean nothing without the process that listens, so they are left out. */
  readonly sockets: readonly ByteString[];
  /** Paths on which something is mounted, and what is beneath could not be seen. */
  readonly mounts: readonly ByteString[];
}

/**
 * The tree without sockets, `.updated` and mounts. A mount hides the entry beneath it: that is taken to be as in
 * `beneath` (the state that `root` comes from), where there is one.
 */
export function seeThrough(root: FoundDirectory, beneath?: EtcDirectory): SeenThrough {
  const sockets: ByteString[] = [];
  const mounts: ByteString[] = [];

  const directory = (
    found: FoundDirectory,
    path: ByteString,
    other: EtcEntry | undefined,
  ): EtcDirectory => {
    const entries = new Map<ByteString, EtcEntry>();
    for (const [name, node] of found.entries) {
      const at = below(path, name);
      if (at === UPDATED) continue;
      const hidden = asDirectory(other)?.entries.get(name);
      if (node.type === "directory") entries.set(name, directory(node, at, hidden));
      else if (node.type === "mount") {
        mounts.push(at);
        if (hidden !== undefined) entries.set(name, hidden);
      } else if (node.content.type === "socket") sockets.push(at);
      else entries.set(name, node);
    }
    return { ...found, entries };
  };

  const tree = directory(root, "" as ByteString, beneath);
  return { tree, sockets: sockets.sort(), mounts: mounts.sort() };
}
