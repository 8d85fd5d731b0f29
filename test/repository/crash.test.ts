/**
 * What is left when a run ends at any place: each system call in turn fails, or is the last that the process makes. After
 * it the repository must open, hold nothing that is damaged, and the same run must succeed.
 */
import { existsSync, readdirSync, readlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { objectPath, toHex } from "../../src/formats/digest.ts";
import type { Linux } from "../../src/linux/linux.ts";
import { digestBytes } from "../../userspace/hash.ts";
import { isProblem } from "../../userspace/repository/errors.ts";
import { initRepository } from "../../userspace/repository/init.ts";
import type { Platform } from "../../userspace/repository/platform.ts";
import { openRepository } from "../../userspace/repository/repository.ts";
import { sealRepository } from "../../userspace/repository/seal.ts";
import { fakeVerity } from "./fake-verity.ts";
import {
  bytes,
  platformOf,
  quickLinux,
  streamOf,
  temporaryDirectory,
  withoutNamelessFiles,
} from "./fixture.ts";
import { troubleAt } from "./trouble.ts";

const FILE = Buffer.alloc(5000, "some file");
const MORE_THAN_ANY_RUN = 2000;

/** All that writes to a repository, in one run. */
function run(path: string, linux: Linux, sealing: boolean): void {
  const platform = platformOf(linux);
  try {
    initRepository(path, { hash: "sha256", format: 1, insecure: sealing, platform });
  } catch (error) {
    if (!sealing || !isProblem(error, "mismatch")) throw error; // it was sealed in an earlier run
  }
  fill(path, platform);
  if (sealing) sealRepository(path, { platform });
}

function fill(path: string, platform: Platform): void {
  using repository = openRepository(path, { platform });
  const writer = repository.createObject();
  let file: Uint8Array;
  try {
    writer.write(FILE.subarray(0, 3000));
    writer.write(FILE.subarray(3000));
    file = writer.finish().digest;
  } finally {
    writer.abort();
  }
  repository.writeStream("oci-layer-a", streamOf("sha256", [file]), { existing: "keep" });
  for (const text of ["one", "two"]) {
    repository.storeObject(bytes(text));
    repository.writeStream("oci-config-b", streamOf("sha256", [], text), { existing: "replace" });
  }
  repository.writeImage(bytes("an image"), "os/debian");
  repository.setRef("streams", "oci/tag", "oci-layer-a");
  repository.setRef("streams", "oci/tag", "oci-config-b");
  repository.setRef("streams", "gone", "oci-layer-a");
  repository.removeRef("streams", "gone");
}

/** Every file and link below a directory, with what it holds. */
function listing(path: string, prefix = ""): string[] {
  return readdirSync(path, { withFileTypes: true })
    .flatMap((entry) => {
      const at = join(path, entry.name);
      if (entry.isDirectory()) return listing(at, `${prefix}${entry.name}/`);
      const target = entry.isSymbolicLink() ? ` -> ${readlinkSync(at)}` : "";
      return [`${prefix}${entry.name}${target}`];
    })
    .sort();
}

const isTemporary = (line: string) => /(^|\/)\.(symlink|tmp-object|meta\.json)-/.test(line);

/** Links lead somewhere, and objects are what their names say. */
function expectSound(path: string, linux: Linux): void {
  if (!existsSync(join(path, "meta.json"))) return; // there is no repository yet
  using repository = openRepository(path, { platform: platformOf(linux) });
  for (const line of listing(path)) {
    const [name, target] = line.split(" -> ") as [string, string | undefined];
    if (target !== undefined && !isTemporary(name)) {
      expect(existsSync(join(path, dirname(name), target)), line).toBe(true);
    }
    const object = /^objects\/(..)\/(.*)$/.exec(name);
    if (object !== null) {
      const digest = Buffer.from(`${object[1]}${object[2]}`, "hex");
      const data = repository.readObject(digest);
      expect(toHex(digestBytes("sha256", data))).toBe(toHex(digest));
    }
  }
  for (const id of repository.listStreams()) [...repository.readStream(id).chunks()];
}

describe.each([
  ["a call fails", "error"],
  ["the process dies", "death"],
  ["the disk is full", "full"],
  ["the disk is broken", "broken"],
] as const)("%s", (_, kind) => {
  test.each([
    ["with fs-verity", false, true],
    ["without, and sealed", true, true],
    ["with fs-verity, but no nameless files", false, false],
  ])("%s", (_, sealing, nameless) => {
    const base = nameless ? quickLinux : withoutNamelessFiles;
    let expected: string[];
    {
      using directory = temporaryDirectory();
      const path = join(directory.path, "r");
      run(path, fakeVerity(base).linux, sealing);
      expected = listing(path);
      expect(expected).toContain("streams/refs/oci/tag -> ../../oci-config-b");
      expect(expected).toContain(
        `objects/${objectPath(toHex(digestBytes("sha256", bytes("two"))))}`,
      );
    }
    let tried = 0;
    for (let nth = 1; nth < MORE_THAN_ANY_RUN; nth++) {
      using directory = temporaryDirectory();
      const path = join(directory.path, "r");
      const { linux } = fakeVerity(base);
      const trouble = troubleAt(linux, nth, kind);
      let failed = false;
      try {
        run(path, trouble.linux, sealing);
      } catch {
        failed = true;
      }
      if (!trouble.happened()) break;
      tried++;
      trouble.bury();
      if (existsSync(path)) {
        expectSound(path, linux);
        if (kind !== "death" && failed) expect(listing(path).filter(isTemporary)).toEqual([]);
      }
      run(path, linux, sealing);
      expectSound(path, linux);
      {
        using repository = openRepository(path, { platform: platformOf(linux) });
        expect(repository.insecure).toBe(false);
        repository.exclusively(() => {});
      }
      expect(listing(path), `after call ${nth}`).toEqual(expected);
    }
    expect(tried).toBeGreaterThan(kind === "error" || kind === "death" ? 100 : 30);
    expect(tried).toBeLessThan(MORE_THAN_ANY_RUN - 1);
  });
});
