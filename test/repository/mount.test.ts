/** `cfsboot mount`: real mounts, in a mount namespace of their own. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, type TestContext, test } from "vitest";
import { toHex } from "../../src/formats/digest.ts";
import { openImage } from "../../userspace/oci/image.ts";
import { imageRef } from "../../userspace/oci/streams.ts";
import { openRepository } from "../../userspace/repository/repository.ts";
import { image, tar, writeLayout } from "../oci/fixtures/images.ts";
import { temporaryDirectory } from "./fixture.ts";

const PROGRAM = fileURLToPath(new URL("../../dist/cfsboot.mjs", import.meta.url));
const CONTENT = "content ".repeat(50);
const ONLY_ROOT = "only root can mount images";

const directory = temporaryDirectory();
let manifest: string;
let config: string;
let hex: string;
let bootHex: string;
let refused: string | undefined;

const cfsboot = (...args: string[]) =>
  spawnSync(process.execPath, [PROGRAM, ...args], { cwd: directory.path, encoding: "utf8" });

beforeAll(() => {
  for (const name of ["mnt", "upper", "work"]) mkdirSync(join(directory.path, name));
  const layer = tar([
    { path: "usr/" },
    { path: "usr/file", data: CONTENT },
    { path: "boot/" },
    { path: "boot/vmlinuz", data: "kernel".repeat(50) },
    { path: "sysroot/" },
  ]);
  const made = image([{ tar: layer, compression: "none" }]);
  writeLayout(join(directory.path, "layout"), [{ image: made, tag: "t" }]);
  cfsboot("repo", "init", "--repo=repo", "--insecure", "--hash=sha256");
  const pull = ["image", "pull", "--repo=repo", "--bootable", "oci:layout:t", "os/debian:13"];
  expect(cfsboot(...pull)).toMatchObject({ status: 0 });
  manifest = made.manifest.digest;
  config = made.config.digest;
  using repository = openRepository(join(directory.path, "repo"));
  const { images } = openImage(repository, "os/debian:13");
  hex = toHex(images.get(imageRef(1, false, "allowlist-only"))!);
  bootHex = toHex(images.get(imageRef(1, true, "allowlist-only"))!);
  repository.setRef("images", "by/name", hex);
  repository.setRef("images", "plain", bootHex);
  repository.setRef("images", "os/debian:13", bootHex); // a tag has this name, too
  const { status, stderr } = mounted([hex], ":");
  if (status !== 0) refused = `no composefs mounts here: ${stderr.trim().split("\n").at(0)}`;
});
afterAll(() => directory[Symbol.dispose]());

/** Mounts on `mnt`, and runs a shell command beside it. */
function mounted(args: readonly string[], command: string) {
  const script = `"$0" "$@" mnt && { ${command}; }`;
  const program = [process.execPath, PROGRAM, "mount", "--repo=repo", ...args];
  const { status, stdout, stderr } = spawnSync(
    "unshare",
    ["--mount", "sh", "-c", script, ...program],
    { cwd: directory.path, encoding: "utf8" },
  );
  return { status, stdout, stderr };
}

function skipWithoutMounts(ctx: TestContext): void {
  if (refused !== undefined) ctx.skip(refused);
}

const done = (stdout: string) => ({ status: 0, stdout, stderr: "" });

describe("a filesystem is found by", () => {
  test.for([
    ["a tag", () => ["os/debian:13"], true],
    ["the manifest's digest", () => [`@${manifest}`], true],
    ["the config's digest", () => [`@${config}`], true],
    ["its own digest", () => [hex], true],
    ["its own digest in capitals", () => [hex.toUpperCase()], true],
    ["a reference", () => ["refs/by/name"], true],
    ["a reference that no tag is called", () => ["by/name"], true],
    ["a tag, to be booted", () => ["--bootable", "os/debian:13"], false],
    ["its own digest, to be booted", () => [bootHex], false],
    ["a reference to one to be booted", () => ["plain"], false],
    ["a reference whose name is a tag's", () => ["refs/os/debian:13"], false],
  ] as const)("%s", ([, name, kernel], ctx) => {
    skipWithoutMounts(ctx);
    expect(mounted(name(), "cat mnt/usr/file; ls mnt/boot")).toEqual(
      done(CONTENT + (kernel ? "vmlinuz\n" : "")),
    );
  });

  test.each([
    ["nothing", "image nothing: there is no such image"],
    ["refs/nothing", "no image refs/nothing"],
    ["0".repeat(64), `no image ${"0".repeat(64)}`],
    [`@sha256:${"0".repeat(64)}`, "there is no such image"],
    ["refs/../x", '"../x" cannot be a name'],
    ["../x", "image ../x: there is no such image"],
  ])("no other name: %s", (name, message) => {
    const { status, stderr } = mounted([name], ":");
    expect(status).toBe(1);
    expect(stderr).toContain(`cfsboot: error: mount ${name}: `);
    expect(stderr).toContain(message);
  });
});

