/** What becomes of `/etc`: entry by entry, strategy by strategy. */
import { describe, expect, test } from "vitest";
import {
  ETC_STRATEGIES,
  type EtcPlan,
  type EtcStrategy,
  isBlocked,
  mergeEtc,
} from "../../../src/model/etc/merge.ts";
import type { EtcDirectory, EtcEntry, FoundDirectory } from "../../../src/model/etc/tree.ts";
import { mergeText } from "../../../userspace/deployment/etc/text-merge.ts";
import { at, device, dir, fifo, file, found, listing, mount, socket, symlink } from "./trees.ts";

type Entries = Record<string, EtcEntry>;

function plan(
  pristine: EtcDirectory,
  current: FoundDirectory,
  next: EtcDirectory,
  strategy: EtcStrategy = "fail",
): EtcPlan {
  return mergeEtc({ pristine, current, next }, strategy, mergeText);
}

const conflicts = ({ conflicts }: EtcPlan) =>
  conflicts.map(({ path, kind, resolution }) => `${path}: ${kind}: ${resolution}`);

const d = (text: string) => dir({ f: file(text) });
/** Here: what stays of the machine's; there: what the image says. */
describe("without a conflict", () => {
  test.each<[string, Entries, Entries, Entries, Entries]>([
    ["new in the image", {}, {}, { e: file("n") }, { e: file("n") }],
    [
      "unchanged: the image's",
      { e: file("p") },
      { e: file("p") },
      { e: file("n") },
      { e: file("n") },
    ],
    ["unchanged, and the image drops it", { e: file("p") }, { e: file("p") }, {}, {}],
    [
      "unchanged, and a directory in the image",
      { e: file("p") },
      { e: file("p") },
      { e: d("n") },
      { e: d("n") },
    ],
    [
      "unchanged directory, a file in the image",
      { e: d("p") },
      { e: d("p") },
      { e: file("n") },
      { e: file("n") },
    ],
    [
      "unchanged directory, a symlink in the image",
      { e: d("p") },
      { e: d("p") },
      { e: symlink("n") },
      { e: symlink("n") },
    ],
    [
      "a directory from which only was removed, a file in the image",
      { e: d("p") },
      { e: dir({}) },
      { e: file("n") },
      { e: file("n") },
    ],
    ["changed here", { e: file("p") }, { e: file("c") }, { e: file("p") }, { e: file("c") }],
    ["added here", {}, { e: file("c") }, {}, { e: file("c") }],
    ["added here with all below", {}, { e: dir({ x: d("c") }) }, {}, { e: dir({ x: d("c") }) }],
    ["removed here", { e: file("p") }, {}, { e: file("p") }, {}],
    ["directory removed here", { e: dir({ x: d("p") }) }, {}, { e: dir({ x: d("p") }) }, {}],
    ["removed by both", { e: file("p") }, {}, {}, {}],
    ["changed alike", { e: file("p") }, { e: file("n") }, { e: file("n") }, { e: file("n") }],
    ["added alike", {}, { e: file("n") }, { e: file("n") }, { e: file("n") }],
    [
      "changed in one directory, in different files",
      { e: dir({ a: file("p"), b: file("p"), c: file("p"), d: file("p") }) },
      { e: dir({ a: file("c"), b: file("p"), c: file("p"), h: file("c") }) },
      { e: dir({ a: file("p"), b: file("n"), d: file("p"), i: file("n") }) },
      { e: dir({ a: file("c"), b: file("n"), h: file("c"), i: file("n") }) },
    ],
    [
      "a directory here for a file that the image leaves as it was",
      { e: file("p") },
      { e: d("c") },
      { e: file("p") },
      { e: d("c") },
    ],
    [
      "only touched here, changed in the image",
      { e: file("p") },
      { e: file("p", { mtime: 5 }) },
      { e: file("n", { mtime: 1 }) },
      { e: file("n", { mtime: 1 }) },
    ],
    [
      "changed here, only touched in the image",
      { e: file("p") },
      { e: file("c", { mtime: 5 }) },
      { e: file("p", { mtime: 9 }) },
      { e: file("c", { mtime: 5 }) },
    ],
    [
      "attributes of a directory changed here, a file below it in the image",
      { e: d("p") },
      { e: dir({ f: file("p") }, { mode: 0o700, mtime: 3 }) },
      { e: d("n") },
      { e: dir({ f: file("n") }, { mode: 0o700, mtime: 3 }) },
    ],
    [
      "an xattr of a directory removed here",
      { e: dir({}, { xattrs: { "user.a": "1" } }) },
      { e: dir({}) },
      { e: dir({}, { xattrs: { "user.a": "1" } }) },
      { e: dir({}) },
    ],
    [
      "device nodes and fifos of the machine",
      {},
      { null: device(0x103, { mode: 0o666 }), pipe: fifo() },
      {},
      { null: device(0x103, { mode: 0o666 }), pipe: fifo() },
    ],
  ])("%s", (_, p, c, n, expected) => {
    for (const strategy of ETC_STRATEGIES) {
      const result = plan(dir(p), dir(c), dir(n), strategy);
      expect(conflicts(result)).toEqual([]);
      expect(listing(result.tree)).toEqual(listing(dir(expected)));
    }
  });

  test("the attributes of /etc itself: changed here they stay, else they are the image's", () => {
    const p = dir({}, { mode: 0o755 });
    expect(plan(p, dir({}, { mode: 0o700 }), p).tree.stat.mode).toBe(0o700);
    expect(plan(p, p, dir({}, { mode: 0o711, mtime: 9 })).tree.stat).toMatchObject({
      mode: 0o711,
      mtimeSec: 9n,
    });
  });

  test("an xattr or an ACL above 128 bytes is compared and kept like any other", () => {
    const acl = (text: string) => ({ xattrs: { "system.posix_acl_access": text.repeat(3000) } });
    const result = plan(
      dir({ e: file("", acl("p")) }),
      dir({ e: file("", acl("c")) }),
      dir({ e: file("", acl("p")) }),
    );
    expect(listing(result.tree)).toEqual(listing(dir({ e: file("", acl("c")) })));
  });

  test("hard links: those of the machine among what it changed, those of the image among the rest", () => {
    const [here, there] = [file("c"), file("n")];
    const p = dir({ a: file("p"), b: file("p"), x: file("p"), y: file("p") });
    const c = dir({ a: here, b: here, x: file("p"), y: file("p") });
    const n = dir({ a: file("p"), b: file("p"), x: there, y: there });
    expect(listing(plan(p, c, n).tree)).toEqual(
      listing(dir({ a: here, b: here, x: there, y: there })),
    );
  });

  test("hard links that only the machine has do not hold an image's change back", () => {
    const both = file("p");
    const p = dir({ a: file("p"), b: file("p") });
    expect(
      at(plan(p, dir({ a: both, b: both }), dir({ a: file("p"), b: file("n") })).tree, "b"),
    ).toBe("n");
  });

  test("files with fs-verity are compared by what is in them (bootc defect: content of fs-verity files)", () => {
    // bootc: two with the same attributes were always equal, one with and one without never
    const n = dir({ e: file("n") });
    expect(at(plan(dir({ e: file("1") }), dir({ e: file("2") }), n).tree, "e")).toBe("2");
  });

  test("sockets are named and left out, /etc/.updated goes from all three", () => {
    const updated = { ".updated": file("") };
    const result = plan(
      dir(updated),
      found({ ...updated, run: found({ s: socket() }) }),
      dir(updated),
    );
    expect(result.sockets).toEqual(["run/s"]);
    expect(listing(result.tree)).toEqual(listing(dir({ run: dir({}) })));
  });

  test("beneath a mount that cannot be seen through is the image's", () => {
    const [p, n] = [dir({ e: d("p") }), dir({ e: d("n"), g: file("n") })];
    const result = plan(p, found({ e: mount }), n);
    expect(result.mounts).toEqual(["e"]);
    expect(listing(result.tree)).toEqual(listing(n));
  });
});

