/** The `/etc` of an image, as the merge takes it. */
import { createHash } from "node:crypto";
import { ascii } from "../../src/formats/bytestring.ts";
import type { Directory, Leaf, Tree } from "../../src/formats/tree.ts";
import type { RegularContent } from "../../src/model/boot-resources.ts";
import type { EtcContent, EtcLeaf, FileContent, FoundDirectory } from "../../src/model/etc/tree.ts";
import type { Repository } from "../repository/repository.ts";
import { contentChunks, contentSize, readContent } from "./image-content.ts";

/** Larger files are not read whole. */
const MAX_READ = 256 << 20;

/** `/etc` of a tree. An image without one is an error. */
export function imageEtc(repository: Repository, tree: Tree): FoundDirectory {
  const etc = tree.entries.get(ascii("etc"));
  if (etc?.type !== "directory") throw new Error("the image has no directory /etc");
  return imageDirectory(repository, etc);
}

/** The same of any directory of a tree. */
export function imageDirectory(repository: Repository, from: Directory): FoundDirectory {
  const leaves = new Map<Leaf, EtcLeaf>();
  const leaf = (from: Leaf): EtcLeaf => {
    const known = leaves.get(from);
    if (known !== undefined) return known;
    const made: EtcLeaf = {
      type: "leaf",
      stat: from.stat,
      content: contentOf(repository, from),
    };
    leaves.set(from, made);
    return made;
  };
  const directory = (from: Directory): FoundDirectory => ({
    type: "directory",
    stat: from.stat,
    entries: new Map(
      [...from.entries].map(([name, node]) => [
        name,
        node.type === "directory" ? directory(node) : leaf(node),
      ]),
    ),
  });
  return directory(from);
}

function contentOf(repository: Repository, { content }: Leaf): EtcContent {
  switch (content.type) {
    case "inline":
    case "external":
    case "sparse":
      return { type: "file", data: fileContent(repository, content) };
    case "symlink":
      return content;
    case "chardev":
      return { type: "character device", rdev: content.rdev };
    case "blockdev":
      return { type: "block device", rdev: content.rdev };
    case "fifo":
    case "socket":
      return content;
  }
}

function fileContent(repository: Repository, content: RegularContent): FileContent {
  let digest: string | undefined;
  return {
    size: contentSize(content),
    digest() {
      if (digest === undefined) {
        const hash = createHash("sha256");
        for (const chunk of contentChunks(repository, content)) hash.update(chunk);
        digest = hash.digest("hex");
      }
      return digest;
    },
    read: () => readContent(repository, content, MAX_READ),
  };
}
