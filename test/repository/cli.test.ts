/** `cfsboot repo`, run as a person runs it. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { newMetadata, serializeMetadata } from "../../src/formats/meta-json.ts";
import { defaultRepositoryPath } from "../../userspace/repository/layout.ts";
import { temporaryDirectory } from "./fixture.ts";

const PROGRAM = fileURLToPath(new URL("../../dist/cfsboot.mjs", import.meta.url));

function cfsboot(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, "repo", ...args], {
    encoding: "utf8",
    timeout: 30_000,
  });
  return { status, stdout, stderr };
}

describe("repo init", () => {
  test("makes the repository and its parents, says what it did, and does it once", () => {
    using directory = temporaryDirectory();
    const repo = join(directory.path, "a/b");
    expect(cfsboot("init", "--repo", repo, "--insecure")).toEqual({
      status: 0,
      stdout: [
        `Initialized composefs repository at ${repo}`,
        "  algorithm: fsverity-sha512-12",
        "  verity:    not required (insecure)",
        "  images:    EROFS format 1",
        "",
      ].join("\n"),
      stderr: "",
    });
    expect(readFileSync(join(repo, "meta.json"), "utf8")).toBe(
      serializeMetadata(newMetadata("sha512", 1)),
    );
    expect(cfsboot("init", "--repo", repo, "--insecure")).toEqual({
      status: 0,
      stdout: `Repository already initialized at ${repo}\n`,
      stderr: "",
    });
    const different = cfsboot("init", "--repo", repo, "--insecure", "--hash", "sha256");
    expect(different.status).toBe(1);
    expect(different.stderr).toMatch(/^cfsboot: error: there is a repository at .*different/);
  });

  test("takes hash and format, and refuses others", () => {
    using directory = temporaryDirectory();
    const repo = join(directory.path, "r");
    const options = ["--repo", repo, "--insecure"];
    for (const wrong of [
      ["--hash", "md5"],
      ["--erofs-format", "3"],
      ["--erofs-format", "1x"],
    ]) {
      expect(cfsboot("init", ...options, ...wrong).status).toBe(2);
    }
    expect(existsSync(repo)).toBe(false);
    const made = cfsboot("init", ...options, "--hash", "sha256", "--erofs-format", "2");
    expect(made.status).toBe(0);
    expect(readFileSync(join(repo, "meta.json"), "utf8")).toBe(
      serializeMetadata(newMetadata("sha256", 2)),
    );
  });

  test("without fs-verity tells about --insecure, and leaves nothing", () => {
    using directory = temporaryDirectory(); // memory has no fs-verity
    const { status, stderr } = cfsboot("init", "--repo", join(directory.path, "r"));
    if (status === 0) return; // where there is no such directory, it may have
    expect(status).toBe(1);
    expect(stderr).toMatch(
      /^cfsboot: error: make a repository at .*: meta\.json: the file system or the kernel has no fs-verity\nhint: --insecure makes one/,
    );
    expect(readdirSync(directory.path)).toEqual([]);
  });
});

test("repo seal says what it needs", () => {
  using directory = temporaryDirectory();
  const none = cfsboot("seal", "--repo", join(directory.path, "none"));
  expect(none.status).toBe(1);
  expect(none.stderr).toMatch(/there is no repository at .*none\nhint: cfsboot repo init --repo/);
});

test("the repository is the system's for root and a user's own for others", () => {
  expect(defaultRepositoryPath(0, { HOME: "/root" })).toBe("/sysroot/composefs");
  expect(defaultRepositoryPath(1000, { HOME: "/home/me" })).toBe("/home/me/.var/lib/composefs");
  expect(() => defaultRepositoryPath(1000, {})).toThrow("HOME is not set");
});
