/** Repositories that are there already: taken as they are, begun anew, mended. */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { objectPath, toHex } from "../../src/formats/digest.ts";
import { newMetadata, serializeMetadata } from "../../src/formats/meta-json.ts";
import type { Linux } from "../../src/linux/linux.ts";
import { checkRepository } from "../../userspace/repository/fsck.ts";
import { collectGarbage } from "../../userspace/repository/gc.ts";
import { ensureRepository, initRepository } from "../../userspace/repository/init.ts";
import { mendMetadata } from "../../userspace/repository/mend-metadata.ts";
import { openRepository } from "../../userspace/repository/repository.ts";
import { resetRepository } from "../../userspace/repository/reset.ts";
import {
  bytes,
  type Fixture,
  imageOf,
  newRepository,
  platformOf,
  streamOf,
  temporaryDirectory,
} from "./fixture.ts";
import { troubleAt } from "./trouble.ts";

const PROGRAM = fileURLToPath(new URL("../../dist/cfsboot.mjs", import.meta.url));
const HELLO = bytes("hello world, in more than a few bytes");

const metaOf = (path: string) => readFileSync(join(path, "meta.json"), "utf8");

function filled(kind: "secure" | "insecure"): Fixture & { readonly file: Uint8Array } {
  const fixture = newRepository(kind);
  using repository = fixture.open();
  const file = repository.storeObject(HELLO).digest;
  repository.writeStream("s", streamOf("sha256", [file]), { existing: "keep", ref: "oci/größe" });
  repository.writeStream("ü", streamOf("sha256", []), { existing: "keep" });
  repository.writeImage(imageOf([file]), "a/b");
  return { ...fixture, file };
}

function cfsboot(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, "repo", ...args], {
    encoding: "utf8",
    timeout: 30_000,
  });
  return { status, stdout, stderr };
}

describe("ensure", () => {
  test("makes a repository where there is none, and leaves every other one as it is", () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "r");
    expect(ensureRepository(path, { hash: "sha256", format: 2, insecure: true })).toBe("created");
    const before = metaOf(path);
    expect(ensureRepository(path)).toBe("opened");
    expect(ensureRepository(path, { format: 1, insecure: false })).toBe("opened");
    expect(() => ensureRepository(path, { hash: "sha512" })).toThrow(/sha512 was asked for/);
    expect(metaOf(path)).toBe(before);
  });

  test.each(["secure", "insecure"] as const)("upgrades one without meta.json (%s)", (kind) => {
    using fixture = filled(kind);
    const { path, platform } = fixture;
    rmSync(join(path, "meta.json"));
    expect(ensureRepository(path, { platform })).toBe("upgraded");
    expect(metaOf(path)).toBe(serializeMetadata(newMetadata("sha256", 2)));
    expect(fixture.open().insecure).toBe(kind === "insecure");
    expect(ensureRepository(path, { platform })).toBe("opened");
  });

  test("an upgrade that is interrupted leaves the repository as it was, and the next one completes it", () => {
    for (const kind of ["error", "death"] as const) {
      let happened = true;
      for (let nth = 1; happened; nth++) {
        using fixture = filled("secure");
        const { path, platform } = fixture;
        rmSync(join(path, "meta.json"));
        const trouble = troubleAt(platform.linux, nth, kind);
        try {
          ensureRepository(path, { platform: platformOf(trouble.linux) });
        } catch {}
        trouble.bury();
        happened = trouble.happened();
        // There is a meta.json, or there is none; never a part of one.
        if (existsSync(join(path, "meta.json"))) {
          expect(metaOf(path)).toBe(serializeMetadata(newMetadata("sha256", 2)));
        }
        expect(["opened", "upgraded"]).toContain(ensureRepository(path, { platform }));
        using repository = fixture.open({ requireVerity: true });
        expect(repository.listStreams()).toEqual(["s", "ü"]);
      }
    }
  });
});

