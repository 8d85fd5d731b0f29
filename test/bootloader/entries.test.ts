import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { ENTRIES, grubPlace, STAGED_ENTRIES } from "../../userspace/bootloader/boot-place.ts";
import {
  readMenu,
  removeStagedEntries,
  replaceEntries,
} from "../../userspace/bootloader/entries.ts";
import { linux } from "../../userspace/linux.ts";
import { troubleAt } from "../repository/trouble.ts";
import { badSectors, badSectorsAfter } from "./bad-sectors.ts";
import { temporaryEsp } from "./place.ts";

const A = "aa".repeat(64);
const B = "bb".repeat(64);

function entry(id: string, artifact = id): string {
  const path = `/EFI/Linux/bootc_composefs-${artifact}`;
  return `title T\nversion 13\nlinux ${path}/vmlinuz\ninitrd ${path}/initrd\noptions rw composefs=?${id}\nsort-key bootc-debian-0\n`;
}

const known = () => true;

test("our entries are told from those of others, which are never an error (bootc#2228)", () => {
  using esp = temporaryEsp();
  esp.write(`${ENTRIES}/bootc_debian-13-1+2-1.conf`, entry(A, B));
  esp.write(`${ENTRIES}/fwupd.conf`, "title Firmware\nefi /EFI/tools/fwupdx64.efi\n");
  esp.write(
    `${ENTRIES}/other.conf`,
    "title Other\nversion 1\nlinux /vmlinuz\noptions root=/dev/sda\n",
  );
  esp.write(`${ENTRIES}/nonsense.conf`, "\0\u0001");
  esp.write(`${ENTRIES}/notes.txt`, entry(A));
  mkdirSync(join(esp.path, ENTRIES, "directory.conf"));
  const menu = readMenu(linux, esp.place, ENTRIES, known)!;
  expect(menu.own).toMatchObject([
    {
      fileName: "bootc_debian-13-1+2-1.conf",
      id: A,
      artifact: B,
      insecure: true,
      bootType: "bls",
      tries: { left: 2, done: 1 },
    },
  ]);
  const foreign = menu.foreign.map(({ displayName }) => displayName).sort();
  expect(foreign).toEqual([
    "directory.conf",
    "fwupd.conf",
    "nonsense.conf",
    "notes.txt",
    "other.conf",
  ]);
  expect(readMenu(linux, esp.place, STAGED_ENTRIES, known)).toBeUndefined();
});

test("a menu is replaced as a whole; what others have there comes along", () => {
  using esp = temporaryEsp();
  esp.write(`${ENTRIES}/bootc_debian-13-1.conf`, entry(A));
  esp.write(`${ENTRIES}/fwupd.conf`, "efi /EFI/tools/fwupdx64.efi\n");
  esp.write(`${ENTRIES}/more/deep`, "kept");
  const files = [{ name: "bootc_debian-14-1.conf", bytes: Buffer.from(entry(B)) }];

  replaceEntries(linux, esp.place, STAGED_ENTRIES, files);
  expect(readdirSync(join(esp.path, ENTRIES)).sort()).toEqual([
    "bootc_debian-13-1.conf",
    "fwupd.conf",
    "more",
  ]);
  const names = ["bootc_debian-14-1.conf", "fwupd.conf", "more"];
  expect(readdirSync(join(esp.path, STAGED_ENTRIES)).sort()).toEqual(names);

  replaceEntries(linux, esp.place, ENTRIES, files);
  expect(readdirSync(join(esp.path, ENTRIES)).sort()).toEqual(names);
  expect(readFileSync(join(esp.path, ENTRIES, "more/deep"), "utf8")).toBe("kept");
  expect(removeStagedEntries(linux, esp.place, STAGED_ENTRIES)).toBe(true);
  expect(readdirSync(join(esp.path, "loader"))).toEqual(["entries"]);
});

test("whatever call fails, the menu is the old one or the new one, and complete", () => {
  for (const kind of ["error", "death"] as const) {
    for (let nth = 1; ; nth++) {
      using esp = temporaryEsp();
      esp.write(`${ENTRIES}/bootc_debian-13-1.conf`, entry(A));
      esp.write(`${ENTRIES}/fwupd.conf`, "efi /x.efi\n");
      const files = [{ name: "bootc_debian-13-1.conf", bytes: Buffer.from(entry(B)) }];
      const trouble = troubleAt(linux, nth, kind);
      try {
        replaceEntries(trouble.linux, esp.place, ENTRIES, files);
      } catch {
        // which is the point
      }
      trouble.bury();
      const menu = readMenu(linux, esp.place, ENTRIES, known)!;
      expect(menu.own, `${kind} at call ${nth}`).toHaveLength(1);
      expect([A, B]).toContain(menu.own[0]!.id);
      expect(menu.foreign.map(({ displayName }) => displayName)).toEqual(["fwupd.conf"]);
      removeStagedEntries(linux, esp.place, STAGED_ENTRIES);
      expect(readdirSync(join(esp.path, "loader"))).toEqual(["entries"]);
      if (!trouble.happened()) break;
    }
  }
});

