/** Filesystem images of directories, and images of others: `cfsboot repo add`, `import`, `images`; and streams. */
import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  linkSync,
  mkdirSync,
  readdirSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, type TestContext, test } from "vitest";
import { toHex } from "../../src/formats/digest.ts";
import { openImage } from "../../userspace/oci/image.ts";
import { imageRef } from "../../userspace/oci/streams.ts";
import { openRepository } from "../../userspace/repository/repository.ts";
import { CFSCTL, needsCfsctl } from "../interop/cfsctl.ts";
import { image, type TarFile, tar, writeLayout } from "../oci/fixtures/images.ts";
import { imageOf, temporaryDirectory } from "./fixture.ts";

const PROGRAM = fileURLToPath(new URL("../../dist/cfsboot.mjs", import.meta.url));
const MTIME = 1_700_000_000;

const FILES: readonly TarFile[] = [
  { path: "usr/", mode: 0o750 },
  { path: "usr/program", mode: 0o4755, data: "program ".repeat(1000) },
  { path: "usr/other-name", type: "1", link: "usr/program" },
  { path: "usr/small", data: "small" },
  { path: "usr/link", type: "2", link: "small", mode: 0o777 },
  { path: "run/", mtime: MTIME + 1 },
  { path: "run/left-behind", data: "x".repeat(100) },
  { path: "boot/" },
  { path: "boot/vmlinuz", data: "kernel ".repeat(100) },
  { path: "sysroot/" },
];

let scratch: ReturnType<typeof temporaryDirectory>;
beforeEach(() => {
  scratch = temporaryDirectory();
  expect(cfsboot("repo", "init", "--insecure", "--hash=sha256").status).toBe(0);
});
afterEach(() => scratch[Symbol.dispose]());

function cfsboot(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [PROGRAM, ...args, "--repo=repo"],
    {
      cwd: scratch.path,
      encoding: "latin1",
    },
  );
  return { status, stdout, stderr };
}

/** The files as a directory. Their owner is who runs the test. */
function writeTree(ctx: TestContext, directory: string): void {
  if (process.getuid?.() !== 0) ctx.skip("only root's files are root's");
  mkdirSync(directory);
  for (const { path, type, link, data, mode } of FILES) {
    const to = join(directory, path);
    if (path.endsWith("/")) mkdirSync(to);
    else if (type === "1") linkSync(join(directory, link!), to);
    else if (type === "2") symlinkSync(link!, to);
    else writeFileSync(to, data!);
    if (type === undefined) chmodSync(to, mode ?? (path.endsWith("/") ? 0o755 : 0o644));
  }
  for (const { path, type, mtime = MTIME } of FILES.toReversed()) {
    if (type === "2") spawnSync("touch", ["-h", "-d", `@${mtime}`, join(directory, path)]);
    else utimesSync(join(directory, path), mtime, mtime);
  }
}

const line = (digest: Uint8Array) => `sha256:${toHex(digest)}\n`;

