/** Pulls that end anywhere: the repository stays sound, the next pull completes it, and what was left over goes. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Linux } from "../../src/linux/linux.ts";
import { describeError } from "../../userspace/cli/errors.ts";
import { completeRewrites } from "../../userspace/oci/commit.ts";
import { checkImages } from "../../userspace/oci/fsck.ts";
import { listTags } from "../../userspace/oci/image.ts";
import { openLayout } from "../../userspace/oci/layout.ts";
import { pull } from "../../userspace/oci/pull.ts";
import { removeImage } from "../../userspace/oci/remove.ts";
import { checkRepository } from "../../userspace/repository/fsck.ts";
import { collectGarbage } from "../../userspace/repository/gc.ts";
import { initRepository } from "../../userspace/repository/init.ts";
import { openRepository } from "../../userspace/repository/repository.ts";
import { fakeVerity } from "../repository/fake-verity.ts";
import {
  platformOf,
  quickLinux,
  temporaryDirectory,
  withoutNamelessFiles,
} from "../repository/fixture.ts";
import { type TroubleKind, troubleAt } from "../repository/trouble.ts";
import { image, tar, writeLayout } from "./fixtures/images.ts";
import { names } from "./fixtures/pulling.ts";

let directory: ReturnType<typeof temporaryDirectory>;
let scratch: string;
beforeEach(() => {
  directory = temporaryDirectory();
  scratch = directory.path;
  const base = tar([
    { path: "usr/" },
    { path: "usr/lib", data: "l".repeat(5000) },
    { path: "run/" },
    { path: "boot/" },
    { path: "boot/vmlinuz", data: "k".repeat(100) },
    { path: "sysroot/" },
  ]);
  const top = tar([{ path: "etc/" }, { path: "etc/passwd", data: "p".repeat(700) }]);
  const write = (name: string, ...tars: Buffer[]) => {
    const layers = tars.map((bytes) => ({ tar: bytes, compression: "gzip" as const }));
    writeLayout(join(scratch, name), [{ image: image(layers) }]);
  };
  write("tag", base, top);
  write("other", base, tar([{ path: "usr/" }, { path: "usr/other", data: "o".repeat(900) }]));
});
afterEach(() => directory[Symbol.dispose]());

async function pullWith(path: string, linux: Linux, name = "tag"): Promise<void> {
  using repository = openRepository(path, { platform: platformOf(linux) });
  const directory = join(scratch, name);
  const source = `oci:${directory}`;
  const transport = await openLayout({ transport: "oci", source, directory, tag: undefined });
  const platform = { os: "linux", architecture: "amd64" };
  await pull(repository, transport, { name, platform, bootable: true });
}

test.each([
  ["secure", "death at every third call", quickLinux],
  ["insecure", "death at every third call", withoutNamelessFiles],
  ["secure", "error at every third call", withoutNamelessFiles],
  ["insecure", "error at every third call", quickLinux],
  ["secure", "full disk at every write", quickLinux],
  ["insecure", "full disk at every write", withoutNamelessFiles],
  ["secure", "broken disk at every write", withoutNamelessFiles],
  ["insecure", "broken disk at every write", quickLinux],
] as const)(
  "a pull: %s, %s",
  async (kind, what, base) => {
    const trouble = what.replace(/ .*/, "") as TroubleKind;
    const step = trouble === "death" || trouble === "error" ? 3 : 1;
    let calls = 0;
    let complete: string[] | undefined;
    for (let nth = 0; ; nth += step) {
      const path = join(scratch, "repo");
      const { linux } = fakeVerity(base);
      initRepository(path, {
        hash: "sha256",
        format: 1,
        insecure: kind === "insecure",
        platform: platformOf(linux),
      });
      if (nth > 0) {
        const interrupted = troubleAt(linux, nth, trouble);
        const outcome = await pullWith(path, interrupted.linux).then(
          () => "done",
          (error: unknown) => describeError(error).message,
        );
        interrupted.bury();
        if (!interrupted.happened()) break;
        // closing and such may fail without harm
        if (trouble !== "error") expect(outcome, `call ${nth}`).not.toBe("done");
        if (trouble === "full") expect(outcome).toContain("No space left on device");
        calls++;
      }
      using repository = openRepository(path, { platform: platformOf(linux) });
      const wrong = () => [
        ...checkRepository(repository).findings,
        ...checkImages(repository).findings,
      ];
      expect(wrong(), `call ${nth}`).toEqual([]);
      await pullWith(path, linux);
      collectGarbage(repository, { prepare: () => completeRewrites(repository) });
      expect(wrong(), `call ${nth}`).toEqual([]);
      complete ??= names(path);
      expect(names(path), `call ${nth}`).toEqual(complete);
      rmSync(path, { recursive: true });
    }
    expect(calls).toBeGreaterThan(50);
  },
  120_000,
);

/** Every way in which it can end. */
const TROUBLES = ["error", "death", "full", "broken"] as const;

test.each([
  ["secure", quickLinux],
  ["insecure", withoutNamelessFiles],
] as const)(
  "removal and collection: %s, any trouble at every call",
  async (kind, base) => {
    const path = join(scratch, "repo");
    const { linux } = fakeVerity(base);
    const open = (with_: Linux) => openRepository(path, { platform: platformOf(with_) });
    initRepository(path, {
      hash: "sha256",
      format: 1,
      insecure: kind === "insecure",
      platform: platformOf(linux),
    });
    await pullWith(path, linux);
    collect(linux);
    const remaining = names(path);

    function collect(with_: Linux): void {
      using repository = open(with_);
      collectGarbage(repository, { prepare: () => completeRewrites(repository) });
    }
    function remove(with_: Linux): void {
      using repository = open(with_);
      removeImage(repository, "other");
      collectGarbage(repository, { prepare: () => completeRewrites(repository) });
    }
    for (const trouble of TROUBLES) {
      let calls = 0;
      for (let nth = 1; ; nth += trouble === "full" || trouble === "broken" ? 1 : 5) {
        await pullWith(path, linux, "other");
        const interrupted = troubleAt(linux, nth, trouble);
        try {
          remove(interrupted.linux);
        } catch {}
        interrupted.bury();
        {
          using repository = open(linux);
          const wrong = [
            ...checkRepository(repository).findings,
            ...checkImages(repository).findings,
          ];
          expect(wrong, `${trouble} at call ${nth}`).toEqual([]);
          const isThere = listTags(repository).some(({ tag }) => tag === "other");
          if (isThere) removeImage(repository, "other");
        }
        collect(linux);
        expect(names(path), `${trouble} at call ${nth}`).toEqual(remaining);
        if (!interrupted.happened()) break;
        calls++;
      }
      expect(calls, trouble).toBeGreaterThan(0);
    }
  },
  120_000,
);