describe("entries that cannot be read", () => {
  const OURS = "bootc_debian-12-0.conf";
  const FOREIGN = "fwupd.conf";
  const DEEP = "deep";
  const damaged = badSectors(linux, OURS, FOREIGN, DEEP);
  const next = [{ name: "bootc_debian-13-1.conf", bytes: Buffer.from(entry(B)) }];
  const prepared = () => {
    const esp = temporaryEsp();
    esp.write(`${ENTRIES}/bootc_debian-13-1.conf`, entry(A));
    esp.write(`${ENTRIES}/${OURS}`, "ours");
    esp.write(`${ENTRIES}/${FOREIGN}`, "theirs");
    esp.write(`${ENTRIES}/more/${DEEP}`, "deep");
    esp.write(`${ENTRIES}/more/beside`, "beside");
    return esp;
  };
  const contents = ({ path }: { path: string }) =>
    [OURS, FOREIGN, `more/${DEEP}`, "more/beside"].map((name) =>
      readFileSync(join(path, ENTRIES, name), "utf8"),
    );
  const ALL = ["ours", "theirs", "deep", "beside"];

  test("are told, ours apart from those of others", () => {
    using esp = prepared();
    const menu = readMenu(damaged, esp.place, ENTRIES, known)!;
    expect(menu.own.map(({ id }) => id)).toEqual([A]);
    expect(menu.unreadable).toMatchObject([
      { displayName: OURS, problem: `read ${OURS}: Input/output error` },
    ]);
    const foreign = menu.foreign.toSorted((a, b) => (a.displayName < b.displayName ? -1 : 1));
    expect(foreign).toMatchObject([
      { displayName: FOREIGN, problem: `read ${FOREIGN}: Input/output error` },
      { displayName: "more", problem: undefined },
    ]);
  });

  test("stay as they are when the menu is replaced, and keep nobody from that", () => {
    using esp = prepared();
    replaceEntries(damaged, esp.place, STAGED_ENTRIES, next);
    expect(contents(esp)).toEqual(ALL);
    replaceEntries(damaged, esp.place, ENTRIES, next);
    expect(contents(esp)).toEqual(ALL);
    expect(readMenu(damaged, esp.place, ENTRIES, known)!.own.map(({ id }) => id)).toEqual([B]);
    removeStagedEntries(damaged, esp.place, STAGED_ENTRIES);
    expect(readdirSync(join(esp.path, "loader"))).toEqual(["entries"]);
    // what is written under the name of a damaged one takes its place
    replaceEntries(damaged, esp.place, ENTRIES, [{ ...next[0]!, name: OURS }]);
    expect(contents(esp)).toEqual([entry(B), ...ALL.slice(1)]);
  });

  test("stay as they are, too, if they begin well", () => {
    using esp = prepared();
    const large = "x".repeat(200_000);
    esp.write(`${ENTRIES}/more/large`, large);
    esp.write(`${ENTRIES}/random-seed`, large);
    const late = badSectorsAfter(linux, 2, "large", "random-seed");
    replaceEntries(late, esp.place, STAGED_ENTRIES, next);
    expect(readdirSync(join(esp.path, STAGED_ENTRIES))).not.toContain("random-seed");
    replaceEntries(late, esp.place, ENTRIES, next);
    for (const name of ["more/large", "random-seed"]) {
      expect(readFileSync(join(esp.path, ENTRIES, name), "utf8")).toBe(large);
    }
    expect(contents(esp)).toEqual(ALL);
    expect(readdirSync(join(esp.path, "loader"))).toEqual(["entries", "entries.staged"]);
  });

  test("are there when the next one has replaced the menu, at whatever call the first one was killed", () => {
    for (let nth = 1; ; nth++) {
      using esp = prepared();
      const trouble = troubleAt(damaged, nth, "death");
      try {
        replaceEntries(trouble.linux, esp.place, ENTRIES, next);
      } catch {
        // which is the point
      }
      trouble.bury();
      replaceEntries(damaged, esp.place, ENTRIES, next);
      expect(contents(esp), `killed at call ${nth}`).toEqual(ALL);
      expect(readdirSync(join(esp.path, "loader"))).toEqual(["entries"]);
      if (!trouble.happened()) break;
    }
  });
});

test("GRUB has the menu as a script, which changes with the entries and is nobody's file", () => {
  using esp = temporaryEsp();
  const place = grubPlace(esp.place.directory, esp.path, false);
  const files = [A, B].map((id, i) => ({
    name: `bootc_debian-13-${1 - i}.conf`,
    bytes: Buffer.from(entry(id).replaceAll("/EFI/Linux", "/boot")),
  }));
  replaceEntries(linux, place, ENTRIES, files);
  replaceEntries(linux, place, ENTRIES, files);
  const script = readFileSync(join(esp.path, ENTRIES, "cfsboot.cfg"), "utf8");
  expect(script.match(/--id '[^']*'/g)).toEqual([
    "--id 'bootc_debian-13-1'",
    "--id 'bootc_debian-13-0'",
  ]);
  expect(script).toContain(`linux '/boot/bootc_composefs-${A}/vmlinuz' 'rw' 'composefs=?${A}'`);
  const menu = readMenu(linux, place, ENTRIES, known)!;
  expect(menu.foreign).toEqual([]);
  expect(menu.own.map(({ id }) => id).sort()).toEqual([A, B]);
});