describe("conflicts", () => {
  const here = "c";
  const there = "n";
  type Outcome = [string | undefined, string];
  /** What is at `e`, and the resolution: for fail, keep-local, take-image, merge. */
  test.each<[string, Entries, Entries, Entries, string, [Outcome, Outcome, Outcome, Outcome]]>([
    [
      "both changed a file",
      { e: file("p") },
      { e: file(here) },
      { e: file(there) },
      "both-changed",
      [
        [here, "local"],
        [here, "local"],
        [there, "image"],
        [here, "beside"],
      ],
    ],
    [
      "both added a file",
      {},
      { e: file(here) },
      { e: file(there) },
      "both-added",
      [
        [here, "local"],
        [here, "local"],
        [there, "image"],
        [here, "beside"],
      ],
    ],
    [
      "both changed where a symlink leads",
      { e: symlink("p") },
      { e: symlink("c") },
      { e: symlink("n") },
      "both-changed",
      [
        ["-> c", "local"],
        ["-> c", "local"],
        ["-> n", "image"],
        ["-> c", "beside"],
      ],
    ],
    [
      "changed here, dropped by the image",
      { e: file("p") },
      { e: file(here) },
      {},
      "removed-in-image",
      [
        [here, "local"],
        [here, "local"],
        [undefined, "image"],
        [here, "local"],
      ],
    ],
    [
      "removed here, changed in the image",
      { e: file("p") },
      {},
      { e: file(there) },
      "removed-here",
      [
        [undefined, "local"],
        [undefined, "local"],
        [there, "image"],
        [undefined, "beside"],
      ],
    ],
    [
      "a directory removed here, with a new file in the image",
      { e: d("p") },
      {},
      { e: dir({ f: file("p"), new: file("") }) },
      "removed-here",
      [
        [undefined, "local"],
        [undefined, "local"],
        ["directory", "image"],
        [undefined, "beside"],
      ],
    ],
    [
      "a file here, a directory in the image",
      { e: file("p") },
      { e: file(here) },
      { e: d("n") },
      "directory-in-image",
      [
        [here, "none"],
        [here, "local"],
        ["directory", "image"],
        [here, "beside"],
      ],
    ],
    [
      "a new file here, a new directory in the image",
      {},
      { e: file(here) },
      { e: d("n") },
      "directory-in-image",
      [
        [here, "none"],
        [here, "local"],
        ["directory", "image"],
        [here, "beside"],
      ],
    ],
    [
      "a changed directory here, a file in the image",
      { e: d("p") },
      { e: d("c") },
      { e: file(there) },
      "directory-here",
      [
        ["directory", "none"],
        ["directory", "local"],
        [there, "image"],
        ["directory", "beside"],
      ],
    ],
    [
      "a new directory here, a new file in the image",
      {},
      { e: d("c") },
      { e: file(there) },
      "directory-here",
      [
        ["directory", "none"],
        ["directory", "local"],
        [there, "image"],
        ["directory", "beside"],
      ],
    ],
    [
      "a directory here for a file that the image changed",
      { e: file("p") },
      { e: d("c") },
      { e: file(there) },
      "directory-here",
      [
        ["directory", "none"],
        ["directory", "local"],
        [there, "image"],
        ["directory", "beside"],
      ],
    ],
  ])("%s", (_, p, c, n, kind, outcomes) => {
    for (const [i, strategy] of ETC_STRATEGIES.entries()) {
      const [entry, resolution] = outcomes[i]!;
      const result = plan(dir(p), dir(c), dir(n), strategy);
      expect(conflicts(result)).toEqual([`e: ${kind}: ${resolution}`]);
      expect(at(result.tree, "e")).toBe(entry);
      expect(isBlocked(result)).toBe(resolution === "none");
      const beside = resolution === "beside" ? at(dir(n), "e") : undefined;
      expect(at(result.tree, "e.cfsboot-conflict")).toBe(beside);
    }
  });

  test("the attributes of a directory that both changed", () => {
    const three = (c: number, n: number, strategy: EtcStrategy) =>
      plan(
        dir({ e: dir({}) }),
        dir({ e: dir({}, { mode: c }) }),
        dir({ e: dir({}, { mode: n, uid: 1 }) }),
        strategy,
      );
    const e = (result: EtcPlan) => listing(result.tree).e;
    expect(e(three(0o700, 0o750, "fail"))).toMatchObject({ mode: 0o700, uid: 0 });
    expect(e(three(0o700, 0o750, "take-image"))).toMatchObject({ mode: 0o750, uid: 1 });
    expect(e(three(0o700, 0o755, "merge"))).toMatchObject({ mode: 0o700, uid: 1 });
    expect(conflicts(three(0o700, 0o755, "merge"))).toEqual(["e: both-changed: merged"]);
    expect(e(three(0o700, 0o750, "merge"))).toMatchObject({ mode: 0o700, uid: 0 });
  });

  test("below a directory that the image dropped, take-image keeps what only the machine has", () => {
    const p = dir({ e: dir({ a: file("p"), b: file("p") }) });
    const c = dir({ e: dir({ a: file("c"), b: file("p"), own: file("") }) });
    expect(Object.keys(listing(plan(p, c, dir({}), "take-image").tree))).toEqual([
      "",
      "e",
      "e/own",
    ]);
    expect(Object.keys(listing(plan(p, c, dir({})).tree))).toEqual(["", "e", "e/a", "e/own"]);
  });
});

