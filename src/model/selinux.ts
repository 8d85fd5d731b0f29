/** SELinux labels of a bootable image's tree. */
import { ascii, type ByteString, fromBytes } from "../formats/bytestring.ts";
import { forEachStat } from "./stats.ts";
import type { Directory, LeafContent, Tree } from "./tree.ts";

/** Content of a regular file; `path` is for messages. */
export type ReadContent = (content: LeafContent, path: string) => Uint8Array;

const XATTR = ascii("security.selinux");
const CONFIG = "/etc/selinux/config";

/**
 * Labels the tree as its own policy says, or removes all labels if it has no policy.
 *
 * Policies are not applied yet: a tree that has one is an error, as an image without the labels would have another digest
 * than the one that other tools compute.
 */
export function relabel(tree: Tree, read: ReadContent): void {
  const policy = policyName(tree, read);
  if (policy !== undefined) {
    throw new Error(
      `SELinux labels are not supported yet: ${CONFIG} of the image names the policy "${policy}"`,
    );
  }
  forEachStat(tree, (stat) => stat.xattrs.delete(XATTR));
}

/** Name of the tree's policy; `undefined` if it has none. */
function policyName(tree: Tree, read: ReadContent): ByteString | undefined {
  let directory: Directory = tree;
  for (const name of ["etc", "selinux"]) {
    const node = directory.entries.get(ascii(name));
    if (node === undefined) return undefined;
    if (node.type !== "directory") throw new Error(`${CONFIG}: "${name}" is not a directory`);
    directory = node;
  }
  const config = directory.entries.get(ascii("config"));
  if (config === undefined) return undefined;
  const content = config.type === "leaf" ? config.content : undefined;
  if (content?.type !== "inline" && content?.type !== "external") {
    throw new Error(`${CONFIG}: expected a regular file`);
  }
  for (const line of fromBytes(read(content, CONFIG)).split("\n")) {
    const setting = /^\s*selinuxtype\s*=(.*)$/is.exec(line);
    if (setting !== null) return setting[1]!.trim() as ByteString;
  }
  return undefined;
}