describe.each(["secure", "insecure"] as const)("%s: reset", (kind) => {
  const insecure = kind === "insecure";

  test("removes all names and keeps the objects for the next pull", () => {
    using fixture = filled(kind);
    const { path, platform } = fixture;
    writeFileSync(join(path, "README"), "not ours");
    expect(resetRepository(path, { format: 2, insecure, platform })).toBe("sha256");
    expect(metaOf(path)).toBe(serializeMetadata(newMetadata("sha256", 2)));
    expect(readdirSync(path).sort()).toEqual(["README", "meta.json", "objects"]);
    using repository = fixture.open(insecure ? {} : { requireVerity: true });
    expect(repository).toMatchObject({ hash: "sha256", formats: [2], insecure });
    expect(repository.storeObject(HELLO).existing).toBe(true);
    expect(checkRepository(repository).findings).toEqual([]);
    expect(collectGarbage(repository).objectsRemoved).toBe(4);
  });

  test("with another hash drops the objects that nothing could use any more", () => {
    using fixture = filled(kind);
    const { path, platform } = fixture;
    expect(resetRepository(path, { hash: "sha512", format: 1, insecure, platform })).toBe("sha512");
    using repository = fixture.open();
    expect(repository.hash).toBe("sha512");
    expect(checkRepository(repository)).toMatchObject({ findings: [], objects: { checked: 0 } });
    expect(repository.storeObject(HELLO).existing).toBe(false);
  });

  test("works where meta.json is damaged or missing", () => {
    for (const damage of ["{", undefined]) {
      using fixture = filled(kind);
      const { path, platform } = fixture;
      rmSync(join(path, "meta.json"));
      if (damage !== undefined) writeFileSync(join(path, "meta.json"), damage);
      expect(resetRepository(path, { format: 1, insecure, platform })).toBe("sha256");
      using repository = fixture.open();
      expect(repository).toMatchObject({ hash: "sha256", formats: [1], insecure });
    }
  });

  test("leaves a repository alone that demands what is not known", () => {
    using fixture = filled(kind);
    const { path, platform } = fixture;
    const known = metaOf(path);
    for (const meta of [
      known.replace('"incompatible": []', '"incompatible": ["future"]'),
      known.replace("v1_erofs", "future"),
    ]) {
      rmSync(join(path, "meta.json"));
      writeFileSync(join(path, "meta.json"), meta);
      const before = readdirSync(path);
      expect(() => resetRepository(path, { format: 1, insecure, platform })).toThrow(/reset/);
      expect(readdirSync(path)).toEqual(before);
    }
  });

  test("at whatever call it is interrupted, the repository is sound, and the next run completes it", () => {
    for (const trouble of ["error", "death"] as const) {
      let happened = true;
      let calls = 0;
      for (let nth = 1; happened; nth++) {
        using fixture = filled(kind);
        const { path, platform } = fixture;
        const wrong = troubleAt(platform.linux, nth, trouble);
        const options = { hash: "sha256", format: 2, insecure } as const;
        try {
          resetRepository(path, { ...options, platform: platformOf(wrong.linux) });
        } catch {}
        wrong.bury();
        happened = wrong.happened();
        if (happened) calls++;
        {
          using repository = fixture.open();
          expect(checkRepository(repository).findings, `call ${nth}`).toEqual([]);
          collectGarbage(repository, { dryRun: true });
        }
        resetRepository(path, { ...options, platform });
        expect(readdirSync(path).sort()).toEqual(["meta.json", "objects"]);
      }
      expect(calls).toBeGreaterThan(30);
    }
  });
});

describe("reset", () => {
  test("removes nothing where there can be no secure repository", () => {
    using fixture = filled("insecure");
    const { path, platform } = fixture;
    const linux: Linux = {
      ...platform.linux,
      ioctl(fd, request, argument) {
        if (request !== 0x40806685) return platform.linux.ioctl(fd, request, argument);
        return platform.linux.ioctl(-1, 0, argument); // no such ioctl
      },
    };
    const before = readdirSync(path).sort();
    const reset = () =>
      resetRepository(path, { format: 1, insecure: false, platform: platformOf(linux) });
    expect(reset).toThrow(/reset/);
    expect(readdirSync(path).sort()).toEqual(before);
    expect(fixture.open().listStreams()).toEqual(["s", "ü"]);
  });

  test("touches no directory that is not a repository", () => {
    using directory = temporaryDirectory();
    mkdirSync(join(directory.path, "images"));
    symlinkSync("photo", join(directory.path, "images/latest"));
    resetRepository(directory.path, { format: 1, insecure: true });
    expect(readdirSync(join(directory.path, "images"))).toEqual(["latest"]);
    expect(existsSync(join(directory.path, "meta.json"))).toBe(true);
  });

  test("waits until nobody else has the repository open", () => {
    using fixture = filled("insecure");
    using _other = fixture.open();
    const onWait = () => {
      throw new Error("must wait");
    };
    const { path, platform } = fixture;
    const message = (() => {
      try {
        resetRepository(path, { format: 1, insecure: true, platform, onWait });
      } catch (error) {
        return ((error as Error).cause as Error).message;
      }
      return undefined;
    })();
    expect(message).toBe("must wait");
  });
});