describe("a directory", () => {
  test("gets the digest that a container image with its files has", (ctx) => {
    writeTree(ctx, join(scratch.path, "tree"));
    const layer = { tar: tar(FILES), compression: "none" } as const;
    writeLayout(join(scratch.path, "layout"), [{ image: image([layer]), tag: "t" }]);
    expect(cfsboot("image", "pull", "--bootable", "oci:layout:t", "pulled").status).toBe(0);
    using repository = openRepository(join(scratch.path, "repo"));
    const { images } = openImage(repository, "pulled");
    for (const bootable of [false, true]) {
      const options = bootable ? ["--bootable"] : [];
      const { status, stdout } = cfsboot("repo", "add", "tree", `trees/${bootable}`, ...options);
      const digest = images.get(imageRef(1, bootable, "allowlist-only"))!;
      expect({ status, stdout }).toEqual({ status: 0, stdout: line(digest) });
      expect(repository.readRef("images", `trees/${bootable}`)).toBe(toHex(digest));
    }
    const listed = cfsboot("repo", "images");
    expect(listed.stdout).toMatch(/^NAME +DIGEST\ntrees\/false +[0-9a-f]{12}\ntrees\/true +/);
  });

  test("gets the digests that cfsctl gives it", (ctx) => {
    needsCfsctl(ctx);
    writeTree(ctx, join(scratch.path, "tree"));
    spawnSync("setfattr", ["-n", "user.x", "-v", "y", join(scratch.path, "tree/usr/program")]);
    for (const options of [
      [],
      ["--bootable"],
      ["--no-propagate-usr-to-root"],
      ["--xattrs=keep-user-xattrs"],
    ]) {
      const args = ["--no-repo", "--hash=sha256", "compute-id", "tree", ...options];
      const theirs = spawnSync(CFSCTL!, args, { cwd: scratch.path, encoding: "utf8" });
      expect(cfsboot("repo", "add", "tree", ...options).stdout).toBe(`sha256:${theirs.stdout}`);
    }
  });

  test("lives as long as its name, with all that it needs", (ctx) => {
    writeTree(ctx, join(scratch.path, "tree"));
    const first = cfsboot("repo", "add", "tree", "mine");
    expect(first.stderr).toMatch(/^objects {2}3 new .* \+ 0 already present\n$/);
    expect(cfsboot("repo", "add", "tree", "mine").stderr).toMatch(
      /^objects {2}0 new .* \+ 3 already/,
    );
    cfsboot("repo", "gc");
    expect(cfsboot("repo", "fsck").stdout).toMatch(/images: 1\/1 ok\nstatus: ok/);
    using repository = openRepository(join(scratch.path, "repo"));
    repository.removeRef("images", "mine");
    repository.close();
    cfsboot("repo", "gc");
    expect(cfsboot("repo", "fsck").stdout).toMatch(/objects: 0\/0 ok/);
  });

  test.for(["xfs", "btrfs"])("shares its blocks with the repository on %s", (type, ctx) => {
    const prepare = `truncate -s 400M disk; mkfs.${type} -q disk >&2; mkdir mnt; mount -o loop disk mnt`;
    const inNamespace = (script: string) => {
      const args = ["--mount", "sh", "-ec", script, process.execPath, PROGRAM];
      return spawnSync("unshare", args, { cwd: scratch.path, encoding: "utf8" });
    };
    const made = inNamespace(prepare);
    if (made.status !== 0) ctx.skip(`no ${type} can be made here: ${made.stderr?.trim()}`);
    const { stdout, stderr } = inNamespace(`mount -o loop disk mnt; cd mnt
      "$0" "$1" repo init --repo=repo --insecure >&2
      mkdir tree tree/usr; for i in 1 2 3; do head -c 4000000 /dev/urandom > tree/usr/$i; done
      sync; df --output=used . | tail -n1; "$0" "$1" repo add --repo=repo tree
      sync; df --output=used . | tail -n1; "$0" "$1" repo fsck --repo=repo >&2`);
    expect(stderr).toContain("objects  3 new (3 of them share blocks) + 0 already present\n");
    expect(stderr).toContain("objects: 4/4 ok\n");
    const [before, , after] = stdout.split("\n");
    expect(Number(after) - Number(before)).toBeLessThan(1000); // of 1024 bytes
  });

  test("that has not what it needs is named, and no image is made", () => {
    mkdirSync(join(scratch.path, "tree/usr"), { recursive: true });
    const { status, stderr } = cfsboot("repo", "add", "tree", "--bootable", "mine");
    expect(status).toBe(1);
    expect(stderr).toBe(
      "cfsboot: error: add tree: /boot does not exist: a bootable image needs it\n",
    );
    expect(cfsboot("repo", "add", "none").stderr).toMatch(/^cfsboot: error: add none: openat none/);
    expect(cfsboot("repo", "images").stdout).toBe("No images found\n");
  });
});

