/** Golden repositories: made again they are the same, and they are understood as ever. */
import { cpSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { checkImages } from "../../userspace/oci/fsck.ts";
import { checkRepository } from "../../userspace/repository/fsck.ts";
import { collectGarbage } from "../../userspace/repository/gc.ts";
import { openRepository } from "../../userspace/repository/repository.ts";
import { attempt, needsCfsctl } from "../interop/cfsctl.ts";
import { temporaryDirectory } from "./fixture.ts";
import {
  contentsOf,
  describeRepository,
  GOLDEN,
  goldenPath,
  makeGolden,
  recorded,
  recordedCompressor,
} from "./golden.ts";

describe.each(GOLDEN)("$name", (golden) => {
  /** A copy, since git does not keep empty directories, nor should a test write to what it was given. */
  function copy(directory: string): string {
    const path = join(directory, "repository");
    cpSync(goldenPath(golden), path, { recursive: true, verbatimSymlinks: true });
    return path;
  }

  test("is written as ever, to the byte", async (ctx) => {
    const compressor = process.versions.zstd;
    if (compressor !== recordedCompressor()) {
      ctx.skip(`streams are compressed by zstd ${compressor}, not ${recordedCompressor()}`);
    }
    using directory = temporaryDirectory();
    const path = join(directory.path, "repository");
    await makeGolden(path, golden);
    expect(contentsOf(path)).toEqual(contentsOf(goldenPath(golden)));
  });

  test("is understood as ever", () => {
    using directory = temporaryDirectory();
    using repository = openRepository(copy(directory.path));
    expect(JSON.parse(JSON.stringify(describeRepository(repository)))).toEqual(recorded(golden));
  });

  test("loses its garbage, and nothing else", () => {
    using directory = temporaryDirectory();
    const path = copy(directory.path);
    const before = contentsOf(path);
    {
      using repository = openRepository(path);
      expect(collectGarbage(repository)).toMatchObject({ objectsRemoved: 3, streamsPruned: 1 });
      expect(checkRepository(repository).findings).toEqual([]);
      expect(checkImages(repository).findings).toEqual([]);
    }
    const after = contentsOf(path);
    expect(Object.keys(before).length - Object.keys(after).length).toBe(4);
    expect(before).toMatchObject(after);
  });

  test("is sound to cfsctl, which finds the same garbage", (ctx) => {
    needsCfsctl(ctx);
    using directory = temporaryDirectory();
    const path = copy(directory.path);
    const fsck = attempt.cfsctl(path, "oci", "fsck");
    expect(fsck.stdout).toMatch(/status: ok\noci images: 3\/3 ok\n$/);
    const gc = attempt.cfsctl(path, "gc", "--dry-run");
    const { objectsRemoved, objectsBytes } = (recorded(golden) as { gc: Record<string, number> })
      .gc;
    expect(gc.stdout).toContain(`Objects: ${objectsRemoved} removed (${objectsBytes} bytes)\n`);
  });
});