describe("a damaged meta.json", () => {
  const DAMAGE = ["", "{", '{"version": 1}', '{"version":1,"algorithm":"fsverity-md5-12"}', "\xff"];

  test.each(DAMAGE)("is found by a check, which looks at all else: %j", (damage) => {
    using fixture = filled("secure");
    const meta = join(fixture.path, "meta.json");
    rmSync(meta);
    writeFileSync(meta, damage, "latin1");
    expect(() => fixture.open()).toThrow(`repository ${fixture.path}`);
    using repository = openRepository(fixture.path, {
      platform: fixture.platform,
      damagedMetadata: true,
    });
    const report = checkRepository(repository);
    expect(report).toMatchObject({ metadata: "error", objects: { checked: 4, corrupted: 0 } });
    expect(report.findings).toMatchObject([{ kind: "metadata-parse-failed", where: "meta.json" }]);
    expect(() => repository.storeObject(HELLO)).toThrow("its meta.json is damaged");
    expect(() => collectGarbage(repository)).toThrow("its meta.json is damaged");
  });

  test.each([
    ["secure", 1],
    ["secure", 2],
    ["insecure", 1],
    ["insecure", 2],
  ] as const)("is written anew as it was: %s, format %d", (kind, format) => {
    using directory = temporaryDirectory();
    using fixture = newRepository(kind, { hash: "sha512" });
    const { platform } = fixture;
    const path = join(directory.path, "r");
    initRepository(path, { hash: "sha512", format, insecure: kind === "insecure", platform });
    {
      using repository = openRepository(path, { platform });
      const file = repository.storeObject(HELLO).digest;
      repository.writeImage(imageOf([file], format));
    }
    const before = metaOf(path);
    rmSync(join(path, "meta.json"));
    writeFileSync(join(path, "meta.json"), "{");
    {
      using repository = openRepository(path, { platform, damagedMetadata: true });
      mendMetadata(repository);
    }
    expect(metaOf(path)).toBe(before);
    using repository = openRepository(path, { platform, requireVerity: kind === "secure" });
    expect(repository).toMatchObject({ formats: [format], insecure: kind === "insecure" });
    expect(checkRepository(repository).findings).toEqual([]);
  });

  test("of a repository that demands what is not known is not damaged", () => {
    using fixture = filled("insecure");
    const meta = join(fixture.path, "meta.json");
    for (const text of [
      metaOf(fixture.path).replace('"version": 1', '"version": 2'),
      metaOf(fixture.path).replace('"incompatible": []', '"incompatible": ["future"]'),
    ]) {
      writeFileSync(meta, text);
      const open = () =>
        openRepository(fixture.path, { platform: fixture.platform, damagedMetadata: true });
      expect(open).toThrow(`repository ${fixture.path}`);
    }
  });

  test("fsck --repair mends it; without objects only a reset can", () => {
    using directory = temporaryDirectory();
    const repo = join(directory.path, "r");
    expect(cfsboot("init", "--repo", repo, "--insecure").status).toBe(0);
    const before = metaOf(repo);
    const meta = join(repo, "meta.json");
    writeFileSync(meta, '{\n  "version": 1,\n  "algo');
    const empty = cfsboot("fsck", "--repo", repo);
    expect(empty.status).toBe(1);
    expect(empty.stderr).toContain(`hint: cfsboot repo init --reset-metadata --repo ${repo}`);

    writeFileSync(meta, before);
    {
      using repository = openRepository(repo);
      repository.writeImage(imageOf([]), "empty");
    }
    writeFileSync(meta, '{\n  "version": 1,\n  "algo');
    const info = cfsboot("info", "--repo", repo);
    expect(info.status).toBe(1);
    expect(info.stderr).toContain(`hint: cfsboot repo fsck --repair --repo ${repo}`);
    const found = cfsboot("fsck", "--repo", repo);
    expect(found.status).toBe(1);
    expect(found.stdout).toMatch(/meta\.json: error\n/);
    expect(found.stdout).toMatch(/fsck: metadata-parse-failed: meta\.json: not JSON: .*position/);
    const repaired = cfsboot("fsck", "--repair", "--repo", repo);
    expect(repaired.stderr).toBe(
      "repairing meta.json: fsverity-sha512-12, EROFS format 1, without fs-verity, as it follows from objects and images\n",
    );
    expect(repaired.status).toBe(0);
    expect(metaOf(repo)).toBe(before);
    expect(cfsboot("fsck", "--repo", repo).status).toBe(0);

    writeFileSync(meta, "{");
    const reset = cfsboot("init", "--reset-metadata", "--insecure", "--repo", repo);
    expect(reset.stdout).toMatch(
      /^Initialized composefs repository at .*\n {2}algorithm: fsverity-sha512-12/,
    );
    expect(cfsboot("init", "--ensure", "--repo", repo).stdout).toBe(
      `Repository already initialized at ${repo} (existing configuration preserved)\n`,
    );
    expect(cfsboot("init", "--ensure", "--reset-metadata", "--repo", repo).status).toBe(2);
  });
});

test("an object that is there keeps its place in a reset repository", () => {
  using fixture = filled("insecure");
  resetRepository(fixture.path, { format: 1, insecure: true, platform: fixture.platform });
  expect(existsSync(join(fixture.path, "objects", objectPath(toHex(fixture.file))))).toBe(true);
});
