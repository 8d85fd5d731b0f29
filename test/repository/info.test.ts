/** What is told about a repository of which something is damaged. */
import { spawnSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { toHex } from "../../src/formats/digest.ts";
import { repositoryInfo } from "../../userspace/repository/info.ts";
import { objectFile } from "../../userspace/repository/layout.ts";
import { zstd } from "../../userspace/zstd.ts";
import { bytes, imageOf, newRepository, streamOf } from "./fixture.ts";

const PROGRAM = fileURLToPath(new URL("../../dist/cfsboot.mjs", import.meta.url));

function filled() {
  const fixture = newRepository("insecure");
  using repository = fixture.open();
  const file = repository.storeObject(bytes("f".repeat(5000))).digest;
  for (const name of ["one", "two"]) {
    const stream = streamOf("sha256", [file], name);
    repository.writeStream(`stream-${name}`, stream, { existing: "keep", ref: `oci/${name}` });
  }
  repository.writeImage(imageOf([file]), "tree");
  return fixture;
}

test("all that can be read is told, and what cannot is named", () => {
  for (const damage of ["cut", "gone", "unlinked"] as const) {
    using fixture = filled();
    {
      using repository = fixture.open();
      const object = join(fixture.path, objectFile(repository.streamObject("stream-one")!));
      if (damage === "cut") writeFileSync(object, "no stream");
      else rmSync(damage === "gone" ? object : join(fixture.path, "streams/stream-one"));
    }
    using repository = fixture.open();
    const { garbage, roots, unreadable } = repositoryInfo(repository);
    expect(unreadable).toMatchObject([{ kind: "streams", entry: "stream-one", refs: ["oci/one"] }]);
    expect(roots.map(({ refs }) => refs)).toEqual([["oci/two"], ["tree"]]);
    expect(roots.map(({ all }) => all.objects)).toEqual([2, 2]);
    expect(garbage, damage).toBeUndefined();

    const args = [PROGRAM, "repo", "info", "--repo", fixture.path];
    const run = (...more: string[]) =>
      spawnSync(process.execPath, [...args, ...more], { encoding: "utf8" });
    const { status, stdout, stderr } = run();
    expect(status).toBe(0);
    expect(stdout).toMatch(/\n {2}garbage: {3}not known\n/);
    expect(stdout).toMatch(/\ntwo +2 /);
    expect(stderr).toMatch(
      /^warning: what one needs is not known: .*\nhint: cfsboot repo fsck --repair/,
    );
    expect(JSON.parse(run("--json").stdout)).toMatchObject({
      garbage: null,
      unreadable: [{ names: ["one"], kind: "streams", error: expect.stringMatching(/./) }],
    });
  }
});

test("streams from before there were splitstreams are said to be such", () => {
  using fixture = filled();
  {
    using repository = fixture.open();
    const old = zstd.compress(Uint8Array.from({ length: 100 }, (_, i) => i));
    repository.writeStream("ab".repeat(32), old, { existing: "keep", ref: "old" });
  }
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [PROGRAM, "repo", ...args, "--repo", fixture.path], {
      encoding: "utf8",
    });
  expect(run("fsck").stdout).toContain(
    `stream-read-failed: streams/${"ab".repeat(32)}: not a splitstream: it is what composefs-rs wrote until November 2025`,
  );
  // Nobody knows what they need, so nothing goes.
  const { status, stderr } = run("gc");
  expect(status).toBe(1);
  expect(stderr).toContain("nothing is removed");
  using repository = fixture.open();
  expect(repositoryInfo(repository).all.objects).toBe(5);
  expect(toHex(repository.streamObject("ab".repeat(32))!)).toMatch(/./);
});
