/**
 * What is left when a merge ends at any place: each system call in turn fails, or is the last that the process makes.
 * `etc` is then the old or the new one, whole; and the next run makes the new one and leaves nothing else.
 */
import { cpSync, existsSync, readdirSync, rmSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { AT_FDCWD, O_DIRECTORY } from "../../../src/linux/constants.ts";
import type { Fd, Linux } from "../../../src/linux/linux.ts";
import { mergeEtcInto } from "../../../userspace/deployment/etc/merge.ts";
import { linux as real } from "../../../userspace/linux.ts";
import { type TroubleKind, troubleAt, watched } from "../../repository/trouble.ts";
import { contentsOf, quickLinux, type Scratch, scratch } from "./places.ts";

const MORE_THAN_ANY_RUN = 2000;

/** Knows what is open by any call. */
function tracked(linux: Linux): { linux: Linux; closeAll: () => void } {
  const open = new Set<Fd>();
  const note = (fd: Fd) => {
    open.add(fd);
    return fd;
  };
  return {
    linux: {
      ...linux,
      openat: (...args) => note(linux.openat(...args)),
      openat2: (...args) => note(linux.openat2(...args)),
      open_tree: (...args) => note(linux.open_tree(...args)),
      close(fd) {
        open.delete(fd);
        linux.close(fd);
      },
    },
    closeAll() {
      for (const fd of open) linux.close(fd);
      open.clear();
    },
  };
}

function run(linux: Linux, dir: Scratch): void {
  const place = (name: string) => ({ dirfd: AT_FDCWD, path: join(dir.path, name), name });
  const directory = linux.openat(AT_FDCWD, join(dir.path, "state"), O_DIRECTORY);
  try {
    mergeEtcInto(linux, { pristine: place("p"), current: place("c"), next: place("n") }, "merge", {
      directory,
      name: "etc",
      report: "etc-merge.json",
    });
  } finally {
    linux.close(directory);
  }
}

test.each<{ kind: TroubleKind; before: string }>([
  { kind: "error", before: "mkdir etc; echo old > etc/old; mkdir etc/d" },
  { kind: "death", before: "mkdir etc; echo old > etc/old; mkdir etc/d" },
  { kind: "full", before: "mkdir etc; echo old > etc/old" },
  { kind: "broken", before: "mkdir etc; echo old > etc/old" },
  { kind: "death", before: "" },
  { kind: "death", before: "mkdir etc etc.new; echo half > etc.new/half; echo old > etc/old" },
])("$kind at any call, before: '$before'", ({ kind, before }) => {
  using dir = scratch("/dev/shm");
  dir.make("p", "printf '1\\n2\\n3\\n4\\n' > t; echo p > f; mkdir d; echo p > d/x");
  dir.make(
    "c",
    "printf 'c\\n2\\n3\\n4\\n' > t; echo c > f; mkdir d; echo c > d/x; ln d/x link; ln -s x y",
  );
  dir.make("n", "printf '1\\n2\\n3\\nn\\n' > t; echo n > f; mkdir d; echo p > d/x; echo n > new");
  const state = join(dir.path, "state");
  const etc = join(state, "etc");
  const template = dir.make("template", `${before}\nfind . -exec touch -d @7 {} +`).name;
  const fresh = () => {
    rmSync(state, { recursive: true, force: true });
    cpSync(template, state, { recursive: true, preserveTimestamps: true });
    // it does not set those of directories
    for (const path of [join(etc, "d"), etc]) if (existsSync(path)) utimesSync(path, 7, 7);
  };
  fresh();
  const old = before === "" ? undefined : contentsOf(etc);
  run(quickLinux, dir);
  const merged = contentsOf(etc);

  for (let nth = 1; ; nth++) {
    fresh();
    const watch = tracked(quickLinux);
    const trouble = troubleAt(watch.linux, nth, kind);
    let failed: unknown;
    try {
      run(trouble.linux, dir);
    } catch (error) {
      failed = error;
    }
    watch.closeAll();
    if (!trouble.happened()) break;
    const found = readdirSync(state).includes("etc") ? contentsOf(etc) : undefined;
    const which = JSON.stringify(found, plain) === JSON.stringify(merged, plain) ? merged : old;
    expect(found, `call ${nth}: ${failed}`).toEqual(which);
    if (failed === undefined) expect(found, `call ${nth}`).toEqual(merged);
    run(quickLinux, dir);
    expect(contentsOf(etc)).toEqual(merged);
    expect(readdirSync(state).sort()).toEqual(["etc", "etc-merge.json"]);
    expect(nth).toBeLessThan(MORE_THAN_ANY_RUN);
  }
});

test("everything is on the disk before it gets its name, and the name before the old one goes", () => {
  using dir = scratch();
  for (const name of ["p", "c", "n"]) dir.make(name, `echo ${name} > f`);
  dir.make("state", "mkdir etc");
  const calls: string[] = [];
  const noting = watched(real, (call, args) => {
    const names = args.filter((argument) => typeof argument === "string");
    calls.push([call, ...names].join(" "));
  });
  run(noting, dir);
  const built = calls.lastIndexOf("utimensat");
  const synced = calls.indexOf("syncfs");
  expect(built).toBeGreaterThan(-1);
  const rest = calls.slice(synced).filter((call) => !/^(openat|statx)/.test(call));
  expect(rest.slice(0, 3)).toEqual(["syncfs", "renameat2 etc.new etc", "fsync"]);
  const removal = calls.findIndex((call, i) => i > synced && call === "unlinkat etc.new");
  expect([built < synced, synced < removal]).toEqual([true, true]);
});

function plain(_: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value;
}
