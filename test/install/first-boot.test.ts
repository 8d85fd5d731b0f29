/** What a machine's first boot is like: its ID, and questions. */
import { expect, test } from "vitest";
import { ascii } from "../../src/formats/bytestring.ts";
import type { Directory, Leaf, Tree } from "../../src/formats/tree.ts";
import type { EtcDirectory } from "../../src/model/etc/tree.ts";
import { withoutMachineId } from "../../userspace/install/etc-files.ts";
import { asksAtFirstBoot } from "../../userspace/install/first-boot.ts";

const stat = { mode: 0o644, uid: 0, gid: 0, mtimeSec: 0n, mtimeNsec: 0, xattrs: new Map() };
const link = (target: string): Leaf => ({
  type: "leaf",
  stat: { ...stat },
  content: { type: "symlink", target: ascii(target) },
});

function treeOf(...paths: readonly string[]): Tree {
  const empty = (): Directory => ({ type: "directory", stat: { ...stat }, entries: new Map() });
  const tree = empty();
  for (const path of paths) {
    const names = path.split("/").map(ascii);
    let directory = tree;
    for (const name of names.slice(0, -1)) {
      const next = directory.entries.get(name) ?? empty();
      directory.entries.set(name, next);
      directory = next as Directory;
    }
    directory.entries.set(names.at(-1)!, link("somewhere"));
  }
  return tree;
}

const WANTED = "usr/lib/systemd/system/sysinit.target.wants/systemd-firstboot.service";

test.each([
  ["asks", [WANTED], "rw", true],
  ["asks if the argument is about something else", [WANTED], "systemd.firstboot=on", true],
  ["is told not to by an argument", [WANTED], "rw systemd.firstboot=off quiet", false],
  ["is masked", [WANTED, "etc/systemd/system/systemd-firstboot.service"], "rw", false],
  ["is not there", ["usr/bin/systemctl"], "rw", false],
] as const)("systemd-firstboot %s", (_, paths, options, expected) => {
  expect(asksAtFirstBoot(treeOf(...paths), options)).toBe(expected);
});

function etcWith(machineId: string | undefined): EtcDirectory {
  const entries: EtcDirectory["entries"] = new Map();
  const data = Buffer.from(machineId ?? "");
  const content = { size: data.length, digest: () => undefined, read: () => data };
  const file = { type: "leaf", stat, content: { type: "file", data: content } } as const;
  const all = machineId === undefined ? entries : new Map([[ascii("machine-id"), file]]);
  return { type: "directory", stat, entries: all };
}

const ID = `${"5".repeat(32)}\n`;

test.each([
  ["the image's own is no machine's", ID, false, ""],
  ["and a disk for many machines boots for the first time", ID, true, "uninitialized\n"],
  ["also if the image has none", undefined, true, "uninitialized\n"],
  ["otherwise the image decides", undefined, false, undefined],
  ["whatever it is", "uninitialized\n", false, "uninitialized\n"],
])("machine ID: %s", (_, image, firstBoot, expected) => {
  const entry = withoutMachineId(etcWith(image), firstBoot, undefined).entries.get(
    ascii("machine-id"),
  );
  const text =
    entry?.type === "leaf" && entry.content.type === "file"
      ? Buffer.from(entry.content.data.read()).toString()
      : undefined;
  expect(text).toBe(expected);
});
