/** `cfsboot image` and `cfsboot mount`, as they are shipped. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { image, tar, writeLayout } from "../oci/fixtures/images.ts";

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");
const content = "the content of a large file\n".repeat(100);

const debian = image([
  {
    compression: "gzip",
    tar: tar([
      { path: "usr/" },
      { path: "usr/large", data: content, mode: 0o600 },
      { path: "boot/" },
      { path: "boot/vmlinuz", data: "kernel" },
      { path: "sysroot/" },
    ]),
  },
]);
const small = image([{ compression: "none", tar: tar([{ path: "usr/" }]) }], {
  architecture: "riscv64",
});

let scratch: string;
let repo: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), "cli-image-"));
  repo = join(scratch, "repo");
  mkdirSync(join(scratch, "target"));
  succeed("repo", "init", "--insecure", "--hash", "sha256");
  for (const [name, one] of Object.entries({ debian, small })) {
    const layout = join(scratch, name);
    mkdirSync(layout);
    writeLayout(layout, [{ image: one }]);
    const bootable = one === debian ? ["--bootable"] : [];
    succeed("image", "pull", `oci:${layout}`, `${name}/1`, ...bootable);
  }
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function run(...args: string[]) {
  return spawnSync(process.execPath, [CFSBOOT, ...args, "--repo", repo], { encoding: "latin1" });
}

function succeed(...args: string[]): string {
  const { status, stdout, stderr } = run(...args);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return stdout;
}

describe("image list", () => {
  test("is a table", () => {
    expect(succeed("image", "list").split("\n")).toEqual([
      "NAME      DIGEST               ARCH     LAYERS  REFS",
      `debian/1  ${debian.manifest.digest.slice(0, 19)}  amd64    1       0`,
      `small/1   ${small.manifest.digest.slice(0, 19)}  riscv64  1       0`,
      "",
    ]);
  });

  test("--json has whole digests", () => {
    const common = { is_container: true, os: "linux", created: null, layer_count: 1 };
    expect(JSON.parse(succeed("image", "list", "--json"))).toEqual({
      images: [
        {
          ...common,
          name: "debian/1",
          manifest_digest: debian.manifest.digest,
          architecture: "amd64",
          referrer_count: 0,
        },
        {
          ...common,
          name: "small/1",
          manifest_digest: small.manifest.digest,
          architecture: "riscv64",
          referrer_count: 0,
        },
      ],
    });
  });
});

describe("image digest and image dump", () => {
  test.each([
    [["debian/1"], "1"],
    [["--bootable", "debian/1"], "1"],
    [["--erofs-format", "2", "debian/1"], "2"],
    [[`@${debian.config.digest}`], "1"],
    [["--bootable", `@${debian.manifest.digest}`], "1"],
  ])("%j is the digest of the image that is built of the dump", (args, format) => {
    const digest = succeed("image", "digest", ...args);
    const dumped = args.filter((arg) => arg !== "--erofs-format" && arg !== "2");
    const input = succeed("image", "dump", ...dumped);
    expect(input).toContain("/usr/large 2800 100600 1 0 0 ");
    expect(input.includes("vmlinuz")).toBe(!args.includes("--bootable"));
    const build = ["erofs", "build", "--hash", "sha256", "--format", format, "-", "-"];
    const built = spawnSync(process.execPath, [CFSBOOT, ...build], { input, encoding: "latin1" });
    expect(built.stdout).toBe(digest);
    expect(digest).toMatch(/^[0-9a-f]{64}\n$/);
  });

  test("failures say what and why, and what to do", () => {
    expect(run("image", "digest", "none")).toMatchObject({
      status: 1,
      stdout: "",
      stderr: `cfsboot: error: image none: there is no such image\nhint: cfsboot image list --repo ${repo}\n`,
    });
    expect(run("image", "digest", "--bootable", "small/1")).toMatchObject({
      status: 1,
      stderr: "cfsboot: error: image small/1: /boot does not exist: a bootable image needs it\n",
    });
    expect(run("image", "digest").status).toBe(2);
    expect(run("image", "digest", "--erofs-format", "3", "debian/1").status).toBe(2);
  });
});

describe("mount", () => {
  /** What a shell prints that has mounted the image in a mount namespace of its own. */
  function inside(name: string[], script: string) {
    const mount = [process.execPath, CFSBOOT, "mount", ...name, join(scratch, "target")];
    const shell = `cd "$1" && shift && "$@" --repo ${repo} && ${script}`;
    const args = ["-m", "sh", "-c", shell, "sh", scratch, ...mount];
    return spawnSync("unshare", args, { encoding: "latin1" });
  }

  /** Why images cannot be mounted here, if so. */
  function obstacle(): string | undefined {
    if (process.getuid?.() !== 0) return "only root can mount";
    const { status, stderr } = inside(["debian/1"], "true");
    if (/no EROFS|ENOSYS|EPERM|not permitted|not implemented/.test(stderr)) {
      return `this kernel does not let us mount images: ${stderr.trim().split("\n")[0]}`;
    }
    return status === 0 || stderr.startsWith("cfsboot:") ? undefined : `unshare: ${stderr}`;
  }

  test.for([
    ["tag", false],
    ["digest of the manifest", false],
    ["digest of the filesystem", false],
    ["tag, bootable", true],
  ] as const)("by %s", ([kind, bootable], ctx) => {
    const reason = obstacle();
    if (reason !== undefined) ctx.skip(reason);
    const option = bootable ? ["--bootable"] : [];
    const hex = succeed("image", "digest", ...option, "debian/1").trim();
    const name = kind.startsWith("tag")
      ? "debian/1"
      : kind.endsWith("manifest")
        ? `@${debian.manifest.digest}`
        : hex;
    const script =
      'cat target/usr/large && ls target/boot && stat -c %a target/usr/large && ! touch target/x 2>&1 && grep "$PWD/target " /proc/self/mountinfo';
    const { status, stdout, stderr } = inside([...option, name], script);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout.startsWith(content + (bootable ? "600\n" : "vmlinuz\n600\n"))).toBe(true);
    expect(stdout).toContain("Read-only file system");
    expect(stdout).toContain(` overlay composefs:${hex} ro`);
  });

  test("failures say what and why", () => {
    const target = join(scratch, "target");
    expect(run("mount", "none", target)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("cfsboot: error: mount none: image none: there is no such"),
    });
    expect(run("mount", "--bootable", "small/1", target)).toMatchObject({
      status: 1,
      stderr:
        "cfsboot: error: mount small/1: the repository has no bootable filesystem for it\n" +
        "hint: cfsboot image pull --bootable REFERENCE small/1\n",
    });
    expect(run("mount", "0".repeat(64), target)).toMatchObject({ status: 1 });
    expect(run("mount", "debian/1", join(scratch, "none"))).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/mount debian\/1: .*none: no such file or directory/i),
    });
  });
});
