/**
 * SELinux labels: Debian's policy of some 6,000 patterns, and trees of 100,000 files and more.
 *
 *     node bench/selinux.ts [FILES]
 *
 * Prints a table. Times are of all: from the bytes of `file_contexts` to the last label, in a fresh program and once more.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ascii, type ByteString } from "../src/formats/bytestring.ts";
import { relabel } from "../src/model/selinux/relabel.ts";
import type { Directory, Leaf, LeafContent, Node, Stat, Tree } from "../src/model/tree.ts";
import { debianPolicy } from "../test/model/selinux/debian-policy.ts";

const stat = (mode: number): Stat => ({
  mode,
  uid: 0,
  gid: 0,
  mtimeSec: 0n,
  mtimeNsec: 0,
  xattrs: new Map(),
});
const file = (data: Uint8Array): Leaf => ({
  type: "leaf",
  stat: stat(0o644),
  content: { type: "inline", data },
});

function directoryAt(tree: Tree, path: string): Directory {
  let directory = tree;
  for (const name of path.split("/")) {
    let next: Node | undefined = directory.entries.get(ascii(name));
    if (next === undefined) {
      next = { type: "directory", stat: stat(0o755), entries: new Map() };
      directory.entries.set(ascii(name), next);
    }
    if (next.type !== "directory") throw new Error(`${path} is not a directory`);
    directory = next;
  }
  return directory;
}

/** The places where the files of a distribution are, and what they are called. */
const PLACES: readonly ((i: number) => [directory: string, name: string])[] = [
  (i) => ["usr/bin", `tool-${i}`],
  (i) => ["usr/lib/x86_64-linux-gnu", `lib${i}.so.${i % 9}`],
  (i) => [
    `usr/share/doc/package-${i >> 2}`,
    ["copyright", "changelog.gz", "README", "NEWS"][i & 3]!,
  ],
  (i) => [`usr/lib/python3/dist-packages/module${i >> 4}`, `part_${i}.py`],
  (i) => [`usr/lib/modules/6.12.48-amd64/kernel/drivers/class${i >> 5}`, `driver${i}.ko.xz`],
  (i) => [`usr/share/locale/l${i >> 6}/LC_MESSAGES`, `program${i}.mo`],
  (i) => ["usr/include/linux", `header_${i}.h`],
  (i) => [`etc/service${i >> 3}.d`, `${i}.conf`],
  (i) => ["var/lib/dpkg/info", `package-${i}.list`],
  (i) => [`usr/share/icons/theme/${i % 512}x/apps`, `icon-${i}.png`],
];

function makeTree(files: number, policy: string): Tree {
  const tree: Tree = { type: "directory", stat: stat(0o755), entries: new Map() };
  for (let i = 0; i < files; i++) {
    const [directory, name] = PLACES[i % PLACES.length]!(Math.floor(i / PLACES.length));
    directoryAt(tree, directory).entries.set(name as ByteString, file(new Uint8Array()));
  }
  const config = new Uint8Array(Buffer.from("SELINUXTYPE=default\n"));
  directoryAt(tree, "etc/selinux").entries.set(ascii("config"), file(config));
  const contexts = directoryAt(tree, "etc/selinux/default/contexts/files");
  for (const suffix of ["", ".homedirs", ".subs_dist"]) {
    const bytes = new Uint8Array(readFileSync(join(policy, `file_contexts${suffix}`)));
    contexts.entries.set(ascii(`file_contexts${suffix}`), file(bytes));
  }
  return tree;
}

const read = (content: LeafContent): Uint8Array => {
  if (content.type !== "inline") throw new Error("expected content");
  return content.data;
};

function milliseconds(action: () => void): string {
  const start = performance.now();
  action();
  return (performance.now() - start).toFixed(0);
}

const policy = debianPolicy();
if ("missing" in policy) throw new Error(policy.missing);
const patterns = ["", ".homedirs"]
  .flatMap((suffix) => readFileSync(join(policy.dir, `file_contexts${suffix}`), "utf8").split("\n"))
  .filter((line) => /^[^#\s]/.test(line)).length;
const files = Number(process.argv[2] ?? 100_000);
const rows = [["files", "read and label, ms", "once more, ms", "peak MiB"]];
for (const count of [0, files / 10, files]) {
  const tree = makeTree(count, policy.dir);
  const times = [1, 2].map(() => milliseconds(() => relabel(tree, read)));
  const peak = (process.resourceUsage().maxRSS / 1024).toFixed(0);
  rows.push([count.toLocaleString("en"), ...times, peak]);
}
console.log(`SELinux labels by ${patterns.toLocaleString("en")} patterns\n`);
for (const row of rows) console.log(row.map((text) => text.padStart(20)).join(""));