describe("bootc's issues", () => {
  test("a directory that the image dropped comes back for what was changed below it, with its attributes (bootc#1924)", () => {
    const p = dir({ a: dir({ b: dir({ x: file("p"), y: file("p") }) }) });
    const c = dir({
      a: dir({ b: dir({ x: file("c"), y: file("p") }, { mode: 0o750 }) }, { mode: 0o710 }),
    });
    const result = plan(p, c, dir({}));
    expect(listing(result.tree)).toEqual(
      listing(dir({ a: dir({ b: dir({ x: file("c") }, { mode: 0o750 }) }, { mode: 0o710 }) })),
    );
  });

  test("one below which nothing was changed does not, nor for removals (bootc#1924)", () => {
    const p = dir({ a: dir({ x: file("p"), y: file("p") }) });
    expect(listing(plan(p, dir({ a: dir({ y: file("p") }) }), dir({})).tree)).toEqual(
      listing(dir({})),
    );
  });

  test("what was removed here and is a symlink in the image is an entry, not what it leads to (bootc#2278)", () => {
    const result = plan(
      dir({ e: d("p") }),
      dir({}),
      dir({ e: symlink("/usr/share") }),
      "take-image",
    );
    expect(at(result.tree, "e")).toBe("-> /usr/share");
  });

  test("the strategies fail, skip (take-image) and replace (keep-local), and a report by path (bootc#2285, bootc#2286)", () => {
    const [p, c, n] = [dir({ e: d("p") }), dir({ e: d("c") }), dir({ e: file("n") })];
    expect(isBlocked(plan(p, c, n, "fail"))).toBe(true);
    expect(at(plan(p, c, n, "take-image").tree, "e")).toBe("n");
    expect(at(plan(p, c, n, "keep-local").tree, "e/f")).toBe("c");
    expect(plan(p, c, n).conflicts[0]?.why).toBe("a directory here, and a file in the new image");
  });

  test("a symlink in place of a directory stays, and blocks nothing while the image leaves it (composefs-rs#335)", () => {
    const [p, c] = [dir({ e: d("p"), f: file("p") }), dir({ e: symlink("/opt/e"), f: file("p") })];
    const result = plan(p, c, dir({ e: d("p"), f: file("n") }));
    expect(conflicts(result)).toEqual([]);
    expect([at(result.tree, "e"), at(result.tree, "f")]).toEqual(["-> /opt/e", "n"]);
    expect(conflicts(plan(p, c, dir({ e: d("n") })))).toEqual(["e: directory-in-image: none"]);
  });

  test("a file replaced by a directory keeps what is in it", () => {
    expect(
      at(plan(dir({ e: file("p") }), dir({ e: d("c") }), dir({ e: file("p") })).tree, "e/f"),
    ).toBe("c");
  });
});

