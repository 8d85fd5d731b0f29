/** The SELinux policy that a tree holds. */
import { ascii, type ByteString, display } from "../../formats/bytestring.ts";
import {
  type FileContext,
  parseFileContexts,
  parseSelinuxConfig,
  parseSubstitutions,
} from "../../formats/file-contexts.ts";
import type { Directory, LeafContent, Tree } from "../tree.ts";
import { Labels } from "./labels.ts";

/** Content of a regular file; `path` is for messages. */
export type ReadContent = (content: LeafContent, path: string) => Uint8Array;

/** The order counts: of several lines that match, the last one does. */
const CONTEXTS = ["file_contexts", "file_contexts.local", "file_contexts.homedirs"] as const;
/** The order counts: of several lines about a path, the last one does. */
const SUBSTITUTIONS = ["file_contexts.subs", "file_contexts.subs_dist"] as const;

/** The labels that the tree's own policy gives; `undefined` if it has no policy. Errors name the file, and the line. */
export function readPolicy(tree: Tree, read: ReadContent): Labels | undefined {
  const selinux = findDirectory(tree, "/etc/selinux");
  if (selinux === undefined) return undefined;
  const config = readFile(selinux, "/etc/selinux", "config", read);
  if (config === undefined) return undefined;
  const name = parseSelinuxConfig(config, "/etc/selinux/config");
  if (name === undefined) return undefined;

  const path = `/etc/selinux/${name}/contexts/files`;
  const directory = findDirectory(tree, path);
  if (directory === undefined) {
    const why = `the policy "${display(name)}" that /etc/selinux/config names`;
    throw new Error(`${display(ascii(path))} of ${why} does not exist`);
  }
  const lines: FileContext[] = [];
  for (const file of CONTEXTS) {
    const bytes = readFile(directory, path, file, read);
    if (bytes !== undefined) {
      for (const line of parseFileContexts(bytes, displayed(path, file))) lines.push(line);
    } else if (file === CONTEXTS[0]) {
      throw new Error(`${displayed(path, file)} does not exist`);
    }
  }
  const aliases = new Map<ByteString, ByteString>();
  for (const file of SUBSTITUTIONS) {
    const bytes = readFile(directory, path, file, read);
    if (bytes === undefined) continue;
    for (const [alias, original] of parseSubstitutions(bytes, displayed(path, file)))
      aliases.set(alias, original);
  }
  return new Labels(lines, aliases);
}

/** A directory of the tree; symbolic links are not followed. */
function findDirectory(tree: Tree, path: string): Directory | undefined {
  let directory: Directory = tree;
  for (const name of path.split("/")) {
    if (name === "") continue;
    const fail = (why: string) =>
      new Error(`${display(ascii(path))}: "${display(ascii(name))}" ${why}`);
    if (name === "." || name === "..") throw fail("does not name a directory");
    const node = directory.entries.get(ascii(name));
    if (node === undefined) return undefined;
    if (node.type !== "directory") throw fail("is not a directory");
    directory = node;
  }
  return directory;
}

function displayed(path: string, name: string): string {
  return display(ascii(`${path}/${name}`));
}

function readFile(
  directory: Directory,
  path: string,
  name: string,
  read: ReadContent,
): Uint8Array | undefined {
  const node = directory.entries.get(ascii(name));
  if (node === undefined) return undefined;
  const full = displayed(path, name);
  const content = node.type === "leaf" ? node.content : undefined;
  switch (content?.type) {
    case "inline":
    case "external":
      return read(content, full);
    // What has no content counts as not there.
    case "sparse":
      return undefined;
    default:
      throw new Error(`${full}: expected a regular file`);
  }
}
