/** Pulls that end anywhere: the repository stays sound, the next pull completes it, and what was left over goes. */
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Linux } from "../../src/linux/linux.ts";
import { completeRewrites } from "../../userspace/oci/commit.ts";
import { checkImages } from "../../userspace/oci/fsck.ts";
import { openLayout } from "../../userspace/oci/layout.ts";
import { pull } from "../../userspace/oci/pull.ts";
import { checkRepository } from "../../userspace/repository/fsck.ts";
import { collectGarbage } from "../../userspace/repository/gc.ts";
import { initRepository } from "../../userspace/repository/init.ts";
import { openRepository } from "../../userspace/repository/repository.ts";
import { fakeVerity } from "../repository/fake-verity.ts";
import { platformOf, quickLinux, withoutNamelessFiles } from "../repository/fixture.ts";
import { troubleAt } from "../repository/trouble.ts";
import { image, tar, writeLayout } from "./fixtures/images.ts";

let scratch: string;
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "interrupted-"));
  const base = tar([
    { path: "usr/" },
    { path: "usr/lib", data: "l".repeat(5000) },
    { path: "run/" },
    { path: "boot/" },
    { path: "boot/vmlinuz", data: "k".repeat(100) },
    { path: "sysroot/" },
  ]);
  const top = tar([{ path: "etc/" }, { path: "etc/passwd", data: "p".repeat(700) }]);
  const layers = [base, top].map((bytes) => ({ tar: bytes, compression: "gzip" as const }));
  writeLayout(join(scratch, "layout"), [{ image: image(layers) }]);
});
afterEach(() => rmSync(scratch, { recursive: true }));

async function pullWith(path: string, linux: Linux): Promise<void> {
  using repository = openRepository(path, { platform: platformOf(linux) });
  const directory = join(scratch, "layout");
  const source = `oci:${directory}`;
  const transport = await openLayout({ transport: "oci", source, directory, tag: undefined });
  const platform = { os: "linux", architecture: "amd64" };
  await pull(repository, transport, { name: "tag", platform, bootable: true });
}

/**
 * All names, and what links hold. The manifest's stream has no name of its own: the order of the references in it tells
 * how it was written.
 */
function names(path: string): string[] {
  const lines = namesOf(path);
  const manifest = lines.find(
    (line) => line.includes("/oci-manifest-") && line.includes("objects"),
  )!;
  const object = manifest.slice(manifest.indexOf("/objects/"));
  return lines.map((line) => line.replace(object, "/objects/manifest")).sort();
}

function namesOf(path: string): string[] {
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => {
      const name = join(entry.parentPath, entry.name);
      return name.slice(path.length) + (entry.isSymbolicLink() ? ` ${readlinkSync(name)}` : "");
    });
}

test.each([
  ["secure", "death", quickLinux],
  ["insecure", "death", withoutNamelessFiles],
  ["secure", "error", withoutNamelessFiles],
  ["insecure", "error", quickLinux],
] as const)(
  "%s, %s at every third call",
  async (kind, trouble, base) => {
    let calls = 0;
    let complete: string[] | undefined;
    for (let nth = 0; ; nth += 3) {
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
          () => "failed",
        );
        interrupted.bury();
        if (!interrupted.happened()) break;
        // closing and such may fail without harm
        if (trouble === "death") expect(outcome, `call ${nth}`).toBe("failed");
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