describe("merge", () => {
  const text = (...lines: string[]) => file(lines.map((line) => `${line}\n`).join(""));

  test("changes of both in different places of a text", () => {
    const p = dir({ e: text("a", "b", "c", "d", "e") });
    const c = dir({ e: text("A", "b", "c", "d", "e") });
    const n = dir({ e: text("a", "b", "c", "d", "e", "f") });
    const result = plan(p, c, n, "merge");
    expect(at(result.tree, "e")).toBe("A\nb\nc\nd\ne\nf\n");
    expect(conflicts(result)).toEqual(["e: both-changed: merged"]);
    expect(result.steps.map(({ kind, path }) => `${kind} ${path}`)).toEqual(["modified e"]);
  });

  test("a mode changed here, content in the image", () => {
    const c = dir({ e: file("p", { mode: 0o600 }) });
    const result = plan(dir({ e: file("p") }), c, dir({ e: file("n") }), "merge");
    expect(listing(result.tree)).toEqual(listing(dir({ e: file("n", { mode: 0o600 }) })));
  });

  test("extended attributes one by one", () => {
    const e = (xattrs: Record<string, string>) => dir({ e: file("", { xattrs }) });
    const result = plan(
      e({ a: "0", b: "0" }),
      e({ a: "1", b: "0", c: "1" }),
      e({ a: "0", d: "2" }),
      "merge",
    );
    expect(listing(result.tree).e).toMatchObject({ xattrs: { a: "1", c: "1", d: "2" } });
  });

  test("hard links that both have stay such", () => {
    const three = ["p\nx\ny\nz\n", "c\nx\ny\nz\n", "p\nx\ny\nn\n"].map((one) => {
      const both = file(one);
      return dir({ a: both, b: both });
    }) as [EtcDirectory, EtcDirectory, EtcDirectory];
    const { tree } = plan(...three, "merge");
    expect(
      [...tree.entries.values()].map((node) => node === [...tree.entries.values()][0]),
    ).toEqual([true, true]);
    expect(at(tree, "b")).toBe("c\nx\ny\nn\n");
  });

  test.each([
    ["bytes that are no UTF-8", new Uint8Array([0x61, 0x0a, 0xff])],
    ["a NUL", "a\0\n"],
    ["more than a megabyte", "a\n".repeat(600_000)],
  ])("%s: the image's version is put beside", (_, odd) => {
    const result = plan(
      dir({ e: text("x", "a", "b") }),
      dir({ e: file(odd) }),
      dir({ e: text("x", "a", "c") }),
      "merge",
    );
    expect(conflicts(result)).toEqual(["e: both-changed: beside"]);
    expect(at(result.tree, "e.cfsboot-conflict")).toBe("x\na\nc\n");
  });

  test("what was put beside earlier gives way to the newer version", () => {
    const old = { "e.cfsboot-conflict": file("old") };
    const result = plan(
      dir({ e: file("p") }),
      dir({ e: file("c"), ...old }),
      dir({ e: file("n") }),
      "merge",
    );
    expect(at(result.tree, "e.cfsboot-conflict")).toBe("n");
  });

  test("nothing is put beside under a name that no file can have", () => {
    const name = "e".repeat(250);
    const result = plan(dir({}), dir({ [name]: file("c") }), dir({ [name]: file("n") }), "merge");
    expect(conflicts(result)).toEqual([`${name}: both-added: local`]);
    expect(result.tree.entries.size).toBe(1);
  });
});
