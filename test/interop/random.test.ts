/**
 * Random layers and policies, pulled by cfsctl and by ours: both make the same tree of them, or neither makes any.
 *
 * More of them: `CFSBOOT_RANDOM_LAYERS=10000`.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { toHex } from "../../src/formats/digest.ts";
import { formatDumpfile } from "../../src/formats/dumpfile-writer.ts";
import { describeError } from "../../userspace/cli/errors.ts";
import { imageDigest, imageTree } from "../../userspace/oci/commit.ts";
import { openImage } from "../../userspace/oci/image.ts";
import { openLayout } from "../../userspace/oci/layout.ts";
import { pull } from "../../userspace/oci/pull.ts";
import { initRepository } from "../../userspace/repository/init.ts";
import { openRepository } from "../../userspace/repository/repository.ts";
import { longName, member, pax } from "../formats/tar/archive.ts";
import { image, writeLayout } from "../oci/fixtures/images.ts";
import { PLATFORM } from "../oci/fixtures/pulling.ts";
import { attempt, cfsctl, needsCfsctl } from "./cfsctl.ts";

const RUNS = Number(process.env.CFSBOOT_RANDOM_LAYERS ?? 25);

/** Few names, so that they meet again. */
const component = fc.constantFrom(
  "a",
  "b",
  "c",
  "usr",
  ".wh.a",
  ".wh.b",
  ".wh..wh..opq",
  "ü",
  "..",
  ".",
  "",
);
const path = fc
  .tuple(
    fc.constantFrom("", "./", "/", "usr/", "usr/a/", "a/"),
    fc.oneof(
      {
        weight: 12,
        arbitrary: fc.constantFrom("b", "c", "d", "e", ".wh.b", ".wh..wh..opq"),
      },
      { weight: 1, arbitrary: component },
    ),
    fc.constantFrom("", "", "", "/"),
  )
  .map((parts) => parts.join("") || "c");

const fields = fc.record(
  {
    mode: fc.constantFrom(0o644, 0o4755, 0o1777, 0o100644, 0),
    uid: fc.nat(2_000_000),
    gid: fc.nat(2_000_000),
    mtime: fc.constantFrom(0, 1, 1_700_000_000, 8_589_934_591),
    devMajor: fc.nat(0o7777),
    devMinor: fc.nat(0o77777),
  },
  { requiredKeys: ["mode"] },
);
const values = {
  mtime: fc.oneof(
    { weight: 40, arbitrary: fc.constantFrom("12", "1.5", "0.123456789123", "7.", "3.x") },
    { weight: 1, arbitrary: fc.constantFrom("-1", "x", "") },
  ),
  uid: fc.constantFrom("12", "4294967295", "0", "4294967297"),
  path: fc.constantFrom("usr/a", "b", "usr/c/"),
  linkpath: fc.constantFrom("usr/a", "b"), // of "" cfsctl makes symlinks that no Linux has
  "SCHILY.xattr.user.x": fc.constantFrom("1", ""),
  "SCHILY.xattr.security.capability": fc.constantFrom("1", ""),
  "SCHILY.xattr.trusted.overlay.x": fc.constantFrom("1", ""),
  comment: fc.constant("c"),
};
const records = fc.record<Record<string, string>>(values, { requiredKeys: [] });
const body = fc.oneof(
  fc.constant(""),
  fc.integer({ min: 1, max: 200 }).map((size) => "x".repeat(size)),
  fc.integer({ min: 4000, max: 9000 }).map((size) => "y".repeat(size)),
);

const entry = fc
  .record({
    type: fc.oneof(
      { weight: 20, arbitrary: fc.constantFrom("0", "5") },
      { weight: 4, arbitrary: fc.constantFrom("2", "3", "4", "6", "\0", "7") },
      { weight: 1, arbitrary: fc.constant("1") },
    ),
    name: path,
    linkName: path,
    fields,
    records: fc.option(records, { freq: 8 }),
    long: fc.option(path, { freq: 16 }),
    body,
  })
  .map(({ type, name, linkName, fields: rest, records: extension, long, body: content }) => {
    const isFile = type === "0" || type === "\0" || type === "7";
    const link = type === "1" || type === "2" ? { linkName } : {};
    return Buffer.concat([
      ...(extension === null ? [] : [pax(extension)]),
      ...(long === null ? [] : [longName(`${long}\0`)]),
      member({ ...rest, name, type, ...link }, isFile ? content : ""),
    ]);
  });

