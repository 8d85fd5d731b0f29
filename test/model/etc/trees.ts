/** Small `/etc` trees for tests, without files. */
import { createHash } from "node:crypto";
import { ascii, type ByteString, fromText } from "../../../src/formats/bytestring.ts";
import { linkNames } from "../../../src/model/etc/compare.ts";
import {
  below,
  type EtcContent,
  type EtcDirectory,
  type EtcEntry,
  type EtcLeaf,
  type EtcMount,
  type EtcStat,
  type FileContent,
  type FoundDirectory,
  typeOf,
} from "../../../src/model/etc/tree.ts";

export interface Attributes {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly xattrs?: Readonly<Record<string, string>>;
}

function stat(
  { mode, uid = 0, gid = 0, mtime = 0, xattrs = {} }: Attributes,
  usual: number,
): EtcStat {
  return {
    mode: mode ?? usual,
    uid,
    gid,
    mtimeSec: BigInt(mtime),
    mtimeNsec: 0,
    xattrs: new Map(Object.entries(xattrs).map(([k, v]) => [ascii(k), Buffer.from(v)])),
  };
}

export function content(text: string | Uint8Array): FileContent {
  const bytes = new Uint8Array(Buffer.from(text as string));
  return {
    size: bytes.length,
    digest: () => createHash("sha256").update(bytes).digest("hex"),
    read: () => bytes,
  };
}

const leaf = (of: EtcContent, attributes: Attributes, usual = 0o644): EtcLeaf => ({
  type: "leaf",
  stat: stat(attributes, usual),
  content: of,
});

export const file = (text: string | Uint8Array, attributes: Attributes = {}): EtcLeaf =>
  leaf({ type: "file", data: content(text) }, attributes);
/** A file that nobody may read. */
export const secret = (size: number, attributes: Attributes = {}): EtcLeaf =>
  leaf(
    {
      type: "file",
      data: {
        size,
        digest: () => undefined,
        read: () => {
          throw new Error("it may not be read");
        },
      },
    },
    attributes,
  );
export const symlink = (target: string, attributes: Attributes = {}): EtcLeaf =>
  leaf({ type: "symlink", target: ascii(target) }, attributes, 0o777);
export const device = (rdev: number, attributes: Attributes = {}): EtcLeaf =>
  leaf({ type: "character device", rdev }, attributes);
export const fifo = (attributes: Attributes = {}): EtcLeaf => leaf({ type: "fifo" }, attributes);
export const socket = (): EtcLeaf => leaf({ type: "socket" }, {});
export const mount: EtcMount = { type: "mount" };

type Entries<T> = Readonly<Record<string, T>>;
const named = <T>(entries: Entries<T>) =>
  new Map(Object.entries(entries).map(([name, node]): [ByteString, T] => [fromText(name), node]));

export function dir(entries: Entries<EtcEntry>, attributes: Attributes = {}): EtcDirectory {
  return { type: "directory", stat: stat(attributes, 0o755), entries: named(entries) };
}

/** A directory with what may only be found. */
export function found(
  entries: Entries<EtcLeaf | FoundDirectory | EtcMount>,
  attributes: Attributes = {},
): FoundDirectory {
  return { type: "directory", stat: stat(attributes, 0o755), entries: named(entries) };
}

/** Everything in a tree, modification times and hard links too, as something that can be compared. */
export function listing(root: EtcDirectory): Record<string, unknown> {
  const links = linkNames(root);
  const lines: Record<string, unknown> = {};
  const visit = (node: EtcEntry, path: ByteString) => {
    const { xattrs, ...rest } = node.stat;
    lines[path] = {
      type: typeOf(node),
      ...rest,
      xattrs: Object.fromEntries(
        [...xattrs].sort().map(([k, v]) => [k, Buffer.from(v).toString("latin1")]),
      ),
      ...(node.type === "leaf" && { holds: holds(node.content), links: links(node) }),
    };
    if (node.type !== "directory") return;
    for (const [name, child] of [...node.entries].sort()) visit(child, below(path, name));
  };
  visit(root, ascii(""));
  return lines;
}

function holds(of: EtcContent): unknown {
  if (of.type === "file") return of.data.digest();
  return "target" in of ? of.target : "rdev" in of ? of.rdev : null;
}

/** The text of a file in a tree, "-> TARGET" of a symlink, the type of anything else; `undefined` if there is nothing. */
export function at(root: EtcDirectory, path: string): string | undefined {
  let node: EtcEntry | undefined = root;
  for (const name of path.split("/")) {
    node = node?.type === "directory" ? node.entries.get(fromText(name)) : undefined;
  }
  if (node === undefined) return undefined;
  if (node.type === "leaf" && node.content.type === "file")
    return Buffer.from(node.content.data.read()).toString();
  if (node.type === "leaf" && node.content.type === "symlink") return `-> ${node.content.target}`;
  return typeOf(node);
}