describe("changes", () => {
  const layers = ["--upperdir=upper", "--workdir=work"];

  test("cannot be made where nothing else is asked for", (ctx) => {
    skipWithoutMounts(ctx);
    expect(mounted([hex], "touch mnt/new").stderr).toMatch(/[Rr]ead-only file system/);
  });

  test("go to the upper directory, and are there the next time", (ctx) => {
    skipWithoutMounts(ctx);
    const change = "echo new > mnt/usr/new && echo more >> mnt/usr/file && rm mnt/boot/vmlinuz";
    expect(mounted([...layers, "--read-write", "os/debian:13"], change)).toEqual(done(""));
    expect(mounted([hex], "cat mnt/usr/file; ls mnt/boot")).toEqual(done(`${CONTENT}vmlinuz\n`));
    expect(mounted([...layers, hex], "cat mnt/usr/new mnt/usr/file; ls mnt/boot")).toEqual(
      done(`new\n${CONTENT}more\n`),
    );
    expect(mounted([...layers, hex], "touch mnt/new").stderr).toMatch(/[Rr]ead-only file system/);
  });

  test.each([
    [["--upperdir=upper"], "--upperdir and --workdir need each other"],
    [["--workdir=work"], "--upperdir and --workdir need each other"],
    [["--read-write"], "--read-write needs --upperdir and --workdir"],
    [["--bootable"], "--bootable is for container images"],
  ])("%s alone is wrong usage", (args, message) => {
    const { status, stderr } = mounted([...args, hex], ":");
    expect(status).toBe(2);
    expect(stderr).toContain(message);
  });
});

test("what was not pulled to be booted says so", () => {
  cfsboot("repo", "init", "--repo=other", "--insecure");
  cfsboot("image", "pull", "--repo=other", "oci:layout:t", "x");
  const { status, stderr } = cfsboot("mount", "--repo=other", "--bootable", "x", "mnt");
  expect(status).toBe(1);
  expect(stderr).toContain("mount x: the repository has no bootable filesystem for it\n");
  expect(stderr).toContain("hint: cfsboot image pull --bootable REFERENCE x");
});

/** Runs a command as a user that the repository does not belong to. */
function asAnother(ctx: TestContext, ...command: string[]) {
  if (process.getuid?.() !== 0) ctx.skip("only root can become another user");
  for (const path of ["", "repo"]) chmodSync(join(directory.path, path), 0o755);
  const args = ["--reuid=65534", "--regid=65534", "--clear-groups", process.execPath, PROGRAM];
  return spawnSync("setpriv", [...args, ...command], { cwd: directory.path, encoding: "utf8" });
}

test("others than its owner are told that they cannot change a repository", (ctx) => {
  const { status, stderr } = asAnother(ctx, "repo", "gc", "--repo=repo");
  expect({ status, stderr }).toEqual({
    status: 1,
    stderr:
      "cfsboot: error: collect garbage in repo: repository repo cannot be written to: permission denied\n",
  });
});

test("others than root are told that they cannot", (ctx) => {
  const { status, stderr } = asAnother(ctx, "mount", "--repo=repo", hex, "mnt");
  expect(status).toBe(1);
  expect(stderr).toMatch(/^cfsboot: error: mount [0-9a-f]{64}: not permitted: .*\n/);
  expect(stderr).toContain(`hint: ${ONLY_ROOT}\n`);
});