/** Without `/usr` and what a layer's first entries are in, nothing comes of an image. */
const START = ["usr/", "usr/a/", "a/"].map((name) => member({ name, type: "5", mode: 0o755 }));

const layers = fc
  .array(fc.array(entry, { minLength: 1, maxLength: 8 }), { minLength: 1, maxLength: 3 })
  .map((all) =>
    all.map((entries, i) =>
      Buffer.concat([...(i === 0 ? START : []), ...entries, Buffer.alloc(1024)]),
    ),
  );

/** Parts of patterns: of the common dialect, and of those that only one kind of engine has. */
const common = fc.constantFrom(
  ...[
    "a",
    "b",
    "A",
    "1",
    "/",
    "\\.",
    ".",
    "[ab]",
    "[^/]",
    "[^a-z]",
    "[[:alpha:]]",
    "[[:digit:]_]",
    "a",
    "b",
  ],
  ...[
    "\\d",
    "\\w",
    "\\x61",
    "(a|b)",
    "(?:ab|A)",
    "(|a)",
    "\\S",
    "[]a]",
    "[a-]",
    "\\/",
    "-",
    ".*",
    "(/.*)?",
  ],
);
const seldom = fc.constantFrom(
  ...[
    "(?!a)",
    "(?=a)",
    "(?<!b)",
    "(?i)",
    "(?i:a)",
    "\\1",
    "\\b",
    "^",
    "$",
    "\\z",
    "[a&&[^b]]",
    "[a[b]]",
  ],
  ...[
    "\\Q.\\E",
    "[",
    "(",
    ")",
    "*",
    "[b-a]",
    "\\",
    "a++",
    "a{2}+",
    "(?>a)",
    "(?P<x>a)",
    "[[:nope:]]",
  ],
);
const quantifier = fc.constantFrom(
  "",
  "",
  "",
  "*",
  "+",
  "?",
  "*?",
  "++",
  "{2}",
  "{1,}",
  "{,2}",
  "{",
);
const part = fc.oneof(
  { weight: 15, arbitrary: fc.tuple(common, quantifier).map((both) => both.join("")) },
  { weight: 1, arbitrary: seldom },
);
const pattern = fc
  .array(part, { minLength: 1, maxLength: 5 })
  .map((parts) => `/usr/${parts.join("")}`);
const line = fc
  .tuple(
    fc.oneof(
      { weight: 4, arbitrary: pattern },
      { weight: 1, arbitrary: fc.constantFrom("/.*", "/usr(/.*)?", "/usr/.*\\.so", "/srv/[ab]") },
    ),
    fc.constantFrom("", "", "--", "-d", "-l", "-p"),
    fc.nat(9).map((n) => (n === 0 ? "<<none>>" : `system_u:object_r:t${n}:s0`)),
  )
  .map((words) => words.join(" "));
const alias = fc.constantFrom("/srv /usr", "/usr/a /usr/b", "/usr/ab /srv", "# none");

const FILES_OF_POLICY = "etc/selinux/x/contexts/files";
const NAMES = ["a", "B", "ab", "aa", "A", "1", "a.so", "-", "_", "b/a", "b/ab", "\n", "aaa"];

/** A layer with a policy, and files that it is about. */
function labelled(lines: readonly string[], aliases: string): Buffer {
  const directories = ["usr", "usr/b", "srv", "boot", "sysroot", "etc", "etc/selinux"];
  const policy = ["etc/selinux/x", "etc/selinux/x/contexts", FILES_OF_POLICY];
  return Buffer.concat([
    ...[...directories, ...policy].map((name) => member({ name: `${name}/`, type: "5" })),
    member({ name: "etc/selinux/config" }, "SELINUXTYPE=x\n"),
    member({ name: `${FILES_OF_POLICY}/file_contexts` }, `${lines.join("\n")}\n`),
    member({ name: `${FILES_OF_POLICY}/file_contexts.subs_dist` }, `${aliases}\n`),
    ...NAMES.map((name, i) =>
      i % 4 === 3
        ? member({ name: `usr/${name}`, type: "2", linkName: "x" })
        : member({ name: `usr/${name}` }, "x".repeat(i * 10)),
    ),
    member({ name: "srv/a" }, "x"),
    member({ name: "srv/b/", type: "5" }),
    member({ name: "srv/linked", type: "1", linkName: "usr/a" }),
    Buffer.alloc(1024),
  ]);
}