describe("an image", () => {
  test("is imported if the repository has its objects", () => {
    const object = (() => {
      using repository = openRepository(join(scratch.path, "repo"));
      return repository.storeObject(Buffer.alloc(100, "x")).digest;
    })();
    writeFileSync(join(scratch.path, "good"), imageOf([object]));
    writeFileSync(join(scratch.path, "bad"), imageOf([object, Buffer.alloc(32, 1)]));
    writeFileSync(join(scratch.path, "none"), "no image");
    const good = cfsboot("repo", "import", "good", "i");
    expect(good.status).toBe(0);
    expect(JSON.parse(cfsboot("repo", "images", "--json").stdout)).toEqual({
      images: [{ name: "i", digest: good.stdout.slice("sha256:".length, -1) }],
    });
    expect(cfsboot("repo", "import", "bad").stderr).toBe(
      `cfsboot: error: import bad: the repository lacks 1 of the image's objects: ${"01".repeat(32)}\n`,
    );
    expect(cfsboot("repo", "import", "none").stderr).toMatch(
      /^cfsboot: error: import none: .*image/,
    );
    expect(readdirSync(join(scratch.path, "repo/images")).length).toBe(2); // and refs
  });
});

describe("a stream", () => {
  test("is written out as what it stands for", () => {
    const layer = tar(FILES);
    const made = image([{ tar: layer, compression: "gzip" }]);
    writeLayout(join(scratch.path, "layout"), [{ image: made, tag: "t" }]);
    expect(cfsboot("image", "pull", "oci:layout:t", "x").status).toBe(0);
    expect(cfsboot("repo", "cat", `oci-layer-${made.diffIds[0]}`)).toEqual({
      status: 0,
      stdout: layer.toString("latin1"),
      stderr: "",
    });
    expect(cfsboot("repo", "cat", "refs/oci/x").stdout).toBe(made.manifest.bytes.toString());
    expect(cfsboot("repo", "cat", "refs/oci/y").stderr).toMatch(
      /^cfsboot: error: stream refs\/oci\/y: /,
    );
  });

  test("can be cut off by who reads it", () => {
    const layer = tar([{ path: "usr/" }, { path: "usr/big", data: "b".repeat(3_000_000) }]);
    const made = image([{ tar: layer, compression: "none" }]);
    writeLayout(join(scratch.path, "layout"), [{ image: made, tag: "t" }]);
    cfsboot("image", "pull", "oci:layout:t", "x");
    const script = `"$0" "$1" repo cat --repo=repo "oci-layer-$2" | head -c 4 | wc -c`;
    const args = ["-c", script, process.execPath, PROGRAM, made.diffIds[0]!];
    const { stdout, stderr } = spawnSync("sh", args, { cwd: scratch.path, encoding: "utf8" });
    expect({ stdout: stdout.trim(), stderr }).toEqual({ stdout: "4", stderr: "" });
  });
});

test("nothing is collected while a transaction lasts", async () => {
  const holder = spawn(process.execPath, [PROGRAM, "repo", "transaction", "--repo=repo"], {
    cwd: scratch.path,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise((resolve) => holder.on("close", resolve));
  await new Promise((resolve) => holder.stdout.once("data", resolve));
  const collector = spawn(process.execPath, [PROGRAM, "repo", "gc", "--repo=repo"], {
    cwd: scratch.path,
    stdio: ["ignore", "ignore", "pipe"],
  });
  const collected = new Promise((resolve) => collector.on("close", resolve));
  const message = await new Promise((resolve) => collector.stderr.once("data", resolve));
  expect(String(message)).toBe("waiting for another process that uses repo\n");
  expect(collector.exitCode).toBeNull();
  holder.kill("SIGTERM");
  expect(await ended).toBe(0);
  expect(await collected).toBe(0);
});
