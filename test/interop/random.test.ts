/**
 * Random layers, pulled by cfsctl and by ours: both make the same tree of them, or neither makes any.
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
import { type Image, image, writeLayout } from "../oci/fixtures/images.ts";
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
      { weight: 4, arbitrary: fc.constantFrom("a", "b", "c") },
      { weight: 1, arbitrary: component },
    ),
    fc.constantFrom("", "", "", "/"),
  )
  .map((parts) => parts.join(""));

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
const records = fc.dictionary(
  fc.constantFrom(
    "mtime",
    "uid",
    "path",
    "linkpath",
    "SCHILY.xattr.user.x",
    "SCHILY.xattr.security.capability",
    "SCHILY.xattr.trusted.overlay.x",
    "comment",
  ),
  fc.constantFrom("1.5", "12", "usr/a", "b", "0.123456789123", "-1", ""),
  { maxKeys: 2 },
);
const body = fc.oneof(
  fc.constant(""),
  fc.integer({ min: 1, max: 200 }).map((size) => "x".repeat(size)),
  fc.integer({ min: 4000, max: 9000 }).map((size) => "y".repeat(size)),
);

const entry = fc
  .record({
    type: fc.oneof(
      { weight: 6, arbitrary: fc.constantFrom("0", "5") },
      { weight: 4, arbitrary: fc.constantFrom("1", "2", "3", "4", "6", "\0", "7") },
    ),
    name: path,
    linkName: path,
    fields,
    records: fc.option(records, { freq: 4 }),
    long: fc.option(path, { freq: 8 }),
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

let scratch: string;
beforeEach((ctx) => {
  needsCfsctl(ctx);
  scratch = mkdtempSync(join(tmpdir(), "random-"));
});
afterEach(() => {
  if (scratch !== undefined) rmSync(scratch, { recursive: true, force: true });
});

interface Made {
  /** fs-verity digest of the image. */
  readonly digest: string;
  /** For people. */
  readonly tree: string;
}

async function treeByOurs(directory: string): Promise<Made> {
  using repository = openRepository(join(scratch, "ours"));
  const source = `oci:${directory}`;
  const transport = await openLayout({ transport: "oci", source, directory, tag: undefined });
  await pull(repository, transport, { name: "x", platform: PLATFORM, bootable: false });
  const stored = openImage(repository, "x");
  const tree = Buffer.from(formatDumpfile(imageTree(repository, stored))).toString("latin1");
  return { digest: toHex(imageDigest(repository, stored, 1)), tree };
}

function treeByTheirs(directory: string): Made | { why: string } {
  const repository = join(scratch, "theirs");
  const { status, stderr } = attempt.cfsctl(repository, "oci", "pull", `oci:${directory}`, "x");
  if (status !== 0) return { why: stderr };
  const digest = cfsctl(repository, "oci", "compute-id", "x").trim();
  return { digest, tree: cfsctl(repository, "oci", "dump", "x") };
}

test("the same trees of random layers", { timeout: 10_000 + RUNS * 3_000 }, async () => {
  initRepository(join(scratch, "ours"), { hash: "sha256", format: 1, insecure: true });
  cfsctl(join(scratch, "theirs"), "init", "--algorithm=fsverity-sha256-12", "--insecure");
  const layout = join(scratch, "layout");
  let trees = 0;
  const write = (made: Image) => {
    rmSync(layout, { recursive: true, force: true });
    mkdirSync(layout);
    writeLayout(layout, [{ image: made, platform: PLATFORM }]);
  };
  await fc.assert(
    fc.asyncProperty(layers, async (tars) => {
      write(image(tars.map((tar) => ({ tar, compression: "none" }))));
      const theirs = treeByTheirs(layout);
      const ours = await treeByOurs(layout).catch((error: unknown) => ({
        why: describeError(error).message,
      }));
      if ("tree" in theirs && "tree" in ours) {
        trees++;
        // in its dumps cfsctl does not take away what is too much in a mode, in its images it does
        if (ours.digest !== theirs.digest) expect(ours).toEqual(theirs);
      } else if ("tree" in theirs || "tree" in ours) {
        throw new Error(`ours: ${JSON.stringify(ours)}\ntheirs: ${JSON.stringify(theirs)}`);
      }
    }),
    { numRuns: RUNS },
  );
  expect(trees).toBeGreaterThan(RUNS / 10);
});