let scratch: string;
beforeEach((ctx) => {
  needsCfsctl(ctx);
  scratch = mkdtempSync(join(tmpdir(), "random-"));
});
afterEach(() => {
  if (scratch !== undefined) rmSync(scratch, { recursive: true, force: true });
}, 120_000);

interface Made {
  /** fs-verity digest of the image. */
  readonly digest: string;
  /** For people. */
  readonly tree: string;
}

async function byOurs(directory: string, bootable: boolean): Promise<Made> {
  using repository = openRepository(join(scratch, "ours"));
  const source = `oci:${directory}`;
  const transport = await openLayout({ transport: "oci", source, directory, tag: undefined });
  await pull(repository, transport, { name: "x", platform: PLATFORM, bootable });
  const stored = openImage(repository, "x");
  const tree = formatDumpfile(imageTree(repository, stored, { bootable }));
  const digest = toHex(imageDigest(repository, stored, 1, { bootable }));
  return { digest, tree: Buffer.from(tree).toString("latin1") };
}

function byTheirs(directory: string, bootable: boolean): Made | { why: string } {
  const repository = join(scratch, "theirs");
  const option = bootable ? ["--bootable"] : [];
  const source = `oci:${directory}`;
  const { status, stderr } = attempt.cfsctl(repository, "oci", "pull", source, "x", ...option);
  if (status !== 0) return { why: stderr };
  const digest = cfsctl(repository, "oci", "compute-id", "x", ...option).trim();
  return { digest, tree: cfsctl(repository, "oci", "dump", "x", ...option) };
}

/** Both make the same of these layers. Returns whether they make anything. */
async function agree(tars: readonly Buffer[], bootable: boolean): Promise<boolean> {
  const layout = join(scratch, "layout");
  rmSync(layout, { recursive: true, force: true });
  mkdirSync(layout);
  const made = image(tars.map((tar) => ({ tar, compression: "none" })));
  writeLayout(layout, [{ image: made, platform: PLATFORM }]);
  const theirs = byTheirs(layout, bootable);
  const ours = await byOurs(layout, bootable).catch((error: unknown) => ({
    why: describeError(error).message,
  }));
  if ("tree" in theirs !== "tree" in ours)
    throw new Error(`ours: ${JSON.stringify(ours)}\ntheirs: ${JSON.stringify(theirs)}`);
  if (!("digest" in theirs && "digest" in ours)) return false;
  // in its dumps cfsctl does not take away what is too much in a mode, in its images it does
  if (ours.digest !== theirs.digest) expect(ours).toEqual(theirs);
  return true;
}

function makeRepositories(): void {
  initRepository(join(scratch, "ours"), { hash: "sha256", format: 1, insecure: true });
  cfsctl(join(scratch, "theirs"), "init", "--algorithm=fsverity-sha256-12", "--insecure");
}

const timeout = 10_000 + RUNS * 3_000;

test("the same trees of random layers", { timeout }, async () => {
  makeRepositories();
  let trees = 0;
  const property = fc.asyncProperty(layers, async (tars) => {
    if (await agree(tars, false)) trees++;
  });
  await fc.assert(property, { numRuns: RUNS });
  expect(trees).toBeGreaterThan(RUNS / 10);
});

test("the same labels by random policies", { timeout }, async () => {
  makeRepositories();
  let trees = 0;
  const lines = fc.array(line, { minLength: 1, maxLength: 6 });
  const property = fc.asyncProperty(lines, alias, async (policy, aliases) => {
    if (await agree([labelled(policy, aliases)], true)) trees++;
  });
  await fc.assert(property, { numRuns: RUNS });
  expect(trees).toBeGreaterThan(RUNS / 10);
});
